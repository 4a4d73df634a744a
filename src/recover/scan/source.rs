//! The backing store of a volume that is being salvaged. Nothing here can write to it: files are opened for reading, and
//! without moving their time of access where that is allowed.
use crate::directory::name::{DirId, NameEncoding, Names};
use crate::volume::keys::Keys;
use crate::volume::{Opened, header};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// A volume's backing directory, and what opens it.
pub struct Source {
    root: OwnedFd,
    /// The root directory's id.
    pub root_id: DirId,
    /// Opens names.
    pub names: Names,
    /// Opens content.
    pub keys: Arc<Keys>,
}

impl Source {
    /// Of an unlocked directory volume.
    pub fn new(opened: Opened) -> Result<Self> {
        let root = fs::openat(opened.place.as_fd(), c".", LIST, Mode::empty())?;
        let keys = Arc::new(opened.keys);
        let encoding = match opened.header.name_encoding {
            header::NameEncoding::Base64Url => NameEncoding::Base64Url,
            header::NameEncoding::Base32Hex => NameEncoding::Base32Hex,
        };
        Ok(Self {
            root,
            root_id: DirId(opened.header.root),
            names: Names::new(keys.clone(), encoding),
            keys,
        })
    }

    /// The backing directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a directory in another one. A symbolic link is not followed.
    pub fn enter(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
        quiet(dir, name.as_bytes(), LIST)
    }

    /// Opens a directory, name by name from the root. No link in it is followed.
    pub fn open_dir<'a>(&self, names: impl IntoIterator<Item = &'a [u8]>) -> Result<OwnedFd> {
        let mut dir = fs::openat(&self.root, c".", LIST, Mode::empty())?;
        for name in names {
            dir = quiet(dir.as_fd(), name, LIST)?;
        }
        Ok(dir)
    }

    /// Opens a regular file for reading. A FIFO in its place does not block.
    pub fn open_file(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        quiet(dir, name, OFlags::RDONLY.union(OFlags::NONBLOCK))
    }
}

const LIST: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Only the owner may leave the time of access alone.
fn quiet(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}
