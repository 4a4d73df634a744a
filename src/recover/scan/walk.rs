//! Every entry of the backing store.
use super::Source;
use crate::directory::backing::{self, Object};
use crate::directory::name::{DirId, Shape};
use crate::fs::{Attr, Kind};
use crate::recover::climb::{Tree, Walker};
use rustix::fs::{Dir, Statx};
use rustix::io::Result;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// A backing directory.
pub struct StoredDir {
    /// Which directory it lies in; the root lies in itself.
    pub parent: usize,
    /// How many directories are above it.
    pub depth: usize,
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
    /// In the order of the tree, a directory before all that is below it; the root first.
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
        let mut reader = Reader::new(source)?;
        let mut left = vec![StoredDir {
            parent: 0,
            depth: 0,
            entry: c".".into(),
            attr: attr.ok_or(rustix::io::Errno::NOTDIR)?,
            id: Some(source.root_id),
            own: false,
        }];
        while let Some(dir) = left.pop() {
            walk.dirs.push(dir);
            let at = walk.dirs.len() - 1;
            if let Err(errno) = walk.list(source, &mut reader, at, &mut left) {
                let why = std::io::Error::from(errno).to_string();
                walk.unread.push((at, why));
            }
        }
        Ok(walk)
    }

    /// Lists a directory; what is below it comes next.
    fn list(
        &mut self,
        source: &Source,
        reader: &mut Reader<'_>,
        at: usize,
        below: &mut Vec<StoredDir>,
    ) -> Result<()> {
        let dir = reader.open(self, at)?;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            let skipped = match bytes {
                b"." | b".." => true,
                b"cryptfs.volume" => at == 0,
                _ => self.dirs[at].own && bytes != b"lost+found",
            };
            // One that went away in between, or cannot be looked at, has nothing to salvage.
            let Some(attr) = backing::stat(Object::At(dir, name))
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
                below.push(StoredDir {
                    parent: at,
                    depth: self.dirs[at].depth + 1,
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

impl Tree for Walk {
    fn parent(&self, dir: usize) -> usize {
        self.dirs[dir].parent
    }

    fn name(&self, dir: usize) -> &OsStr {
        OsStr::from_bytes(self.dirs[dir].entry.to_bytes())
    }

    fn depth(&self, dir: usize) -> usize {
        self.dirs[dir].depth
    }
}

/// Opens backing directories one after the other.
pub struct Reader<'a> {
    source: &'a Source,
    walker: Walker<'a>,
}

impl<'a> Reader<'a> {
    /// Of a volume's backing store.
    pub fn new(source: &'a Source) -> Result<Self> {
        let walker = Walker::new(source.root())?;
        Ok(Self { source, walker })
    }

    /// Opens a directory.
    pub fn open(&mut self, walk: &Walk, dir: usize) -> Result<BorrowedFd<'_>> {
        let source = self.source;
        self.walker
            .go(walk, dir, |above, name| source.enter(above, name))
    }

    /// Opens a regular file for reading.
    pub fn open_file(&mut self, walk: &Walk, item: &Item) -> Result<std::os::fd::OwnedFd> {
        let source = self.source;
        let dir = self.open(walk, item.dir)?;
        source.open_file(dir, item.entry.to_bytes())
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
