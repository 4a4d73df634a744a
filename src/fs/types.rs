//! The words of the trait.
use std::ffi::OsStr;

/// Names a file or directory for as long as it is referenced; the root is [`ROOT`].
pub type NodeId = u64;
/// The root directory.
pub const ROOT: NodeId = 1;
/// Names an open file or directory.
pub type Handle = u64;
/// No handle: the reference to the node is enough.
pub const NO_HANDLE: Handle = 0;

/// A time stamp: seconds since 1970, UTC (negative before), and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

impl Kind {
    /// The type bits of `st_mode` (`S_IFMT`).
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010000,
            Self::CharDevice => 0o020000,
            Self::Directory => 0o040000,
            Self::BlockDevice => 0o060000,
            Self::File => 0o100000,
            Self::Symlink => 0o120000,
            Self::Socket => 0o140000,
        }
    }

    /// From `st_mode`; `None` for a type that Linux does not know.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170000 {
            0o010000 => Self::Fifo,
            0o020000 => Self::CharDevice,
            0o040000 => Self::Directory,
            0o060000 => Self::BlockDevice,
            0o100000 => Self::File,
            0o120000 => Self::Symlink,
            0o140000 => Self::Socket,
            _ => return None,
        })
    }
}

/// Attributes, as statx(2) gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The inode number that programs see.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-ID and sticky bits (0o7777).
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number (as `makedev`), of devices.
    pub rdev: u64,
    /// Bytes of content.
    pub size: u64,
    /// 512-byte blocks used.
    pub blocks: u64,
    /// Preferred size of I/O, bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of attributes.
    pub ctime: Time,
    /// Creation; `None` where the backing store does not keep it.
    pub btime: Option<Time>,
}

/// A node handed out, with one reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub node: NodeId,
    /// Its attributes.
    pub attr: Attr,
}

/// Who asks: owner of what is created, and the mask for its mode.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// File system user.
    pub uid: u32,
    /// File system group.
    pub gid: u32,
    /// umask(2); a default ACL of the parent overrides it.
    pub umask: u32,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The current time.
    Now,
    /// This time.
    At(Time),
}

/// Attributes to change; `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (0o7777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes of content.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Last change of attributes, which the kernel keeps for regular files and tells. A volume that cannot store it does without.
    pub ctime: Option<Time>,
    /// Clear set-user-ID and set-group-ID as a write by an unprivileged user does.
    pub kill_privileges: bool,
    /// The handle through which the size is set, if any.
    pub handle: Option<Handle>,
}

/// How a regular file is opened. `O_APPEND` is the caller's to apply: it gives the offset of every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    /// For writing.
    pub write: bool,
    /// Cut to zero bytes first.
    pub truncate: bool,
    /// `truncate` also clears set-user-ID and set-group-ID.
    pub kill_privileges: bool,
    /// Of `tmpfile`: may never be linked (`O_EXCL`).
    pub unlinkable: bool,
}

/// How `rename` treats an existing target (renameat2(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// Replaces it.
    Replace,
    /// Fails with `EEXIST`.
    NoReplace,
    /// Exchanges the two.
    Exchange,
    /// Replaces it, and leaves a whiteout (a character device 0, 0) under the old name: for overlayfs.
    Whiteout,
}

/// What `fallocate` does (fallocate(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Reserves space; `keep_size`: without growing the file.
    Reserve {
        /// Do not grow.
        keep_size: bool,
    },
    /// Frees the range, which then reads as zeros.
    Punch,
    /// The range reads as zeros.
    Zero {
        /// Do not grow.
        keep_size: bool,
    },
}

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Whence {
    Data,
    Hole,
}

/// What `setxattr` requires (setxattr(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetXattr {
    /// Nothing.
    Either,
    /// That there is none yet.
    Create,
    /// That there is one.
    Replace,
}

/// One name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// The inode number that programs see.
    pub ino: u64,
    /// Where to go on after this entry.
    pub next: u64,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a OsStr,
}

/// Sizes of the whole, as statvfs(3) gives them.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Statfs {
    /// Block size, bytes; `blocks`, `bfree` and `bavail` count these.
    pub bsize: u32,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u32,
}

/// Told how far a long task is. Units are bytes or entries, as the task says.
pub trait Progress: Sync {
    /// The total, once known (may be called again when it grows).
    fn total(&self, units: u64);
    /// More is done.
    fn done(&self, units: u64);
}

/// Nobody is told.
impl Progress for () {
    fn total(&self, _: u64) {}
    fn done(&self, _: u64) {}
}
