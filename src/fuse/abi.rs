//! The kernel's words: opcodes, flags and structs of `include/uapi/linux/fuse.h`, protocol 7.31 to 7.45.
//!
//! fuser announces 7.40 in its INIT reply. The kernel sends newer operations all the same and falls back on `ENOSYS`, so
//! what is listed here is what we know, not what was announced. Native byte order; every struct is padded to 8 bytes.
use super::wire::{Malformed, Reader};

/// Opcodes, with the name under which each is counted.
macro_rules! opcodes {
    ($($name:ident = $value:literal,)*) => {
        $(pub(super) const $name: u32 = $value;)*
        /// The name of an opcode.
        pub(super) const fn opcode_name(opcode: u32) -> Option<&'static str> {
            match opcode {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    LOOKUP = 1,
    FORGET = 2,
    GETATTR = 3,
    SETATTR = 4,
    READLINK = 5,
    SYMLINK = 6,
    MKNOD = 8,
    MKDIR = 9,
    UNLINK = 10,
    RMDIR = 11,
    RENAME = 12,
    LINK = 13,
    OPEN = 14,
    READ = 15,
    WRITE = 16,
    STATFS = 17,
    RELEASE = 18,
    FSYNC = 20,
    SETXATTR = 21,
    GETXATTR = 22,
    LISTXATTR = 23,
    REMOVEXATTR = 24,
    FLUSH = 25,
    INIT = 26,
    OPENDIR = 27,
    READDIR = 28,
    RELEASEDIR = 29,
    FSYNCDIR = 30,
    ACCESS = 34,
    CREATE = 35,
    INTERRUPT = 36,
    BMAP = 37,
    DESTROY = 38,
    IOCTL = 39,
    POLL = 40,
    NOTIFY_REPLY = 41,
    BATCH_FORGET = 42,
    FALLOCATE = 43,
    READDIRPLUS = 44,
    RENAME2 = 45,
    LSEEK = 46,
    COPY_FILE_RANGE = 47,
    SYNCFS = 50,
    TMPFILE = 51,
    STATX = 52,
    COPY_FILE_RANGE_64 = 53,
}

/// `fuse_setattr_in.valid`.
pub(super) mod fattr {
    pub(in super::super) const MODE: u32 = 1 << 0;
    pub(in super::super) const UID: u32 = 1 << 1;
    pub(in super::super) const GID: u32 = 1 << 2;
    pub(in super::super) const SIZE: u32 = 1 << 3;
    pub(in super::super) const ATIME: u32 = 1 << 4;
    pub(in super::super) const MTIME: u32 = 1 << 5;
    pub(in super::super) const FH: u32 = 1 << 6;
    pub(in super::super) const ATIME_NOW: u32 = 1 << 7;
    pub(in super::super) const MTIME_NOW: u32 = 1 << 8;
    pub(in super::super) const CTIME: u32 = 1 << 10;
    pub(in super::super) const KILL_SUIDGID: u32 = 1 << 11;
}

/// Reply to OPEN: keep the pages cached from earlier opens. The mount is the only writer.
pub(super) const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// Reply to OPENDIR: cache the listing.
pub(super) const FOPEN_CACHE_DIR: u32 = 1 << 3;
/// OPEN, CREATE: with `O_TRUNC`, clear set-user-ID and set-group-ID.
pub(super) const OPEN_KILL_SUIDGID: u32 = 1 << 0;
/// WRITE: from the write-back cache.
pub(super) const WRITE_CACHE: u32 = 1 << 0;
/// WRITE: clear set-user-ID and set-group-ID.
pub(super) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// FSYNC: content only.
pub(super) const FSYNC_FDATASYNC: u32 = 1 << 0;
/// SETXATTR of an access ACL: clear set-group-ID.
pub(super) const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;

/// Structs that the kernel sends, in its order of fields.
macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ident,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[allow(dead_code)] // padding, and fields of no use to us, keep their place
        pub(super) struct $name { $(pub(super) $field: $type,)* }

        impl $name {
            pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self { $($field: $type::from_ne_bytes(reader.array()?),)* })
            }
        }
    )* };
}

requests! {
    /// Begins every request.
    InHeader { len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32, total_extlen: u16, padding: u16, }
    ForgetIn { nlookup: u64, }
    ForgetOne { nodeid: u64, nlookup: u64, }
    BatchForgetIn { count: u32, dummy: u32, }
    SetattrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64, atime: i64, mtime: i64, ctime: i64, atimensec: u32,
        mtimensec: u32, ctimensec: u32, mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, }
    MkdirIn { mode: u32, umask: u32, }
    RenameIn { newdir: u64, }
    Rename2In { newdir: u64, flags: u32, padding: u32, }
    LinkIn { oldnodeid: u64, }
    OpenIn { flags: u32, open_flags: u32, }
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    ReadIn { fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
    WriteIn { fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
    FsyncIn { fh: u64, fsync_flags: u32, padding: u32, }
    /// With `FUSE_SETXATTR_EXT`.
    SetxattrIn { size: u32, flags: u32, setxattr_flags: u32, padding: u32, }
    /// Without.
    SetxattrCompatIn { size: u32, flags: u32, }
    GetxattrIn { size: u32, padding: u32, }
    IoctlIn { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32, }
    FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
    LseekIn { fh: u64, offset: u64, whence: u32, padding: u32, }
    CopyFileRangeIn { fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64, }
}
