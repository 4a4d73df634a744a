//! Listing directories. A place in a listing is the same for every handle, and for ever. A name that is made, or renamed, gets a
//! place behind all others; so a handle remembers where the listing ended when it began, and goes no further. Otherwise a
//! program that renames each entry that it reads would never come to the end.
use super::core::Core;
use super::items::{Items, decode};
use super::key;
use crate::codec::PositionRecord;
use crate::fs::{Damage, DirEntry, Entry, Error, Handle, Kind, NO_HANDLE, NodeId, ROOT, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Entries read at a time, so that no lock is held while they are handed out.
const BATCH: usize = 256;

/// Handed an entry; true when there is no room for it.
pub type Sink<'a> = dyn FnMut(&DirEntry<'_>) -> Result<bool> + 'a;

/// Where the listing of each open directory ends.
#[derive(Default)]
pub struct Listings {
    ends: Mutex<FxHashMap<Handle, u64>>,
    last: AtomicU64,
}

impl Listings {
    fn open(&self, end: u64) -> Handle {
        let handle = NO_HANDLE + 1 + self.last.fetch_add(1, Relaxed);
        self.ends.lock().insert(handle, end);
        handle
    }

    /// Forgets a handle.
    pub fn close(&self, handle: Handle) {
        self.ends.lock().remove(&handle);
    }

    /// The end of a listing, which begins anew at offset 0. Without a handle there is none.
    fn end(&self, handle: Handle, offset: u64, now: u64) -> u64 {
        let mut ends = self.ends.lock();
        let end = ends.get_mut(&handle);
        end.map_or(u64::MAX, |end| {
            if offset == 0 {
                *end = now;
            }
            *end
        })
    }
}

impl Core {
    /// Opens a directory for listing.
    pub fn open_dir(&self, dir: NodeId) -> Result<Handle> {
        let inode = self.store.inode(dir)?.dir()?;
        self.nodes.open(dir);
        Ok(self.listings.open(inode.next))
    }

    /// Lists from a place on until `sink` says that it is full.
    pub fn list(
        &self,
        (dir, handle): (NodeId, Handle),
        offset: u64,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let inode = self.store.inode(dir)?.dir()?;
        let end = match self.store.read_only {
            true => u64::MAX, // nothing is renamed
            false => self.listings.end(handle, offset, inode.next),
        };
        if inode.nlink == 0 {
            return Err(Error::NotFound);
        }
        self.accessed(dir, &inode);
        let above = if dir == ROOT { ROOT } else { inode.parent };
        for (next, name, ino) in [(1, ".", dir), (2, "..", above)] {
            let (kind, name) = (Kind::Directory, OsStr::new(name));
            if next > offset
                && sink(&DirEntry {
                    ino,
                    next,
                    kind,
                    name,
                })?
            {
                return Ok(());
            }
        }
        let mut after = offset.max(2);
        loop {
            let batch = self.batch(dir, after)?;
            for (next, record) in &batch {
                if *next >= end {
                    return Ok(());
                }
                after = *next;
                let entry = DirEntry {
                    ino: record.ino,
                    next: *next,
                    kind: Kind::from_mode(record.kind).ok_or(Damage::Malformed)?,
                    name: OsStr::from_bytes(&record.name),
                };
                if sink(&entry)? {
                    return Ok(());
                }
            }
            if batch.len() < BATCH {
                return Ok(());
            }
        }
    }

    /// As [`Core::list`], each entry with its attributes; see `FileSystem::readdirplus`.
    pub fn list_plus(
        &self,
        dir: (NodeId, Handle),
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        self.list(dir, offset, &mut |entry| {
            if entry.next <= 2 {
                return Ok(sink(entry, None));
            }
            let inode = match self.store.inode(entry.ino) {
                Err(Error::Stale) => return Ok(false), // removed since it was read
                inode => inode?,
            };
            let found = self.entry(entry.ino, &inode)?;
            let full = sink(entry, Some(&found));
            if full && self.nodes.forget(entry.ino, 1) {
                self.let_go(entry.ino);
            }
            Ok(full)
        })
    }

    fn batch(&self, dir: NodeId, after: u64) -> Result<Vec<(u64, PositionRecord)>> {
        let mut batch = Vec::new();
        let Some(from) = after.checked_add(1) else {
            return Ok(batch);
        };
        let (prefix, from) = (key::positions(dir), key::position(dir, from));
        self.store.each(&prefix, &from, &mut |key, value| {
            let position = key::number(key).ok_or(Damage::Malformed)?;
            batch.push((position, decode(value)?));
            Ok(batch.len() == BATCH)
        })?;
        Ok(batch)
    }
}
