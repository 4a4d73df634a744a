//! The live file system: the store, and the nodes that the caller holds.
//!
//! | module | operations |
//! | --- | --- |
//! | `make` | mknod, mkdir, symlink, create, tmpfile, link |
//! | `remove` | unlink, rmdir, rename; what becomes of an inode that nothing holds |
//! | `list` | readdir |
//! | `attr`, `xattr` | attributes and extended ones |
//! | `content` | read, write, truncate, holes |
use super::inode;
use super::items::Items;
use super::key;
use super::list::Listings;
use super::nodes::Nodes;
use super::store::Store;
use crate::codec::InodeRecord;
use crate::fs::{Damage, Entry, Error, Kind, NodeId, Result};

/// The longest name.
pub const MAX_NAME: usize = 255;

/// See above.
pub struct Core {
    /// The tree and what it stands on.
    pub store: Store,
    /// What the caller holds.
    pub nodes: Nodes,
    /// Where open listings end.
    pub(super) listings: Listings,
    /// Buffers that reads and writes use again: without it each would begin with zeroing one.
    pub(super) buffers: parking_lot::Mutex<Vec<Vec<u8>>>,
}

impl Core {
    /// On an open store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            nodes: Nodes::default(),
            listings: Listings::default(),
            buffers: parking_lot::Mutex::default(),
        }
    }

    /// Hands out a node.
    pub(super) fn entry(&self, ino: u64, inode: &InodeRecord) -> Result<Entry> {
        let attr = inode.attr(ino)?;
        self.nodes.refer(ino);
        Ok(Entry { node: ino, attr })
    }

    /// Finds a name.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Entry> {
        let ino = self.meaning(parent, name)?;
        match self.store.inode(ino) {
            // Removed since the name was read; a name that still means nothing is damage.
            Err(Error::Stale) if self.meaning(parent, name)? != ino => self.lookup(parent, name),
            inode => self.entry(ino, &inode.map_err(dangling)?),
        }
    }

    fn meaning(&self, parent: NodeId, name: &[u8]) -> Result<NodeId> {
        let dir = self.store.inode(parent)?.dir()?;
        Ok(match name {
            b"." => parent,
            b".." if parent == crate::fs::ROOT => parent,
            b".." => dir.parent,
            name => {
                let found = self.store.name(parent, check_name(name)?)?;
                found.ok_or(Error::NotFound)?.ino
            }
        })
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: NodeId) -> Result<Vec<u8>> {
        let inode = self.store.inode(ino)?;
        if inode.kind()? != Kind::Symlink {
            return Err(Error::Invalid);
        }
        self.accessed(ino, &inode);
        let target = self.store.chunks(&key::inline(ino))?;
        target.ok_or(Damage::Missing.into())
    }

    /// Content or names were read: `relatime`. Nothing that fails here is worth failing a read.
    pub(super) fn accessed(&self, ino: u64, inode: &InodeRecord) {
        let now = inode::now();
        if self.store.read_only || !inode.wants_access(now) {
            return;
        }
        let _ = self
            .store
            .change(None, |change| change.edit(ino, |inode| inode.atime = now));
    }
}

fn dangling(error: Error) -> Error {
    match error {
        Error::Stale => Damage::Missing.into(),
        other => other,
    }
}

/// A name as POSIX has it.
pub fn check_name(name: &[u8]) -> Result<&[u8]> {
    match name {
        [] | b"." | b".." => Err(Error::Invalid),
        name if name.len() > MAX_NAME => Err(Error::NameTooLong),
        name if name.iter().any(|b| matches!(b, 0 | b'/')) => Err(Error::Invalid),
        name => Ok(name),
    }
}
