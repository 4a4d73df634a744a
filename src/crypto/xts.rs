//! XTS-AES (IEEE 1619-2018, NIST SP 800-38E) over whole data units, out of place.
use super::secret::Secret;

/// The content cipher, as the header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// XTS-AES-256: two keys of 32 bytes.
    XtsAes256,
    /// XTS-AES-128: two keys of 16 bytes.
    XtsAes128,
}

/// Key1 equals Key2: NIST SP 800-38E forbids it (FIPS 140 IG A.9).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the two XTS keys are equal")]
pub struct EqualKeys;

/// A file's XTS key, expanded.
pub struct XtsKey(#[allow(dead_code)] ());

impl XtsKey {
    /// Expands Key1 (the data key) and Key2 (the tweak key). XTS-AES-256 uses all 64 bytes (32 + 32), XTS-AES-128 the first
    /// 32 (16 + 16).
    pub fn new(_cipher: Cipher, _key: &Secret<64>) -> Result<Self, EqualKeys> {
        todo!()
    }

    /// Encrypts one data unit. `src` and `dst` have the same length, a positive multiple of 16 bytes; the tweak is `unit`
    /// as a 128-bit little-endian integer.
    pub fn encrypt(&self, _unit: u64, _src: &[u8], _dst: &mut [u8]) {
        todo!()
    }

    /// Decrypts one data unit; as [`XtsKey::encrypt`].
    pub fn decrypt(&self, _unit: u64, _src: &[u8], _dst: &mut [u8]) {
        todo!()
    }
}
