//! The superblock: where the tree begins. One page in the ring, found by its place and proved by its own tag.
//!
//! ```text
//!    0  tag         16   of the 4080 bytes that follow: index = the page, head = 8 zeros, 3, 7 zeros
//!   16  ciphertext  4080 one XTS data unit, tweak = the page's number in its scope, of
//!         0  magic         8  "CFSIMG1\x1a"
//!         8  generation    8  of the commit that wrote it, below 2^63
//!        16  root         32  pointer to the tree's root node
//!        48  pages         8  of the image
//!        56  next inode    8  number of the next new inode
//!        64  log           8  pages of the log's area; 0: there is none
//!        72  log's start   8  where in it the log of this superblock begins
//!        80  zero       4000
//! ```
//!
//! The newest superblock whose tag is right counts. The one before stays good until the next commit, so a superblock torn
//! by a power cut loses nothing that was promised.
use super::layout::{self, PAGE};
use super::pages::Pages;
use super::pointer::{self, Kind, Pointer};
use crate::crypto::digest;
use crate::fs::{Damage, Result};
use crate::volume::keys::Epoch;

/// Bytes of a tag.
pub const TAG: usize = 16;

const MAGIC: &[u8; 8] = b"CFSIMG1\x1a";
const HEAD: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
const BODY: usize = PAGE - TAG;
const USED: usize = 80;
/// No image comes that far: what counts on from a generation does not overflow.
pub const GENERATIONS: u64 = 1 << 63;

/// A superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The commit.
    pub generation: u64,
    /// The tree.
    pub root: Pointer,
    /// The image's size.
    pub pages: u64,
    /// The next new inode's number.
    pub next_inode: u64,
    /// Pages of the log's area.
    pub log: u64,
    /// Where in it the log begins.
    pub log_start: u64,
}

impl Superblock {
    /// Writes it into its slot; gives its tag, which its log goes on from. Does not flush.
    pub fn write(&self, pages: &Pages) -> Result<[u8; TAG]> {
        let sealed = self.seal(pages)?;
        pages.device.write(layout::slot(self.generation), &sealed)?;
        Ok(std::array::from_fn(|at| sealed[at]))
    }

    /// The page as it is stored.
    pub fn seal(&self, pages: &Pages) -> Result<[u8; PAGE]> {
        let mut plain = [0; BODY];
        plain[..8].copy_from_slice(MAGIC);
        plain[8..16].copy_from_slice(&self.generation.to_le_bytes());
        plain[16..48].copy_from_slice(&self.root.encode());
        plain[48..56].copy_from_slice(&self.pages.to_le_bytes());
        plain[56..64].copy_from_slice(&self.next_inode.to_le_bytes());
        plain[64..72].copy_from_slice(&self.log.to_le_bytes());
        plain[72..80].copy_from_slice(&self.log_start.to_le_bytes());
        let page = layout::slot(self.generation);
        let keys = pages.keys(pages.volume_keys().current(), page)?;
        let mut sealed = [0; PAGE];
        keys.xts.encrypt(page, &plain, &mut sealed[16..]);
        let tag = keys.tag.tag(page, &HEAD, &sealed[16..]);
        sealed[..16].copy_from_slice(&tag);
        Ok(sealed)
    }

    /// Every authentic superblock in the ring and its tag, the newest first.
    pub fn read_all(pages: &Pages) -> Result<Vec<(Self, [u8; TAG])>> {
        let mut found = Vec::new();
        for page in layout::RING..layout::RING + layout::SLOTS {
            let mut sealed = [0; PAGE];
            pages.device.read(page, &mut sealed)?;
            let epochs = pages.volume_keys().epochs();
            let opened = epochs.filter_map(|epoch| Self::open(pages, epoch, page, &sealed));
            let tag = std::array::from_fn(|at| sealed[at]);
            found.extend(opened.take(1).map(|one| (one, tag)));
        }
        found.sort_by_key(|(one, _)| std::cmp::Reverse(one.generation));
        Ok(found)
    }

    fn open(pages: &Pages, epoch: Epoch, page: u64, sealed: &[u8; PAGE]) -> Option<Self> {
        let keys = pages.keys(epoch, page).ok()?;
        let (tag, cipher) = sealed.split_at(16);
        if !digest::equal(tag, &keys.tag.tag(page, &HEAD, cipher)) {
            return None;
        }
        let mut plain = [0; BODY];
        keys.xts.decrypt(page, cipher, &mut plain);
        Self::parse(page, &plain).ok()
    }

    fn parse(page: u64, plain: &[u8; BODY]) -> Result<Self> {
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| plain[at + i]));
        let root: [u8; pointer::SIZE] = std::array::from_fn(|i| plain[16 + i]);
        let one = Self {
            generation: u64_at(8),
            root: Pointer::decode(&root)?.ok_or(Damage::Malformed)?,
            pages: u64_at(48),
            next_inode: u64_at(56),
            log: u64_at(64),
            log_start: u64_at(72),
        };
        let sound = &plain[..8] == MAGIC
            && plain[USED..].iter().all(|byte| *byte == 0)
            && layout::slot(one.generation) == page
            && one.generation < GENERATIONS
            && (layout::SMALLEST..=layout::LARGEST).contains(&one.pages)
            && one.root.kind == Kind::Node
            && one.root.page < one.pages
            && one.log <= layout::LOG_LARGEST
            && (one.log_start < one.log || one.log_start == 0);
        if sound {
            Ok(one)
        } else {
            Err(Damage::Malformed.into())
        }
    }
}
