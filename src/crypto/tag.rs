//! The authenticator of a data unit.
//!
//! Input, for both algorithms: LE64(index) + LE64(length of the ciphertext) + head (16 bytes) + ciphertext (a multiple of 16).
//! POLYVAL: tag = AES-256(K, POLYVAL(H, input)); HMAC: the first 16 bytes of HMAC-SHA-256(K, input).
//! Key material, 48 bytes: H (16 bytes, unused by HMAC), K (32 bytes).
use super::secret::Secret;

/// Bytes in a tag.
pub const SIZE: usize = 16;

/// The tag algorithm, as the header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-256 over POLYVAL.
    PolyvalAes256,
    /// HMAC-SHA-256 cut to 128 bits.
    HmacSha256,
}

/// A file's tag key, expanded.
pub struct TagKey(#[allow(dead_code)] ());

impl TagKey {
    /// Expands the 48 bytes of key material.
    pub fn new(_algorithm: Algorithm, _key: &Secret<48>) -> Self {
        todo!()
    }

    /// The tag of one data unit.
    pub fn tag(&self, _index: u64, _head: &[u8; 16], _ciphertext: &[u8]) -> [u8; SIZE] {
        todo!()
    }

    /// True if `tag` is this unit's, in constant time.
    pub fn verify(
        &self,
        _tag: &[u8; SIZE],
        _index: u64,
        _head: &[u8; 16],
        _ciphertext: &[u8],
    ) -> bool {
        todo!()
    }
}
