//! Making and opening an image.
use super::core::Core;
use super::device::{Device, Recorder};
use super::ground::{Ground, is_full};
use super::inode::{self, INLINE};
use super::key;
use super::layout;
use super::log::{self, Log};
use super::pages::Pages;
use super::space::Space;
use super::store::{Durable, Store};
use super::superblock::{Superblock, TAG};
use super::tree::Tree;
use crate::codec::InodeRecord;
use crate::fs::{self, Damage, Kind, ROOT};
use crate::volume::keys::Keys;
use rustix::fd::OwnedFd;
use std::sync::Arc;

/// How to open an image.
#[derive(Clone, Default)]
pub struct Options {
    /// Nothing may be changed.
    pub read_only: bool,
    /// The newest generation this computer has seen (the keystore's); 0: none.
    pub expected_generation: u64,
    /// Take an image that is older than that: a restored backup.
    pub accept_rollback: bool,
    /// Where the newest generation is damaged at its root, take the one before it. For salvage, read-only.
    pub accept_older: bool,
    /// Go on without what a damaged log made durable: to check, and to put right.
    pub accept_broken_log: bool,
    /// Show this snapshot, read-only.
    pub snapshot: Option<Vec<u8>>,
    /// Keep freed space with the image (`--preallocate`) instead of giving it back to the file system below.
    pub keep_space: bool,
    /// Told of every change, for tests.
    pub recorder: Option<Arc<dyn Recorder>>,
}

/// Why an image does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No superblock is authentic.
    #[error("no superblock is readable")]
    NoSuperblock,
    /// Older than what this computer has seen.
    #[error("image is of generation {found}, but generation {seen} was seen here")]
    RolledBack {
        /// In the image.
        found: u64,
        /// In the keystore.
        seen: u64,
    },
    /// Records of the log are missing that were durable.
    #[error("a page of the log is damaged: what was made durable last before the crash is lost")]
    BrokenLog,
    /// The file or device is shorter than the image.
    #[error("image has {found} bytes of {wanted}")]
    Cut {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        wanted: u64,
    },
    /// Sizes outside of what an image can have.
    #[error("an image has {} MiB to {} TiB", layout::SMALLEST >> 8, layout::LARGEST >> 28)]
    Size,
    /// No snapshot of this name.
    #[error("there is no snapshot of this name")]
    NoSnapshot,
    /// Damage, or an error of the medium.
    #[error(transparent)]
    Fs(#[from] fs::Error),
}

/// Makes an empty file system in an image of so many bytes, whose header copies are written by the volume. What the image
/// held before is not overwritten, but nothing refers to it any more.
pub fn format(fd: OwnedFd, size: u64, keys: Arc<Keys>, root: (u32, u32)) -> Result<(), OpenError> {
    let count = layout::pages(size);
    if !(layout::SMALLEST..=layout::LARGEST).contains(&count) {
        return Err(OpenError::Size);
    }
    let device = Device::new(fd, false, None)?;
    let log = layout::log(count);
    fill_fixed(&device, log)?;
    let pages = Pages::new(device, keys);
    let epoch = pages.volume_keys().current();
    let ground = Ground::new(pages, Space::new(count, log));
    let tree = Tree::empty(&ground, epoch)?;
    let durable = Durable {
        log: Log::before_all(log),
        ..Durable::default()
    };
    let store = Store::new(ground, tree, durable, ROOT + 1, false);
    store.change(None, |change| {
        let mode = Kind::Directory.mode_bits() | 0o755;
        let mut inode = InodeRecord::new(mode, root, inode::now());
        inode.nlink = 2;
        inode.parent = ROOT;
        inode.set(INLINE, true);
        change.put_inode(ROOT, &inode)
    })?;
    Ok(store.commit()?)
}

/// Random bytes, so that ring and log do not show how few commits there were; and nothing of an image made here before.
pub(super) fn fill_fixed(device: &Device, log: u64) -> fs::Result<()> {
    for (first, pages) in [(layout::RING, layout::SLOTS), (layout::LOG, log)] {
        let mut bytes = vec![0; pages as usize * layout::PAGE];
        crate::crypto::random::fill(&mut bytes);
        device.write(first, &bytes)?;
    }
    device.flush()
}

/// Opens the newest generation.
pub(super) fn open(fd: OwnedFd, keys: Arc<Keys>, options: &Options) -> Result<Core, OpenError> {
    let read_only = options.read_only || options.snapshot.is_some();
    let punch = !options.keep_space && !read_only;
    let device = Device::new(fd, punch, options.recorder.clone())?;
    let length = device.length()?;
    let pages = Pages::new(device, keys);
    let found = Superblock::read_all(&pages)?;
    let (newest, _) = found.first().ok_or(OpenError::NoSuperblock)?;
    let wanted = newest.pages * layout::PAGE as u64;
    if length < wanted && !options.accept_older {
        return Err(OpenError::Cut {
            found: length,
            wanted,
        });
    }
    let ground = Ground::new(pages, Space::new(newest.pages, newest.log));
    let (chosen, tag) = choose(&ground, &found, options)?;
    let mut tree = Tree::open(chosen.root, chosen.generation);
    *ground.space.lock() = load_map(&ground, &tree, &chosen, options)?;
    super::snapshot::remember_kept(&ground, &tree)?; // no record makes or deletes one
    let (log, next_inode) = follow_log(&ground, &mut tree, (&chosen, tag), options)?;
    let (generation, seen) = (tree.generation() - 1, options.expected_generation);
    if generation < seen && !options.accept_rollback {
        let found = generation;
        return Err(OpenError::RolledBack { found, seen });
    }
    let tree = match &options.snapshot {
        Some(name) => match super::snapshot::open(&ground, &tree, name) {
            Err(fs::Error::NotFound) => return Err(OpenError::NoSnapshot),
            found => found?,
        },
        None => tree,
    };
    let settled = log.is_broken() || !log.is_begun(); // a broken one is the repair's
    let durable = Durable {
        generation,
        superblocks: [
            chosen.generation,
            found
                .get(1)
                .map_or(chosen.generation, |(one, _)| one.generation),
        ],
        log,
    };
    let store = Store::new(ground, tree, durable, next_inode, read_only);
    let core = Core::new(store);
    if !read_only {
        // A daemon that was killed may have left its last superblock in the page cache: what is seen now, and noted as
        // seen, must not be lost by a power cut.
        core.store.ground.pages.device.flush()?;
        core.store.ground.fill_cushion();
        if !settled {
            // What a crash has left does not stay longer than it must. If there is no room, the log is there the next time.
            match core.store.commit() {
                Err(error) if !is_full(&error) => return Err(error.into()),
                _ => {}
            }
        }
        // An orphan that is damaged must not keep the rest from being mounted: it stays one.
        let _ = core.reap_all();
    }
    Ok(core)
}

/// Proves that a file or device is an image of these keys, and has all the bytes that its newest superblock counts.
pub fn prove_size(fd: OwnedFd, keys: Arc<Keys>) -> Result<(), OpenError> {
    let device = Device::new(fd, false, None)?;
    let found = device.length()?;
    let pages = Pages::new(device, keys);
    let all = Superblock::read_all(&pages)?;
    let (newest, _) = all.first().ok_or(OpenError::NoSuperblock)?;
    match newest.pages * layout::PAGE as u64 {
        wanted if found < wanted => Err(OpenError::Cut { found, wanted }),
        _ => Ok(()),
    }
}

/// A superblock and its tag.
type Tagged = (Superblock, [u8; TAG]);

/// The newest superblock; for salvage, the newest whose root is good.
fn choose(ground: &Ground, found: &[Tagged], options: &Options) -> fs::Result<Tagged> {
    let sound = |(one, _): &&Tagged| ground.load(&one.root, None).is_ok();
    let older = options.accept_older && options.read_only;
    let chosen = found
        .iter()
        .find(|one| !older || sound(one))
        .or(found.first());
    chosen.copied().ok_or(Damage::Missing.into())
}

/// Brings the tree up to date; gives the log, and the next new inode's number.
fn follow_log(
    ground: &Ground,
    tree: &mut Tree,
    (superblock, tag): (&Superblock, [u8; TAG]),
    options: &Options,
) -> Result<(Log, u64), OpenError> {
    let (log, records) = match Log::read(&ground.pages, superblock, tag) {
        Err(_) if options.accept_older => (Log::new(superblock, tag), Vec::new()),
        read => read?,
    };
    if log.is_broken() && !options.accept_broken_log && !options.accept_older {
        return Err(OpenError::BrokenLog);
    }
    let next_inode = log::replay(ground, tree, (&log, records), options.read_only)?;
    Ok((log, next_inode.unwrap_or(superblock.next_inode)))
}

/// The map of used pages; a read-only mount does without what cannot be read of it.
fn load_map(
    ground: &Ground,
    tree: &Tree,
    superblock: &Superblock,
    options: &Options,
) -> fs::Result<Space> {
    let mut chunks = Vec::new();
    let prefix = key::freemaps();
    let read = tree.scan_prefix(ground, &prefix, &prefix, &mut |key, value| {
        chunks.push((key::number(key).ok_or(Damage::Malformed)?, value.to_vec()));
        Ok(false)
    });
    if !options.read_only {
        read?;
    }
    let chunks = chunks.iter().map(|(index, bytes)| (*index, &bytes[..]));
    Ok(Space::load(superblock.pages, superblock.log, chunks))
}
