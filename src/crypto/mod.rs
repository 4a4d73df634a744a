//! Bytes into bytes: the ciphers, tags and derivations of the format. Has never seen a disk.
//!
//! | module | standard |
//! | --- | --- |
//! | [`secret`] | keys in memory: boxed, wiped, never printed |
//! | [`xts`] | XTS-AES (IEEE 1619, NIST SP 800-38E) over whole data units |
//! | [`tag`] | the unit's authenticator: AES-256(POLYVAL) (RFC 8452's hash) or HMAC-SHA-256/128 (FIPS 198-1) |
//! | [`siv`] | AES-256-SIV (RFC 5297): names, link targets, extended attributes |
//! | [`kdf`] | HKDF-SHA-256 (RFC 5869) with one table of labels; PBKDF2 (RFC 8018) and Argon2id (RFC 9106) |
//! | [`shamir`] | a secret split so that k of n parts give it back (Shamir 1979, over GF(2^8)) |
//! | [`wrap`] | AES-256 Key Wrap (RFC 3394) |
//! | [`digest`] | SHA-256 (FIPS 180-4) and HMAC-SHA-256 (FIPS 198-1) |
//! | [`random`] | getrandom(2) |
//! | [`mod@bench`] | the speed of all these on this machine |
//!
//! `unsafe` stands in two modules here, the kernels on the processor's wide instructions: xts/vaes.rs and tag/vpclmul.rs.

#[cfg(target_arch = "x86_64")]
mod aesni;
pub mod bench;
pub mod digest;
pub mod kdf;
pub mod random;
pub mod secret;
pub mod shamir;
pub mod siv;
pub mod tag;
pub mod wrap;
pub mod xts;

#[cfg(test)]
mod tests {
    use super::secret::Secret;

    /// The bytes of a vector, written in hexadecimal.
    pub(super) fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .expect("a vector in this file")
    }

    /// A key of a vector, written in hexadecimal.
    pub(super) fn secret<const N: usize>(text: &str) -> Secret<N> {
        Secret::fill_with(|bytes| bytes.copy_from_slice(&hex(text)))
    }
}
