//! Every entry of the backing store.
use super::Source;
use crate::directory::backing::{self, Object};
use crate::directory::name::{DirId, Shape};
use crate::fs::{Attr, Kind};
use rustix::fs::{Dir, Statx};
use rustix::io::Result;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// A backing directory.
pub struct StoredDir {
    /// Which directory it lies in; the root lies in itself.
    pub parent: usize,
    /// Its backing name.
    pub entry: CString,
    /// Its attributes.
    pub attr: Attr,
    /// The id in its backing name.
    pub id: Option<DirId>,
    /// cryptfs's own: only its lost+found is looked into.
    own: bool,
}

/// Anything that is not a directory.
pub struct Item {
    /// Which directory it lies in.
    pub dir: usize,
    /// Its backing name.
    pub entry: CString,
    /// Its attributes; the size is the backing file's.
    pub attr: Attr,
}

/// All that there is.
pub struct Walk {
    /// Parents before children; the root first.
    pub dirs: Vec<StoredDir>,
    /// In the order in which they were found.
    pub items: Vec<Item>,
    /// Directories that could not be listed (to their end), and why.
    pub unread: Vec<(usize, String)>,
}

impl Walk {
    /// Lists everything.
    pub fn of(source: &Source) -> Result<Self> {
        let root = source.open_dir([])?;
        let attr = attributes(&backing::stat(Object::Open(root.as_fd()))?);
        let mut walk = Self {
            dirs: Vec::new(),
            items: Vec::new(),
            unread: Vec::new(),
        };
        walk.dirs.push(StoredDir {
            parent: 0,
            entry: c".".into(),
            attr: attr.ok_or(rustix::io::Errno::NOTDIR)?,
            id: Some(source.root_id),
            own: false,
        });
        let mut at = 0;
        while at < walk.dirs.len() {
            if let Err(errno) = walk.list(source, at) {
                let why = std::io::Error::from(errno).to_string();
                walk.unread.push((at, why));
            }
            at += 1;
        }
        Ok(walk)
    }

    /// Opens a directory.
    pub fn open(&self, source: &Source, dir: usize) -> Result<OwnedFd> {
        let mut names = Vec::new();
        let mut at = dir;
        while at != 0 {
            names.push(self.dirs[at].entry.as_bytes());
            at = self.dirs[at].parent;
        }
        source.open_dir(names.into_iter().rev())
    }

    fn list(&mut self, source: &Source, at: usize) -> Result<()> {
        let dir = self.open(source, at)?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            let skipped = match bytes {
                b"." | b".." => true,
                b"cryptfs.volume" => at == 0,
                _ => self.dirs[at].own && bytes != b"lost+found",
            };
            // One that went away in between, or cannot be looked at, has nothing to salvage.
            let Some(attr) = backing::stat(Object::At(dir.as_fd(), name))
                .ok()
                .filter(|_| !skipped)
                .and_then(|stat| attributes(&stat))
            else {
                continue;
            };
            if attr.kind == Kind::Directory {
                let id = match source.names.shape(bytes) {
                    Shape::Directory(id) => Some(id),
                    _ => None,
                };
                self.dirs.push(StoredDir {
                    parent: at,
                    entry: name.into(),
                    attr,
                    id,
                    own: at == 0 && bytes == b".cryptfs",
                });
            } else if source.names.shape(bytes) != Shape::Side {
                let (dir, entry) = (at, name.into());
                self.items.push(Item { dir, entry, attr });
            }
        }
        Ok(())
    }
}

fn attributes(stat: &Statx) -> Option<Attr> {
    Some(Attr {
        ino: stat.stx_ino,
        kind: Kind::from_mode(u32::from(stat.stx_mode))?,
        mode: u32::from(stat.stx_mode) & 0o7777,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        blksize: stat.stx_blksize,
        atime: backing::time(stat.stx_atime),
        mtime: backing::time(stat.stx_mtime),
        ctime: backing::time(stat.stx_ctime),
        btime: None,
    })
}
