//! The unit: one aligned page of a backing file, sealed by itself (man/cryptfs.5, "UNITS").
//!
//! ```text
//!    0  tag         16  authenticates index, head and ciphertext under the file's tag key
//!   16  file id     12
//!   28  key epoch    1
//!   29  flags        1  zero
//!   30  valid        2  bytes of payload in use
//!   32  ciphertext 4064  one XTS data unit, tweak = unit index
//! ```
//!
//! Writing a unit is one aligned page write, so a power cut leaves the old unit or the new one, and its tag always
//! belongs to its data.
use crate::crypto::random;
use crate::fs::Damage;
use crate::volume::keys::{Epoch, FileKeys};

/// Bytes of a unit: a page.
pub const UNIT: usize = 4096;
/// Bytes of payload in a unit.
pub const PAYLOAD: usize = UNIT - PREFIX;
/// Bytes of a cipher block.
pub const BLOCK: usize = 16;
/// Bytes before the ciphertext.
const PREFIX: usize = 32;
const TAG: std::ops::Range<usize> = 0..16;
const HEAD: std::ops::Range<usize> = 16..32;

const _: () = assert!(PAYLOAD == 4064 && PAYLOAD.is_multiple_of(16));

/// Names a file's content: drawn with its first unit, and again after truncation to zero, so that rewritten content
/// never shares keys with the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; 12]);

impl FileId {
    /// A new one. Never all zeros: that is what a page that was not written looks like.
    pub fn random() -> Self {
        loop {
            let id = random::bytes();
            if id != [0; 12] {
                return Self(id);
            }
        }
    }
}

/// What stands in clear in front of a unit's ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose unit it is.
    pub id: FileId,
    /// Under which FVEK.
    pub epoch: Epoch,
    /// Bytes of payload in use, 1 to [`PAYLOAD`].
    pub valid: usize,
}

impl Head {
    /// The head of a page as it lies on the disk; `None` for a page of zeros (never written, or a hole). Authenticated
    /// only once [`open`] has accepted the unit.
    pub fn parse(page: &[u8; UNIT]) -> Result<Option<Self>, Damage> {
        if page[..PREFIX] == [0; PREFIX] {
            return if page.iter().all(|b| *b == 0) {
                Ok(None)
            } else {
                Err(Damage::Tag)
            };
        }
        let mut id = [0; 12];
        id.copy_from_slice(&page[16..28]);
        let valid = usize::from(u16::from_le_bytes([page[30], page[31]]));
        if page[29] != 0 || valid == 0 || valid > PAYLOAD || id == [0; 12] {
            return Err(Damage::Malformed);
        }
        Ok(Some(Self {
            id: FileId(id),
            epoch: page[28],
            valid,
        }))
    }

    fn bytes(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..12].copy_from_slice(&self.id.0);
        out[12] = self.epoch;
        out[14..].copy_from_slice(&(self.valid as u16).to_le_bytes()); // at most PAYLOAD
        out
    }
}

/// Seals `payload` ([`PAYLOAD`] bytes) into `page`.
pub fn seal(keys: &FileKeys, index: u64, head: &Head, payload: &[u8], page: &mut [u8]) {
    let (prefix, ciphertext) = page.split_at_mut(PREFIX);
    keys.xts.encrypt(index, payload, ciphertext);
    sign(keys, index, head, prefix, ciphertext);
}

/// Checks that `page` is unit `index` of the file `id`. Returns the bytes in use; `Ok(0)` is a page of zeros.
pub fn verify(
    keys: &FileKeys,
    id: FileId,
    epoch: Epoch,
    index: u64,
    page: &[u8; UNIT],
) -> Result<usize, Damage> {
    let Some(head) = Head::parse(page)? else {
        return Ok(0);
    };
    if head.id != id {
        return Err(Damage::Foreign);
    }
    if head.epoch != epoch {
        return Err(Damage::Epoch);
    }
    let mut tag = [0; 16];
    tag.copy_from_slice(&page[TAG]);
    if !keys.tag.verify(&tag, index, &head.bytes(), &page[PREFIX..]) {
        return Err(Damage::Tag);
    }
    Ok(head.valid)
}

/// Checks as [`verify`] does, then decrypts the payload from `from` into `out`; zeros after the bytes in use. Nothing is
/// decrypted before the tag was checked.
pub fn open(
    keys: &FileKeys,
    id: FileId,
    epoch: Epoch,
    index: u64,
    page: &[u8; UNIT],
    from: usize,
    out: &mut [u8],
) -> Result<usize, Damage> {
    let valid = verify(keys, id, epoch, index, page)?;
    let used = valid.saturating_sub(from).min(out.len());
    decrypt_range(keys, index, &page[PREFIX..], from, &mut out[..used]);
    out[used..].fill(0);
    Ok(valid)
}

/// Decrypts all of a unit's payload, what lies behind the bytes in use with it. The unit must have been verified.
pub fn decrypt(keys: &FileKeys, index: u64, page: &[u8; UNIT], payload: &mut [u8; PAYLOAD]) {
    decrypt_range(keys, index, &page[PREFIX..], 0, payload);
}

/// Decrypts any range of a unit's ciphertext: whole cipher blocks straight into `out`, the rest by way of one block.
fn decrypt_range(keys: &FileKeys, index: u64, ciphertext: &[u8], from: usize, out: &mut [u8]) {
    let mut done = 0;
    while done < out.len() {
        let (block, skip) = ((from + done) / BLOCK, (from + done) % BLOCK);
        let left = out.len() - done;
        if skip == 0 && left >= BLOCK {
            let length = left / BLOCK * BLOCK;
            let source = &ciphertext[block * BLOCK..block * BLOCK + length];
            keys.xts
                .decrypt_at(index, block, source, &mut out[done..done + length]);
            done += length;
        } else {
            let mut plain = [0; BLOCK];
            let source = &ciphertext[block * BLOCK..(block + 1) * BLOCK];
            keys.xts.decrypt_at(index, block, source, &mut plain);
            let length = (BLOCK - skip).min(left);
            out[done..done + length].copy_from_slice(&plain[skip..skip + length]);
            done += length;
        }
    }
}

/// Replaces whole cipher blocks of a sealed unit: `part` from payload offset `from` on, both multiples of [`BLOCK`]. The unit
/// must have been verified: its other blocks are signed again.
pub fn patch(keys: &FileKeys, index: u64, head: &Head, from: usize, part: &[u8], page: &mut [u8]) {
    let (prefix, ciphertext) = page.split_at_mut(PREFIX);
    keys.xts.encrypt_at(
        index,
        from / BLOCK,
        part,
        &mut ciphertext[from..from + part.len()],
    );
    sign(keys, index, head, prefix, ciphertext);
}

fn sign(keys: &FileKeys, index: u64, head: &Head, prefix: &mut [u8], ciphertext: &[u8]) {
    let head = head.bytes();
    prefix[TAG].copy_from_slice(&keys.tag.tag(index, &head, ciphertext));
    prefix[HEAD].copy_from_slice(&head);
}
