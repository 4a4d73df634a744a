//! A node of the tree and what it holds.
use super::content::Content;
use cryptfs::fs::{Attr, Error, Kind, NodeId, Result, Time};
use std::collections::{BTreeMap, HashMap};

/// What a node holds, by its kind.
pub enum Body {
    File(Content),
    Directory(Directory),
    Symlink(Vec<u8>),
    Special,
}

/// A file, directory, link or special file.
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
    pub body: Body,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// References handed out and not forgotten.
    pub references: u64,
    /// Open handles.
    pub handles: u64,
    /// Made without a name and may still get one.
    pub linkable: bool,
}

impl Node {
    pub fn attr(&self, ino: u64) -> Attr {
        let (size, blocks) = match &self.body {
            Body::File(content) => (content.size(), content.sectors()),
            Body::Directory(_) => (4096, 8),
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Special => (0, 0),
        };
        Attr {
            ino,
            kind: self.kind,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size,
            blocks,
            blksize: 4096,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: Some(self.btime),
        }
    }

    /// Content was changed.
    pub fn modified(&mut self, now: Time) {
        self.mtime = now;
        self.ctime = now;
    }

    /// Content was read: `relatime`, as Linux mounts by default.
    pub fn accessed(&mut self, now: Time) {
        if self.atime <= self.mtime
            || self.atime <= self.ctime
            || now.sec >= self.atime.sec + 86_400
        {
            self.atime = now;
        }
    }

    /// What a write by an unprivileged user, or any change of owner, does to the mode.
    pub fn kill_privileges(&mut self) {
        if self.kind == Kind::Directory {
            return;
        }
        self.mode &= !0o4000;
        if self.mode & 0o2010 == 0o2010 {
            self.mode &= !0o2000;
        }
    }

    pub fn content(&mut self) -> Result<&mut Content> {
        match &mut self.body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }
}

/// Names in a directory. Each has a position that it keeps for life, so that a listing that is interrupted goes on where
/// it stopped whatever came and went in between.
pub struct Directory {
    pub parent: NodeId,
    positions: HashMap<Vec<u8>, u64>,
    entries: BTreeMap<u64, (Vec<u8>, NodeId)>,
    next: u64,
}

/// Positions 1 and 2 are those of "." and "..".
const FIRST: u64 = 3;

impl Directory {
    pub fn new(parent: NodeId) -> Self {
        Self {
            parent,
            positions: HashMap::new(),
            entries: BTreeMap::new(),
            next: FIRST,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        let position = self.positions.get(name)?;
        Some(self.entries[position].1)
    }

    /// Adds a name, or lets it mean another node.
    pub fn set(&mut self, name: &[u8], node: NodeId) {
        let position = match self.positions.get(name) {
            Some(position) => *position,
            None => {
                self.next += 1;
                self.positions.insert(name.to_vec(), self.next - 1);
                self.next - 1
            }
        };
        self.entries.insert(position, (name.to_vec(), node));
    }

    pub fn remove(&mut self, name: &[u8]) {
        if let Some(position) = self.positions.remove(name) {
            self.entries.remove(&position);
        }
    }

    /// Position, name and node of what lies behind a position.
    pub fn after(&self, position: u64) -> impl Iterator<Item = (u64, &[u8], NodeId)> {
        self.entries
            .range(position.saturating_add(1)..)
            .map(|(at, (name, node))| (*at, name.as_slice(), *node))
    }
}
