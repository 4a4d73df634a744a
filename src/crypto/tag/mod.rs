//! The authenticator of a data unit.
//!
//! Input, for both algorithms: LE64(index) + LE64(length of the ciphertext) + head (16 bytes) + ciphertext (a multiple of 16).
//! POLYVAL: tag = AES-256(K, POLYVAL(H, input)); HMAC: the first 16 bytes of HMAC-SHA-256(K, input).
//! Key material, 48 bytes: H (16 bytes, unused by HMAC), K (32 bytes).
//!
//! The tag is a deterministic pseudo-random function of its input: AES hides POLYVAL's value, so that no nonce is needed, and a
//! forgery needs two inputs whose POLYVAL values collide under an unknown H (about length/2^128 for each attempt).
//!
//! Two kernels of POLYVAL with one result: `vpclmul` works on wide registers where the processor can, `portable` runs
//! everywhere. HMAC has the `hmac` crate's.
mod portable;
#[cfg(target_arch = "x86_64")]
mod vpclmul;

use super::digest;
use super::secret::Secret;
use hmac::Hmac;
use portable::Portable;
use sha2::Sha256;

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
///
/// Boxed, so that moving it leaves no copy behind; each kernel wipes itself on drop.
pub struct TagKey(Box<dyn Kernel>);

/// What does the work.
trait Kernel: Send + Sync {
    fn name(&self) -> &'static str;
    /// The tag of `start` + `ciphertext`. POLYVAL pads a ciphertext that is no multiple of 16 with zeros; its length stands in
    /// `start`, so padding cannot make two inputs equal.
    fn tag(&self, start: &[u8; 32], ciphertext: &[u8]) -> [u8; SIZE];
}

impl TagKey {
    /// Expands the 48 bytes of key material.
    pub fn new(algorithm: Algorithm, key: &Secret<48>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if algorithm == Algorithm::PolyvalAes256 {
            let (h, k) = halves(key);
            if let Some(kernel) = vpclmul::Vpclmul::new(h, k) {
                return Self(kernel);
            }
        }
        Self::portable(algorithm, key)
    }

    /// As [`TagKey::new`], but never the fused kernel: for tests and measurements.
    pub fn portable(algorithm: Algorithm, key: &Secret<48>) -> Self {
        let (h, k) = halves(key);
        Self(match algorithm {
            Algorithm::PolyvalAes256 => Box::new(Portable::new(h, k)),
            Algorithm::HmacSha256 => Box::new(digest::keyed(k)),
        })
    }

    /// What does the work for this key: "vpclmul" or "portable".
    pub fn kernel_name(&self) -> &'static str {
        self.0.name()
    }

    /// The tag of one data unit.
    pub fn tag(&self, index: u64, head: &[u8; 16], ciphertext: &[u8]) -> [u8; SIZE] {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&index.to_le_bytes());
        start[8..16].copy_from_slice(&(ciphertext.len() as u64).to_le_bytes());
        start[16..].copy_from_slice(head);
        self.0.tag(&start, ciphertext)
    }

    /// True if `tag` is this unit's, in constant time.
    pub fn verify(&self, tag: &[u8; SIZE], index: u64, head: &[u8; 16], ciphertext: &[u8]) -> bool {
        digest::equal(tag, &self.tag(index, head, ciphertext))
    }
}

/// H and K.
fn halves(key: &Secret<48>) -> (&[u8; 16], &[u8; 32]) {
    let (h, k) = key.expose().split_first_chunk().expect("16 of 48 bytes");
    (h, k.first_chunk().expect("32 are left"))
}

impl Kernel for Hmac<Sha256> {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn tag(&self, start: &[u8; 32], ciphertext: &[u8]) -> [u8; SIZE] {
        let full = digest::mac(self.clone(), &[start, ciphertext]);
        std::array::from_fn(|i| full[i])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;
    use aes::Aes256Enc;
    use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
    use polyval::Polyval;
    use polyval::universal_hash::UniversalHash;
    use proptest::prelude::*;

    const ALGORITHMS: [Algorithm; 2] = [Algorithm::PolyvalAes256, Algorithm::HmacSha256];

    /// Every kernel that this machine has.
    fn kernels(algorithm: Algorithm, key: &Secret<48>) -> [TagKey; 2] {
        [
            TagKey::new(algorithm, key),
            TagKey::portable(algorithm, key),
        ]
    }

    /// The crates over the input in one piece: the oracle. How blocks are grouped is nothing that the tag may show.
    fn oracle(key: &Secret<48>, index: u64, head: &[u8; 16], text: &[u8]) -> [u8; SIZE] {
        let (h, k) = halves(key);
        let numbers = [index, text.len() as u64].map(u64::to_le_bytes).concat();
        let mut hash = Polyval::new(h.into());
        hash.update_padded(&[&numbers, &head[..], text].concat());
        let mut tag = hash.finalize();
        Aes256Enc::new(k.into()).encrypt_block(&mut tag);
        tag.into()
    }

    fn check_all(key: &Secret<48>, index: u64, head: &[u8; 16], text: &[u8]) {
        let expected = oracle(key, index, head, text);
        for tag in kernels(Algorithm::PolyvalAes256, key) {
            let what = format!("{}, {} bytes", tag.kernel_name(), text.len());
            assert_eq!(tag.tag(index, head, text), expected, "{what}");
            assert!(tag.verify(&expected, index, head, text), "{what}");
        }
    }

    /// RFC 8452, appendices A, C.1 and C.2: two, three, four and six blocks, with AES over the result.
    #[test]
    fn polyval_rfc8452() {
        let cases = [
            (
                "25629347589242761d31f826ba4b757b",
                "4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362",
                "f7a3b47b846119fae5b7866cf5e5b77e",
            ),
            (
                "b5d3c529dfafac43136d2d11be284d7f",
                "0100000000000000000000000000000002000000000000000000000000000000\
                 00000000000000000001000000000000",
                "899b6381b3d46f0def7aa0517ba188f5",
            ),
            (
                "b5d3c529dfafac43136d2d11be284d7f",
                "0100000000000000000000000000000002000000000000000000000000000000\
                 0300000000000000000000000000000000000000000000008001000000000000",
                "c1f8593d8fc29b0c290cae1992f71f51",
            ),
            (
                "3724f55f1d22ac0ab830da0b6a995d74",
                "7576f7028ec6eb5ea7e298342a94d4b202b370ef9768ec6561c4fe6b7e7296fa\
                 859c2100000000000000000000000000e42a3c02c25b64869e146d7b233987bd\
                 dfc240871d00000000000000000000001801000000000000a800000000000000",
                "4cbba090f03f7d1188ea55749fa6c7bd",
            ),
        ];
        for (h, input, result) in cases {
            let key = Secret::fill_with(|key| {
                key.fill(0x4b);
                key[..16].copy_from_slice(&hex(h));
            });
            let mut expected = Block::<Aes256Enc>::try_from(&hex(result)[..]).unwrap();
            Aes256Enc::new(&[0x4b; 32].into()).encrypt_block(&mut expected);
            let input = hex(input);
            let (start, text) = input.split_first_chunk().unwrap();
            for tag in kernels(Algorithm::PolyvalAes256, &key) {
                let name = tag.kernel_name();
                assert_eq!(tag.0.tag(start, text)[..], expected[..], "{name}");
            }
        }
    }

    /// What is no whole block is padded with zeros.
    #[test]
    fn equals_the_crates_at_lengths_between_blocks() {
        let text: Vec<u8> = (0..4064).map(|i| i as u8).collect();
        for length in (0..600).chain(4049..4064) {
            check_all(&Secret::random(), 9, &[3; 16], &text[..length]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// All lengths of whole blocks up to a page.
        #[test]
        fn equals_the_crates_at_every_length(
            material in proptest::array::uniform32(any::<u8>()),
            index: u64,
            head: [u8; 16],
            seed: [u8; 31],
        ) {
            let key = Secret::fill_with(|key| {
                key[..32].copy_from_slice(&material);
                key[32..].copy_from_slice(&digest::sha256(&[&material])[..16]);
            });
            let text: Vec<u8> = (0..4096).map(|i| (i / 31) as u8 ^ seed[i % 31]).collect();
            for length in (16..=4096).step_by(16) {
                check_all(&key, index, &head, &text[..length]);
            }
        }
    }

    #[test]
    fn every_changed_input_is_refused() {
        for algorithm in ALGORITHMS {
            let other = TagKey::new(algorithm, &Secret::random());
            for key in kernels(algorithm, &Secret::random()) {
                refuses_every_change(&key);
                let tag = key.tag(9, &[3; 16], &[5; 4064]);
                assert!(!other.verify(&tag, 9, &[3; 16], &[5; 4064]));
            }
        }
    }

    fn refuses_every_change(key: &TagKey) {
        let name = key.kernel_name();
        let (index, head, text) = (9, [3; 16], [5; 4064]);
        let tag = key.tag(index, &head, &text);
        assert!(key.verify(&tag, index, &head, &text));
        assert!(!key.verify(&tag, index, &head, &text[..4048]));
        let flipped = |bytes: &[u8; 16], bit: usize| {
            let mut flipped = *bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        };
        for bit in 0..128 {
            let other = flipped(&tag, bit);
            assert!(!key.verify(&other, index, &head, &text), "{name}, {bit}");
            let other = flipped(&head, bit);
            assert!(!key.verify(&tag, index, &other, &text), "{name}, {bit}");
        }
        for bit in 0..64 {
            let index = index ^ 1 << bit;
            assert!(!key.verify(&tag, index, &head, &text), "{name}, {bit}");
        }
        for byte in (0..text.len()).step_by(97).chain([4063]) {
            let mut changed = text;
            changed[byte] ^= 1;
            assert!(!key.verify(&tag, index, &head, &changed), "{name}, {byte}");
        }
    }

    /// Trailing zeros are data, not padding.
    #[test]
    fn lengths_separate() {
        for algorithm in ALGORITHMS {
            let key = TagKey::new(algorithm, &Secret::random());
            let tags: std::collections::HashSet<_> = (0..64)
                .map(|n| key.tag(0, &[0; 16], &[0; 64][..n]))
                .collect();
            assert_eq!(tags.len(), 64);
        }
    }
}
