//! Listing directories. A place in a listing is the same for every handle, so handles are not needed.
use super::core::Core;
use super::items::{Items, decode};
use super::key;
use crate::codec::PositionRecord;
use crate::fs::{Damage, DirEntry, Entry, Error, Kind, NodeId, ROOT, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Entries read at a time, so that no lock is held while they are handed out.
const BATCH: usize = 256;

/// Handed an entry; true when there is no room for it.
pub type Sink<'a> = dyn FnMut(&DirEntry<'_>) -> Result<bool> + 'a;

impl Core {
    /// Lists from a place on until `sink` says that it is full.
    pub fn list(&self, dir: NodeId, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let inode = self.store.inode(dir)?.dir()?;
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
        dir: NodeId,
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
