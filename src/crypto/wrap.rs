//! AES-256 Key Wrap (RFC 3394).
use super::secret::Secret;

/// The wrapped key does not belong to this key-encryption key, or was changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("wrapped key does not open")]
pub struct UnwrapError;

/// Wraps 32 bytes into 40.
pub fn wrap32(_kek: &Secret<32>, _key: &Secret<32>) -> [u8; 40] {
    todo!()
}

/// Unwraps 40 bytes into 32.
pub fn unwrap32(_kek: &Secret<32>, _wrapped: &[u8; 40]) -> Result<Secret<32>, UnwrapError> {
    todo!()
}

/// Wraps 16 bytes into 24.
pub fn wrap16(_kek: &Secret<32>, _key: &Secret<16>) -> [u8; 24] {
    todo!()
}

/// Unwraps 24 bytes into 16.
pub fn unwrap16(_kek: &Secret<32>, _wrapped: &[u8; 24]) -> Result<Secret<16>, UnwrapError> {
    todo!()
}
