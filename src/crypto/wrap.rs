//! AES-256 Key Wrap (RFC 3394).
use super::secret::Secret;
use aes_kw::{KeyInit, KwAes256};

/// The wrapped key does not belong to this key-encryption key, or was changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("wrapped key does not open")]
pub struct UnwrapError;

/// Wraps 32 bytes into 40.
pub fn wrap32(kek: &Secret<32>, key: &Secret<32>) -> [u8; 40] {
    wrap(kek, key)
}

/// Unwraps 40 bytes into 32.
pub fn unwrap32(kek: &Secret<32>, wrapped: &[u8; 40]) -> Result<Secret<32>, UnwrapError> {
    unwrap(kek, wrapped)
}

/// Wraps 16 bytes into 24.
pub fn wrap16(kek: &Secret<32>, key: &Secret<16>) -> [u8; 24] {
    wrap(kek, key)
}

/// Unwraps 24 bytes into 16.
pub fn unwrap16(kek: &Secret<32>, wrapped: &[u8; 24]) -> Result<Secret<16>, UnwrapError> {
    unwrap(kek, wrapped)
}

fn wrap<const N: usize, const W: usize>(kek: &Secret<32>, key: &Secret<N>) -> [u8; W] {
    const { assert!(N >= 16 && N.is_multiple_of(8) && W == N + 8) };
    let mut wrapped = [0; W];
    cipher(kek)
        .wrap_key(key.expose(), &mut wrapped)
        .expect("N and W fit, as asserted above");
    wrapped
}

fn unwrap<const N: usize, const W: usize>(
    kek: &Secret<32>,
    wrapped: &[u8; W],
) -> Result<Secret<N>, UnwrapError> {
    let mut opened = Err(UnwrapError);
    let key = Secret::fill_with(|key| {
        let result = cipher(kek).unwrap_key(wrapped, key);
        opened = result.map(drop).map_err(|_| UnwrapError);
    });
    opened.map(|()| key)
}

fn cipher(kek: &Secret<32>) -> KwAes256 {
    KwAes256::new_from_slice(kek.expose()).expect("AES-256 takes 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, secret};
    use super::*;

    const KEK: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const KEY: &str = "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f";
    const WRAPPED_16: &str = "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7";
    const WRAPPED_32: &str =
        "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21";

    /// RFC 3394, sections 4.3 (128 bits under 256) and 4.6 (256 bits under 256).
    #[test]
    fn rfc3394() {
        let kek = secret(KEK);
        let key = secret::<32>(KEY);
        let wrapped = wrap32(&kek, &key);
        assert_eq!(wrapped[..], hex(WRAPPED_32));
        assert_eq!(unwrap32(&kek, &wrapped).unwrap().expose(), key.expose());

        let key = secret::<16>(&KEY[..32]);
        let wrapped = wrap16(&kek, &key);
        assert_eq!(wrapped[..], hex(WRAPPED_16));
        assert_eq!(unwrap16(&kek, &wrapped).unwrap().expose(), key.expose());
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let kek = secret(KEK);
        let wrapped = wrap32(&kek, &secret(KEY));
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap32(&kek, &changed).is_err(), "bit {bit}");
        }
        assert!(unwrap32(&Secret::random(), &wrapped).is_err());
    }
}
