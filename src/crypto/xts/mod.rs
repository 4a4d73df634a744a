//! XTS-AES (IEEE 1619-2018, NIST SP 800-38E) over data units, whole or a run of their blocks, out of place.
//!
//! Two kernels with one result: `vaes` fuses cipher and tweaks where the processor can, `portable` runs everywhere.
mod portable;
#[cfg(target_arch = "x86_64")]
mod vaes;

use super::digest;
use super::secret::Secret;
use aes::{Aes128, Aes128Enc, Aes256, Aes256Enc};
use portable::Portable;

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
///
/// Boxed, so that moving it leaves no copy behind; each kernel wipes itself on drop.
pub struct XtsKey(Box<dyn Kernel>);

/// What does the work; lengths are checked before it is called. One dynamic call stands against kilobytes of cipher.
trait Kernel: Send + Sync {
    fn name(&self) -> &'static str;
    fn encrypt(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]);
    fn decrypt(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]);
}

impl XtsKey {
    /// Expands Key1 (the data key) and Key2 (the tweak key). XTS-AES-256 uses all 64 bytes (32 + 32), XTS-AES-128 the first
    /// 32 (16 + 16).
    pub fn new(cipher: Cipher, key: &Secret<64>) -> Result<Self, EqualKeys> {
        #[cfg(target_arch = "x86_64")]
        {
            let (data, tweak) = halves(cipher, key)?;
            let fused: Option<Box<dyn Kernel>> = match cipher {
                Cipher::XtsAes256 => vaes::Vaes::<15>::new(data, tweak).map(|key| key as _),
                Cipher::XtsAes128 => vaes::Vaes::<11>::new(data, tweak).map(|key| key as _),
            };
            if let Some(kernel) = fused {
                return Ok(Self(kernel));
            }
        }
        Self::portable(cipher, key)
    }

    /// As [`XtsKey::new`], but never the fused kernel: for tests and measurements.
    pub fn portable(cipher: Cipher, key: &Secret<64>) -> Result<Self, EqualKeys> {
        let (data, tweak) = halves(cipher, key)?;
        Ok(Self(match cipher {
            Cipher::XtsAes256 => Box::new(Portable::<Aes256, Aes256Enc>::new(data, tweak)),
            Cipher::XtsAes128 => Box::new(Portable::<Aes128, Aes128Enc>::new(data, tweak)),
        }))
    }

    /// What does the work for this key: "vaes" or "portable".
    pub fn kernel_name(&self) -> &'static str {
        self.0.name()
    }

    /// Encrypts one data unit. `src` and `dst` have the same length, a positive multiple of 16 bytes; the tweak is `unit`
    /// as a 128-bit little-endian integer.
    ///
    /// # Panics
    /// If the lengths are not so.
    pub fn encrypt(&self, unit: u64, src: &[u8], dst: &mut [u8]) {
        self.encrypt_at(unit, 0, src, dst);
    }

    /// Decrypts one data unit; as [`XtsKey::encrypt`].
    pub fn decrypt(&self, unit: u64, src: &[u8], dst: &mut [u8]) {
        self.decrypt_at(unit, 0, src, dst);
    }

    /// Encrypts blocks of a data unit without the rest: as many as `src` has, from `first_block` on. The result is the same
    /// as the slice of the whole unit's; so are the rules for lengths.
    ///
    /// # Panics
    /// As [`XtsKey::encrypt`].
    pub fn encrypt_at(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]) {
        check(src, dst);
        self.0.encrypt(unit, first_block, src, dst);
    }

    /// Decrypts blocks of a data unit without the rest; as [`XtsKey::encrypt_at`].
    pub fn decrypt_at(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]) {
        check(src, dst);
        self.0.decrypt(unit, first_block, src, dst);
    }
}

/// Key1 and Key2, proved different.
fn halves(cipher: Cipher, key: &Secret<64>) -> Result<(&[u8], &[u8]), EqualKeys> {
    let size = match cipher {
        Cipher::XtsAes256 => 32,
        Cipher::XtsAes128 => 16,
    };
    let (data, tweak) = key.expose()[..2 * size].split_at(size);
    if digest::equal(data, tweak) {
        return Err(EqualKeys);
    }
    Ok((data, tweak))
}

/// Units come from the format's constants, never from the disk: another length is a mistake in this program.
fn check(src: &[u8], dst: &[u8]) {
    assert_eq!(src.len(), dst.len(), "a unit keeps its length");
    assert!(
        !src.is_empty() && src.len().is_multiple_of(16),
        "a unit is whole blocks"
    );
}

/// The most blocks that [`advance`] can step over at once: what a shift by so many bits spills, times the polynomial of degree
/// 7, must fit into 128 bits.
const STEP: usize = 121;

/// Moves a tweak on by `blocks`: multiplies it by x^blocks in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619, section
/// 5.2). Three steps at most in a unit of 4 KiB, where doubling block by block would cost as much as ciphering the blocks.
/// Time depends on `blocks` only, which is no secret.
#[inline]
fn advance(mut tweak: u128, mut blocks: usize) -> u128 {
    while blocks > 0 {
        let step = blocks.min(STEP);
        let spilled = tweak >> (128 - step);
        let folded = spilled ^ (spilled << 1) ^ (spilled << 2) ^ (spilled << 7);
        tweak = (tweak << step) ^ folded;
        blocks -= step;
    }
    tweak
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;
    use aes::cipher::KeyInit;
    use proptest::prelude::*;
    use xts_mode::{Xts128, get_tweak_default};

    const CIPHERS: [Cipher; 2] = [Cipher::XtsAes256, Cipher::XtsAes128];

    /// Every kernel that this machine has.
    fn kernels(cipher: Cipher, key: &Secret<64>) -> [XtsKey; 2] {
        [
            XtsKey::new(cipher, key).unwrap(),
            XtsKey::portable(cipher, key).unwrap(),
        ]
    }

    /// The xts-mode crate: the oracle.
    fn oracle(cipher: Cipher, key: &Secret<64>, unit: u64, plain: &[u8]) -> Vec<u8> {
        let mut out = plain.to_vec();
        let tweak = get_tweak_default(unit.into());
        let (data, twist) = halves(cipher, key).unwrap();
        match cipher {
            Cipher::XtsAes256 => {
                let aes = |key| Aes256::new_from_slice(key).unwrap();
                Xts128::new(aes(data), aes(twist)).encrypt_sector(&mut out, tweak);
            }
            Cipher::XtsAes128 => {
                let aes = |key| Aes128::new_from_slice(key).unwrap();
                Xts128::new(aes(data), aes(twist)).encrypt_sector(&mut out, tweak);
            }
        }
        out
    }

    fn check_all(cipher: Cipher, key: &Secret<64>, unit: u64, plain: &[u8], what: &str) -> Vec<u8> {
        let expected = oracle(cipher, key, unit, plain);
        for xts in kernels(cipher, key) {
            let what = format!("{what}: {cipher:?}, {}", xts.kernel_name());
            let mut sealed = vec![0; plain.len()];
            xts.encrypt(unit, plain, &mut sealed);
            assert!(sealed == expected, "{what}: encrypt");
            let mut opened = vec![0; plain.len()];
            xts.decrypt(unit, &sealed, &mut opened);
            assert!(opened == plain, "{what}: decrypt");
        }
        expected
    }

    /// All lengths of whole blocks up to a page, each with its own random keys, unit number and text.
    #[test]
    fn equals_the_oracle_at_every_length() {
        let seed: [u8; 16] = super::super::random::bytes();
        let draw = |length: usize, purpose: u8, out: &mut [u8]| {
            for (i, chunk) in out.chunks_mut(32).enumerate() {
                let place = [length as u64, i as u64].map(u64::to_le_bytes).concat();
                let bytes = digest::sha256(&[&seed, &[purpose], &place]);
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
        };
        for length in (16..=4096).step_by(16) {
            let key = Secret::fill_with(|key| draw(length, 0, key));
            let mut unit = [0; 8];
            draw(length, 1, &mut unit);
            let mut plain = vec![0; length];
            draw(length, 2, &mut plain);
            for cipher in CIPHERS {
                let what = format!("seed {seed:02x?}, length {length}");
                check_all(cipher, &key, u64::from_le_bytes(unit), &plain, &what);
            }
        }
    }

    proptest! {
        /// Any run of blocks is the slice of its unit; units as long as a page, so that a run may end anywhere in one.
        #[test]
        fn a_run_of_blocks_is_the_slice_of_its_unit(
            seed: [u8; 8],
            unit: u64,
            (first, count) in (0..256usize).prop_flat_map(|first| (Just(first), 1..=256 - first)),
        ) {
            let key = Secret::fill_with(|key| {
                key[..32].copy_from_slice(&digest::sha256(&[&seed, b"1"]));
                key[32..].copy_from_slice(&digest::sha256(&[&seed, b"2"]));
            });
            let plain: Vec<u8> = (0..4096).map(|i| ((i / 16) ^ i) as u8 ^ seed[i % 8]).collect();
            let run = 16 * first..16 * (first + count);
            for cipher in CIPHERS {
                let whole = oracle(cipher, &key, unit, &plain);
                for xts in kernels(cipher, &key) {
                    let mut sealed = vec![0; run.len()];
                    xts.encrypt_at(unit, first, &plain[run.clone()], &mut sealed);
                    prop_assert!(sealed == whole[run.clone()], "{cipher:?}, {}", xts.kernel_name());
                    let mut opened = vec![0; run.len()];
                    xts.decrypt_at(unit, first, &sealed, &mut opened);
                    prop_assert!(opened == plain[run.clone()], "{cipher:?}, {}", xts.kernel_name());
                }
            }
        }
    }

    /// Far enough for several steps of full length, and every shorter one.
    #[test]
    fn advancing_is_doubling_again_and_again() {
        for start in [1, 1 << 127, u128::MAX, 0x0123_4567_89ab_cdef << 61] {
            let mut doubled = start;
            for blocks in 0..1000 {
                assert_eq!(advance(start, blocks), doubled, "{start:#x}, {blocks}");
                doubled = portable::double(doubled);
            }
        }
    }

    #[test]
    fn equal_keys_are_refused() {
        let same = Secret::fill_with(|key| key.fill(7));
        for cipher in CIPHERS {
            assert!(XtsKey::new(cipher, &same).is_err());
            assert!(XtsKey::portable(cipher, &same).is_err());
        }
        // XTS-AES-128 looks at the first 32 bytes only.
        let halves_equal = Secret::fill_with(|key| key[32..].fill(7));
        assert!(XtsKey::new(Cipher::XtsAes128, &halves_equal).is_err());
        assert!(XtsKey::new(Cipher::XtsAes256, &halves_equal).is_ok());
    }

    /// IEEE 1619-2018, annex B: vectors 2 and 3 (the first has equal keys, which are refused here).
    #[test]
    fn ieee1619() {
        let cases = [
            (
                "1111111111111111111111111111111122222222222222222222222222222222",
                "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0",
            ),
            (
                "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f022222222222222222222222222222222",
                "af85336b597afc1a900b2eb21ec949d292df4c047e0b21532186a5971a227a89",
            ),
        ];
        for (key, expected) in cases {
            let key = Secret::fill_with(|bytes| bytes[..32].copy_from_slice(&hex(key)));
            let sealed = check_all(Cipher::XtsAes128, &key, 0x33_3333_3333, &[0x44; 32], "IEEE");
            assert_eq!(sealed, hex(expected));
        }
    }
}
