//! The authenticator of a data unit.
//!
//! Input, for both algorithms: LE64(index) + LE64(length of the ciphertext) + head (16 bytes) + ciphertext (a multiple of 16).
//! POLYVAL: tag = AES-256(K, POLYVAL(H, input)); HMAC: the first 16 bytes of HMAC-SHA-256(K, input).
//! Key material, 48 bytes: H (16 bytes, unused by HMAC), K (32 bytes).
//!
//! The tag is a deterministic pseudo-random function of its input: AES hides POLYVAL's value, so that no nonce is needed, and a
//! forgery needs two inputs whose POLYVAL values collide under an unknown H (about length/2^128 for each attempt).
use super::digest;
use super::secret::Secret;
use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hmac::Hmac;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
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
pub struct TagKey(Kind);

/// Boxed, so that moving a key leaves no copy behind; all three wipe themselves on drop.
enum Kind {
    Polyval(Box<(Polyval, Aes256Enc)>),
    Hmac(Box<Hmac<Sha256>>),
}

impl TagKey {
    /// Expands the 48 bytes of key material.
    pub fn new(algorithm: Algorithm, key: &Secret<48>) -> Self {
        let (h, k) = key.expose().split_at(16);
        let fits = "split at 16 of 48 bytes";
        Self(match algorithm {
            Algorithm::PolyvalAes256 => Kind::Polyval(Box::new((
                <Polyval as KeyInit>::new_from_slice(h).expect(fits),
                Aes256Enc::new_from_slice(k).expect(fits),
            ))),
            Algorithm::HmacSha256 => Kind::Hmac(Box::new(digest::keyed(k))),
        })
    }

    /// The tag of one data unit.
    pub fn tag(&self, index: u64, head: &[u8; 16], ciphertext: &[u8]) -> [u8; SIZE] {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&index.to_le_bytes());
        start[8..16].copy_from_slice(&(ciphertext.len() as u64).to_le_bytes());
        start[16..].copy_from_slice(head);
        match &self.0 {
            Kind::Polyval(keys) => polyval_aes(&keys.0, &keys.1, &start, ciphertext),
            Kind::Hmac(hmac) => {
                let full = digest::mac((**hmac).clone(), &[&start, ciphertext]);
                std::array::from_fn(|i| full[i])
            }
        }
    }

    /// True if `tag` is this unit's, in constant time.
    pub fn verify(&self, tag: &[u8; SIZE], index: u64, head: &[u8; 16], ciphertext: &[u8]) -> bool {
        digest::equal(tag, &self.tag(index, head, ciphertext))
    }
}

/// AES(K, POLYVAL(H, start + ciphertext)). A ciphertext that is no multiple of 16 is padded with zeros; its length stands in
/// `start`, so padding cannot make two inputs equal.
fn polyval_aes(hash: &Polyval, aes: &Aes256Enc, start: &[u8; 32], ciphertext: &[u8]) -> [u8; SIZE] {
    let mut hash = hash.clone();
    // POLYVAL is quickest by four blocks: the start and two of a unit's 254 make four, and the rest comes out even.
    let (head, rest) = ciphertext.split_at(ciphertext.len().min(32));
    let mut first = [0; 64];
    first[..32].copy_from_slice(start);
    first[32..32 + head.len()].copy_from_slice(head);
    hash.update_padded(&first[..32 + head.len()]);
    hash.update_padded(rest);
    let mut tag = hash.finalize();
    aes.encrypt_block(&mut tag);
    tag.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    const ALGORITHMS: [Algorithm; 2] = [Algorithm::PolyvalAes256, Algorithm::HmacSha256];

    /// RFC 8452, appendix A: pins the crate's POLYVAL.
    #[test]
    fn polyval_rfc8452() {
        let h = hex("25629347589242761d31f826ba4b757b");
        let mut hash = <Polyval as KeyInit>::new_from_slice(&h).unwrap();
        hash.update_padded(&hex(
            "4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362",
        ));
        let expected = hex("f7a3b47b846119fae5b7866cf5e5b77e");
        assert_eq!(hash.finalize().as_slice(), expected);
    }

    /// How blocks are grouped is nothing that the tag may show: the input in one piece is the yardstick.
    #[test]
    fn polyval_is_over_start_and_ciphertext_in_one_piece() {
        let material = Secret::random();
        let key = TagKey::new(Algorithm::PolyvalAes256, &material);
        let (h, k) = material.expose().split_at(16);
        let text: Vec<u8> = (0..4064).map(|i| i as u8).collect();
        for length in (0..160).chain([4048, 4064]) {
            let numbers = [9, length as u64].map(u64::to_le_bytes).concat();
            let input = [&numbers, &[3; 16][..], &text[..length]].concat();
            let mut hash = <Polyval as KeyInit>::new_from_slice(h).unwrap();
            hash.update_padded(&input);
            let mut tag = hash.finalize();
            Aes256Enc::new_from_slice(k)
                .unwrap()
                .encrypt_block(&mut tag);
            assert_eq!(
                key.tag(9, &[3; 16], &text[..length])[..],
                tag[..],
                "{length}"
            );
        }
    }

    #[test]
    fn every_changed_input_changes_the_tag() {
        for algorithm in ALGORITHMS {
            let key = TagKey::new(algorithm, &Secret::random());
            let (head, text) = ([3; 16], [5; 4064]);
            let tag = key.tag(9, &head, &text);
            assert!(key.verify(&tag, 9, &head, &text));
            assert!(!key.verify(&tag, 8, &head, &text));
            assert!(!key.verify(&tag, 9, &[2; 16], &text));
            assert!(!key.verify(&tag, 9, &head, &text[..4048]));
            let other = TagKey::new(algorithm, &Secret::random());
            assert!(!other.verify(&tag, 9, &head, &text));
            for byte in (0..text.len()).step_by(97).chain([4063]) {
                let mut changed = text;
                changed[byte] ^= 1;
                assert!(!key.verify(&tag, 9, &head, &changed), "byte {byte}");
            }
            for bit in 0..128 {
                let mut changed = tag;
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!key.verify(&changed, 9, &head, &text), "bit {bit}");
            }
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
