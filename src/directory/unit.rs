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
    let head = head.bytes();
    prefix[TAG].copy_from_slice(&keys.tag.tag(index, &head, ciphertext));
    prefix[HEAD].copy_from_slice(&head);
}

/// Checks that `page` is unit `index` of the file `id` and decrypts it into `payload` ([`PAYLOAD`] bytes). Returns the bytes
/// in use; `Ok(0)` is a page of zeros, which leaves `payload` zeroed. Nothing is decrypted before the tag was checked.
pub fn open(
    keys: &FileKeys,
    id: FileId,
    epoch: Epoch,
    index: u64,
    page: &[u8; UNIT],
    payload: &mut [u8],
) -> Result<usize, Damage> {
    let Some(head) = Head::parse(page)? else {
        payload.fill(0);
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
    keys.xts.decrypt(index, &page[PREFIX..], payload);
    Ok(head.valid)
}
