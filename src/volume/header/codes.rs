//! The numbers that stand for the header's choices. A number is never used again for something else.
use super::{HeaderError, Kind, NameEncoding};
use crate::crypto::tag::Algorithm;
use crate::crypto::xts::Cipher;

pub(super) const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Directory => 1,
        Kind::Image => 2,
    }
}

pub(super) fn decode_kind(code: u8) -> Result<Kind, HeaderError> {
    match code {
        1 => Ok(Kind::Directory),
        2 => Ok(Kind::Image),
        _ => Err(unknown("volume kind", code)),
    }
}

pub(super) const fn cipher_code(cipher: Cipher) -> u8 {
    match cipher {
        Cipher::XtsAes256 => 1,
        Cipher::XtsAes128 => 2,
    }
}

pub(super) fn decode_cipher(code: u8) -> Result<Cipher, HeaderError> {
    match code {
        1 => Ok(Cipher::XtsAes256),
        2 => Ok(Cipher::XtsAes128),
        _ => Err(unknown("content cipher", code)),
    }
}

pub(super) const fn tag_code(tag: Algorithm) -> u8 {
    match tag {
        Algorithm::PolyvalAes256 => 1,
        Algorithm::HmacSha256 => 2,
    }
}

pub(super) fn decode_tag(code: u8) -> Result<Algorithm, HeaderError> {
    match code {
        1 => Ok(Algorithm::PolyvalAes256),
        2 => Ok(Algorithm::HmacSha256),
        _ => Err(unknown("tag algorithm", code)),
    }
}

pub(super) const fn encoding_code(encoding: NameEncoding) -> u8 {
    match encoding {
        NameEncoding::Base64Url => 1,
        NameEncoding::Base32Hex => 2,
    }
}

pub(super) fn decode_encoding(code: u8) -> Result<NameEncoding, HeaderError> {
    match code {
        1 => Ok(NameEncoding::Base64Url),
        2 => Ok(NameEncoding::Base32Hex),
        _ => Err(unknown("name encoding", code)),
    }
}

pub(super) fn unknown(field: &'static str, value: u8) -> HeaderError {
    HeaderError::Unknown {
        field,
        value: value.into(),
    }
}
