//! AES-256-SIV (RFC 5297): deterministic authenticated encryption for names, link targets and attributes.
use super::secret::Secret;

/// Bytes that sealing adds: the synthetic IV.
pub const OVERHEAD: usize = 16;

/// The text is not what this key sealed under this associated data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("sealed text does not open")]
pub struct SivError;

/// An AES-256-SIV key (64 bytes: the MAC half, then the CTR half).
pub struct Siv(#[allow(dead_code)] Secret<64>);

impl Siv {
    /// From 64 key bytes.
    pub fn new(_key: &Secret<64>) -> Self {
        todo!()
    }

    /// The synthetic IV (16 bytes), then the ciphertext (as long as `plain`). `associated`: RFC 5297's vector of strings.
    pub fn seal(&self, _associated: &[&[u8]], _plain: &[u8]) -> Vec<u8> {
        todo!()
    }

    /// The plaintext of what [`Siv::seal`] made under the same `associated`.
    pub fn open(&self, _associated: &[&[u8]], _sealed: &[u8]) -> Result<Vec<u8>, SivError> {
        todo!()
    }
}
