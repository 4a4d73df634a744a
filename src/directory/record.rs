//! The seam through which tests see what is done to the backing store, in order.
use crate::fs::{Rename, Time};

/// One change of the backing store that succeeded. Files and directories are named by their backing inode number, names by
/// the directory they are in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the system call
pub enum Op {
    Create {
        dir: u64,
        name: Vec<u8>,
        ino: u64,
        mode: u32,
    },
    Tmpfile {
        ino: u64,
        mode: u32,
    },
    Mkdir {
        dir: u64,
        name: Vec<u8>,
        ino: u64,
        mode: u32,
    },
    Mknod {
        dir: u64,
        name: Vec<u8>,
        ino: u64,
        mode: u32,
        rdev: u64,
    },
    Symlink {
        dir: u64,
        name: Vec<u8>,
        ino: u64,
        target: Vec<u8>,
    },
    Link {
        ino: u64,
        dir: u64,
        name: Vec<u8>,
    },
    Unlink {
        dir: u64,
        name: Vec<u8>,
    },
    Rmdir {
        dir: u64,
        name: Vec<u8>,
    },
    Rename {
        from: (u64, Vec<u8>),
        to: (u64, Vec<u8>),
        how: Rename,
    },
    Write {
        ino: u64,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        ino: u64,
        length: u64,
    },
    Reserve {
        ino: u64,
        offset: u64,
        length: u64,
    },
    Punch {
        ino: u64,
        offset: u64,
        length: u64,
    },
    SetMode {
        ino: u64,
        mode: u32,
    },
    SetOwner {
        ino: u64,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    SetTimes {
        ino: u64,
        mtime: Option<Time>,
    },
    SetXattr {
        ino: u64,
        name: Vec<u8>,
        value: Vec<u8>,
    },
    RemoveXattr {
        ino: u64,
        name: Vec<u8>,
    },
    /// fsync or fdatasync of a file.
    Sync {
        ino: u64,
    },
    /// fsync of a directory.
    SyncDir {
        ino: u64,
    },
    /// syncfs.
    SyncAll,
}

/// Told of every change, after it was done and before the next one of the same thread.
pub trait Recorder: Send + Sync {
    /// One change.
    fn record(&self, op: Op);
}
