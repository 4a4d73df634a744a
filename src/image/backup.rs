//! A consistent copy of a mounted image: the pages of a snapshot, at the same places, under a superblock of their own.
//!
//! Pages are copied as they are stored, each proved by its pointer first: the copy is as secret as the image, opens with
//! the same protectors, and a damaged page is an error now and not at the restore. Header copies are the caller's.
use super::content;
use super::device::Device;
use super::filesystem::Image;
use super::key::{self, Item};
use super::layout::{self, PAGE};
use super::pages::Pages;
use super::pointer::Pointer;
use super::snapshot::Snapshot;
use super::superblock::Superblock;
use super::tree::{Tree, Visitor};
use crate::fs::{Error, Progress, Result};
use rustix::fd::OwnedFd;

/// The snapshot that holds the pages while they are copied.
pub const HOLDER: &[u8] = b".backup";

impl Image {
    /// Copies what is there now into `target`; see [`Image::copy_snapshot`].
    pub fn backup(&self, target: OwnedFd, after: u64, progress: &dyn Progress) -> Result<u64> {
        match self.delete_snapshot(HOLDER) {
            Err(Error::NotFound) => {}
            left_behind => left_behind?,
        }
        self.create_snapshot(HOLDER)?;
        let copied = self.copy_snapshot(HOLDER, target, after, progress);
        let given_up = self.delete_snapshot(HOLDER);
        let generation = copied?;
        given_up?;
        Ok(generation)
    }

    /// Copies what a snapshot shows into `target`, which is as long as the image and, unless `after` is 0, holds an earlier
    /// copy of that generation: then only what it does not have yet. Gives the copy's generation. Durable when it returns;
    /// until then the copy does not open, and one that was interrupted has to be made anew.
    pub fn copy_snapshot(
        &self,
        name: &[u8],
        target: OwnedFd,
        after: u64,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let store = &self.core.store;
        let all = self.snapshots()?;
        let held = all.iter().find(|one| one.name == name);
        let held = held.ok_or(Error::NotFound)?;
        let device = Device::new(target, false, None)?;
        let (pages, in_use) = {
            let space = store.ground.space.lock();
            (space.pages(), space.in_use())
        };
        if device.length()? < pages * PAGE as u64 {
            return Err(Error::NoSpace);
        }
        let log = store.ground.space.lock().log();
        super::open::fill_fixed(&device, log)?;
        progress.total(in_use);
        let mut copy = Copy {
            from: &store.ground.pages,
            to: &device,
            after,
            progress,
        };
        let tree = Tree::open(held.root, held.generation);
        tree.walk(&store.ground, &mut copy)?;
        // The snapshots that were there then are part of it.
        for one in Snapshot::all_of(&store.ground, &tree)? {
            Tree::open(one.root, one.generation).walk(&store.ground, &mut copy)?;
        }
        device.flush()?;
        let superblock = Superblock {
            generation: held.generation,
            root: held.root,
            pages,
            next_inode: store.next_inode(),
            log,
            log_start: 0,
        };
        let place = layout::slot(held.generation);
        device.write(place, &superblock.seal(&store.ground.pages)?)?;
        device.flush()?;
        Ok(held.generation)
    }
}

struct Copy<'a> {
    from: &'a Pages,
    to: &'a Device,
    after: u64,
    progress: &'a dyn Progress,
}

impl Copy<'_> {
    fn page(&self, at: &Pointer) -> Result<()> {
        let (mut cipher, mut plain) = ([0; PAGE], zeroize::Zeroizing::new([0; PAGE]));
        self.from.device.read(at.page, &mut cipher)?;
        self.from.open(at, &cipher, &mut plain[..])?;
        self.progress.done(1);
        self.to.write(at.page, &cipher)
    }

    /// Whether the copy has this very page, and so all below it: a pointer proves what it points to. Its age alone would
    /// not do: the image may have been put back to an older state and have gone another way since.
    fn has(&self, at: &Pointer) -> bool {
        let (mut cipher, mut plain) = ([0; PAGE], zeroize::Zeroizing::new([0; PAGE]));
        at.generation <= self.after
            && self.to.read(at.page, &mut cipher).is_ok()
            && self.from.open(at, &cipher, &mut plain[..]).is_ok()
    }
}

impl Visitor for Copy<'_> {
    fn enter(&mut self, at: &Pointer) -> bool {
        !self.has(at)
    }

    fn node(&mut self, at: &Pointer) -> Result<()> {
        self.page(at)
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some((_, Item::Extent)) = key::parse(key) {
            for at in content::decode_group(value)?.iter().flatten() {
                if !self.has(at) {
                    self.page(at)?;
                }
            }
        }
        Ok(())
    }
}
