//! POLYVAL and AES by their crates: for every machine without the fused kernel, and the yardstick of that kernel.
use super::{Kernel, SIZE};
use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

/// Both keys, expanded; both wipe themselves on drop.
pub(super) struct Portable {
    hash: Polyval,
    aes: Aes256Enc,
}

impl Portable {
    /// Expands H and K.
    pub(super) fn new(h: &[u8; 16], k: &[u8; 32]) -> Self {
        Self {
            hash: Polyval::new(h.into()),
            aes: Aes256Enc::new(k.into()),
        }
    }
}

impl Kernel for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn tag(&self, start: &[u8; 32], ciphertext: &[u8]) -> [u8; SIZE] {
        let mut hash = self.hash.clone();
        // The crate is quickest by four blocks: the start and two of a unit's 254 make four, and the rest comes out even.
        let (head, rest) = ciphertext.split_at(ciphertext.len().min(32));
        let mut first = [0; 64];
        first[..32].copy_from_slice(start);
        first[32..32 + head.len()].copy_from_slice(head);
        hash.update_padded(&first[..32 + head.len()]);
        hash.update_padded(rest);
        let mut tag = hash.finalize();
        self.aes.encrypt_block(&mut tag);
        tag.into()
    }
}
