//! Another size.
//!
//! Growing: the file or device is longer already, and a header copy stands at its new end; then the superblock says so.
//! Shrinking: pages beyond the new end move below it, in generations like any other; then the superblock says so; then the
//! header's last copy is written to its new place and the file is cut. A power cut in between leaves the old or the new
//! size, never something between.
use super::content;
use super::filesystem::Image;
use super::items::Items;
use super::key::{self, Item};
use super::layout::{self, KEPT, PAGE};
use super::pointer::Pointer;
use super::store::Store;
use super::tree::Visitor;
use crate::fs::{Error, Progress, Result};

impl Image {
    /// Its size in bytes, as the newest superblock says.
    pub fn size(&self) -> u64 {
        self.core.store.ground.space.lock().pages() * PAGE as u64
    }

    /// Makes the file system as large as so many bytes. Nothing else may use the image meanwhile. `NotSupported`: snapshots
    /// hold pages where they are; `NoSpace`: what is there does not fit.
    pub fn resize(&self, bytes: u64, progress: &dyn Progress) -> Result<()> {
        let store = &self.core.store;
        store.writable()?;
        let pages = layout::pages(bytes);
        if !(layout::SMALLEST..=layout::LARGEST).contains(&pages) {
            return Err(Error::Invalid);
        }
        if store.ground.pages.device.length()? < pages * PAGE as u64 {
            return Err(Error::Invalid); // the file comes first
        }
        let now = store.ground.space.lock().pages();
        if pages < now {
            self.move_below(pages - layout::HEADER, progress)?;
        }
        if pages != now {
            store.resize(pages)?;
        }
        Ok(())
    }

    fn move_below(&self, limit: u64, progress: &dyn Progress) -> Result<()> {
        let store = &self.core.store;
        if !self.snapshots()?.is_empty() {
            return Err(Error::NotSupported);
        }
        {
            let mut space = store.ground.space.lock();
            if space.in_use() + space.reserve() > limit {
                return Err(Error::NoSpace);
            }
            space.forbid(limit);
        }
        let moved = self.move_all(limit, progress);
        if moved.is_err() {
            store.ground.space.lock().allow();
        }
        moved
    }

    fn move_all(&self, limit: u64, progress: &dyn Progress) -> Result<()> {
        let store = &self.core.store;
        // What is written anew while pages move, the map of used pages above all, may still refer to old places.
        for _ in 0..16 {
            let found = Beyond::find(store, limit)?;
            progress.total((found.leaves.len() + found.groups.len()) as u64);
            if found.leaves.is_empty() && found.groups.is_empty() {
                break;
            }
            for (ino, group) in &found.groups {
                self.core.move_group(*ino, *group, limit)?;
                progress.done(1);
            }
            for keys in found.leaves.chunks(256) {
                store.change(None, |change| {
                    keys.iter().try_for_each(|key| change.rewrite(key))
                })?;
                progress.done(keys.len() as u64);
            }
            store.commit()?;
        }
        // Superblocks that are kept must not refer beyond the new end either.
        for _ in 0..KEPT {
            store.commit()?;
        }
        let found = Beyond::find(store, limit)?;
        match found.leaves.is_empty() && found.groups.is_empty() {
            true => Ok(()),
            false => Err(Error::NoSpace),
        }
    }
}

/// What lies at or beyond a page.
struct Beyond {
    limit: u64,
    /// Depth-first: whether a node on the way here lies beyond.
    pending: bool,
    /// A key of each leaf that lies, or has a node above it that lies, beyond.
    leaves: Vec<Vec<u8>>,
    groups: Vec<(u64, u64)>,
}

impl Beyond {
    fn find(store: &Store, limit: u64) -> Result<Self> {
        let mut found = Self {
            limit,
            pending: false,
            leaves: Vec::new(),
            groups: Vec::new(),
        };
        store.tree().walk(&store.ground, &mut found)?;
        Ok(found)
    }
}

impl Visitor for Beyond {
    fn enter(&mut self, at: &Pointer) -> bool {
        self.pending |= at.page >= self.limit;
        true
    }

    /// The first item below a node that lies beyond has that node on its way.
    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if std::mem::take(&mut self.pending) {
            self.leaves.push(key.to_vec());
        }
        if let Some((ino, Item::Extent)) = key::parse(key) {
            let group = content::decode_group(value)?;
            if group.iter().flatten().any(|at| at.page >= self.limit) {
                self.groups.push((ino, key::number(key).unwrap_or(0)));
            }
        }
        Ok(())
    }
}

impl super::core::Core {
    /// Writes pages of a group that lie beyond `limit` anew.
    fn move_group(&self, ino: u64, group: u64, limit: u64) -> Result<()> {
        let item = key::extent(ino, group);
        let Some(value) = self.store.get(&item)? else {
            return Ok(());
        };
        for (page, at) in content::pages(&item, &value)? {
            if let Some(at) = at.filter(|at| at.page >= limit) {
                self.move_page(ino, page, &at)?;
            }
        }
        Ok(())
    }
}
