//! AES-256-SIV (RFC 5297): deterministic authenticated encryption for names, link targets and attributes.
//!
//! Written here over the `aes` crate: the aes-siv crate expands keys in every call and derives CMAC's subkeys for every string,
//! and listing a directory opens names by the thousand. That crate is the oracle of the tests.
mod s2v;

use super::digest;
use super::secret::Secret;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use s2v::{S2v, xor};
use zeroize::Zeroize;

/// Bytes that sealing adds: the synthetic IV.
pub const OVERHEAD: usize = 16;
/// The bits of the synthetic IV that start the counter: the first of each of the last two words is cleared, for counters of 32
/// or 64 bits (RFC 5297, section 2.5).
const COUNTER_MASK: u128 = !(1 << 63 | 1 << 31);
/// Blocks of key stream made at once: the longest name.
const BATCH: usize = 16;

/// The text is not what this key sealed under this associated data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("sealed text does not open")]
pub struct SivError;

/// An AES-256-SIV key, expanded.
///
/// Boxed, so that moving it leaves no copy behind; both halves wipe themselves on drop.
pub struct Siv(Box<Keys>);

struct Keys {
    mac: S2v,
    stream: Aes256Enc,
}

impl Siv {
    /// Expands 64 key bytes: the MAC half, then the CTR half.
    pub fn new(key: &Secret<64>) -> Self {
        let (halves, _) = key.expose().as_chunks::<32>();
        Self(Box::new(Keys {
            mac: S2v::new(&halves[0]),
            stream: Aes256Enc::new((&halves[1]).into()),
        }))
    }

    /// The synthetic IV (16 bytes), then the ciphertext (as long as `plain`). `associated`: RFC 5297's vector of strings.
    ///
    /// # Panics
    /// If `associated` has more than 126 strings, which RFC 5297 forbids.
    pub fn seal(&self, associated: &[&[u8]], plain: &[u8]) -> Vec<u8> {
        let iv = self.0.mac.run(associated, plain);
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.extend_from_slice(&iv);
        sealed.extend_from_slice(plain);
        self.apply_stream(iv, &mut sealed[OVERHEAD..]);
        sealed
    }

    /// The plaintext of what [`Siv::seal`] made under the same `associated`.
    ///
    /// # Panics
    /// As [`Siv::seal`].
    pub fn open(&self, associated: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, SivError> {
        let (iv, text) = sealed.split_first_chunk::<OVERHEAD>().ok_or(SivError)?;
        let mut plain = text.to_vec();
        self.apply_stream(*iv, &mut plain);
        if !digest::equal(&self.0.mac.run(associated, &plain), iv) {
            // Text that nothing vouches for is not left in freed memory.
            plain.zeroize();
            return Err(SivError);
        }
        Ok(plain)
    }

    /// AES-CTR (RFC 5297, section 2.5): the same to encrypt and to decrypt.
    fn apply_stream(&self, iv: [u8; 16], text: &mut [u8]) {
        let mut counter = u128::from_be_bytes(iv) & COUNTER_MASK;
        let mut stream = [Block::default(); BATCH];
        for text in text.chunks_mut(16 * BATCH) {
            let stream = &mut stream[..text.len().div_ceil(16)];
            for block in stream.iter_mut() {
                *block = counter.to_be_bytes().into();
                counter = counter.wrapping_add(1);
            }
            self.0.stream.encrypt_blocks(stream);
            for (text, block) in text.chunks_mut(16).zip(stream) {
                xor(text, block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, secret};
    use super::*;
    use aes_siv::siv::Aes256Siv;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SEALED_A2: &str = "85b8167310038db7dc4692c0281ca35868181b2762f3c24f2efa5fb80cb14351\
                             6ce6c434b898a6fd8eb98a418842f51f66fc67de43ac185a66dd72475bbb08";

    /// RFC 5297 prints AES-128 only. These are A.1 and A.2 with the keys lengthened to 512 bits, as libtomcrypt, miscreant and
    /// aes-siv publish them; layouts.json has one more from an independent implementation.
    #[test]
    fn rfc5297_with_512_bit_keys() {
        let siv = Siv::new(&secret(
            "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f06f6e6d6c6b6a69686766656463626160\
             f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f",
        ));
        let ad = hex("101112131415161718191a1b1c1d1e1f2021222324252627");
        let plain = hex("112233445566778899aabbccddee");
        let sealed = siv.seal(&[&ad], &plain);
        let expected = "f125274c598065cfc26b0e71575029088b035217e380cac8919ee800c126";
        assert_eq!(sealed, hex(expected));
        assert_eq!(siv.open(&[&ad], &sealed).unwrap(), plain);

        let siv = Siv::new(&secret(
            "7f7e7d7c7b7a797877767574737271706f6e6d6c6b6a69686766656463626160\
             404142434445464748494a4b4c4d4e4f505152535455565758595a5b5b5d5e5f",
        ));
        let ad1 =
            hex("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100");
        let ad2 = hex("102030405060708090a0");
        let nonce = hex("09f911029d74e35bd84156c5635688c0");
        let plain = b"this is some plaintext to encrypt using SIV-AES";
        let sealed = siv.seal(&[&ad1, &ad2, &nonce], plain);
        assert_eq!(sealed, hex(SEALED_A2));
        assert_eq!(siv.open(&[&ad1, &ad2, &nonce], &sealed).unwrap(), plain);
    }

    proptest! {
        /// The aes-siv crate is the oracle: every length to several batches of key stream, and few to many strings.
        #[test]
        fn equals_the_oracle(
            seed: [u8; 32],
            associated in vec(vec(any::<u8>(), 0..50), 0..5),
            plain in vec(any::<u8>(), 0..600),
        ) {
            let key = Secret::fill_with(|key| {
                key[..32].copy_from_slice(&seed);
                key[32..].copy_from_slice(&digest::sha256(&[&seed]));
            });
            let siv = Siv::new(&key);
            let associated: Vec<&[u8]> = associated.iter().map(Vec::as_slice).collect();
            let sealed = siv.seal(&associated, &plain);
            let mut oracle = <Aes256Siv as KeyInit>::new_from_slice(key.expose()).unwrap();
            prop_assert_eq!(&sealed, &oracle.encrypt(&associated, &plain).unwrap());
            prop_assert_eq!(siv.open(&associated, &sealed), Ok(plain));
        }
    }

    #[test]
    fn strings_are_a_vector_not_a_concatenation() {
        let siv = Siv::new(&Secret::random());
        let sealed = siv.seal(&[b"ab", b"c"], b"name");
        assert_eq!(siv.open(&[b"ab", b"c"], &sealed).unwrap(), b"name");
        assert_eq!(siv.open(&[b"a", b"bc"], &sealed), Err(SivError));
        assert_eq!(siv.open(&[b"abc"], &sealed), Err(SivError));
        assert_eq!(siv.open(&[], &sealed), Err(SivError));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let siv = Siv::new(&Secret::random());
        for length in [0, 1, 15, 16, 17, 48, 255] {
            let plain = vec![7; length];
            let sealed = siv.seal(&[b"place"], &plain);
            assert_eq!(sealed.len(), OVERHEAD + length);
            assert_eq!(siv.open(&[b"place"], &sealed).unwrap(), plain);
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(siv.open(&[b"place"], &changed), Err(SivError), "bit {bit}");
            }
            for cut in 0..sealed.len() {
                assert_eq!(siv.open(&[b"place"], &sealed[..cut]), Err(SivError));
            }
        }
    }
}
