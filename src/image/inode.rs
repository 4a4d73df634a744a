//! Inodes: what the fields of [`InodeRecord`] mean.
//!
//! mode: type and permission bits, as `st_mode`. rdev: as `makedev`. size: bytes; of a directory 0. pages: data pages.
//! flags: below. parent, next: of a directory, the one it lies in, and the next free place in its listing (places 1 and 2
//! are those of "." and ".."). Times: last access (relatime), change of content, change of attributes, creation.
use crate::codec::{InodeRecord, Stamp};
use crate::fs::{Attr, Damage, Error, Kind, Result, SetTime, Time};
use rustix::time::{ClockId, clock_gettime};

/// The content lies in items of its own, not in pages.
pub const INLINE: u32 = 1;
/// It has extended attributes.
pub const XATTRS: u32 = 2;
/// It has an access ACL with more in it than the mode says.
pub const ACCESS_ACL: u32 = 4;
/// It has a default ACL.
pub const DEFAULT_ACL: u32 = 8;
/// It has file capabilities (`security.capability`), which a change of content takes away.
pub const CAPABILITY: u32 = 16;

/// Positions below it are those of "." and "..".
pub const FIRST_POSITION: u64 = 3;

/// The present, by the clock that the kernel takes for a file's first write and for every change of attributes. By a finer one
/// a file would go back in time with its first write, and what is made after a directory was touched would be older than that.
pub fn now() -> Stamp {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A time to set.
pub fn stamp(time: SetTime, now: Stamp) -> Stamp {
    match time {
        SetTime::Now => now,
        SetTime::At(time) => (time.sec, time.nsec),
    }
}

fn time((sec, nsec): Stamp) -> Time {
    Time { sec, nsec }
}

impl InodeRecord {
    /// A new inode.
    pub fn new(mode: u32, (uid, gid): (u32, u32), now: Stamp) -> Self {
        Self {
            mode,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            size: 0,
            pages: 0,
            flags: INLINE,
            parent: 0,
            next: FIRST_POSITION,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Result<Kind> {
        Kind::from_mode(self.mode).ok_or(Damage::Malformed.into())
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        Kind::from_mode(self.mode) == Some(Kind::Directory)
    }

    /// That it is a directory.
    pub fn dir(self) -> Result<Self> {
        if self.is_dir() {
            Ok(self)
        } else {
            Err(Error::NotDirectory)
        }
    }

    /// That it is a regular file.
    pub fn file(self) -> Result<Self> {
        match self.kind()? {
            Kind::File => Ok(self),
            Kind::Directory => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    /// True if it has this flag.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Sets or clears a flag.
    pub fn set(&mut self, flag: u32, value: bool) {
        self.flags = self.flags & !flag | if value { flag } else { 0 };
    }

    /// Attributes, as programs see them.
    pub fn attr(&self, ino: u64) -> Result<Attr> {
        let kind = self.kind()?;
        let (size, blocks) = match kind {
            Kind::Directory => (4096, 8),
            Kind::File if self.has(INLINE) => (self.size, self.size.div_ceil(512)),
            Kind::File => (self.size, self.pages.saturating_mul(8)),
            _ => (self.size, 0),
        };
        Ok(Attr {
            ino,
            kind,
            mode: self.mode & 0o7777,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size,
            blocks,
            blksize: 4096,
            atime: time(self.atime),
            mtime: time(self.mtime),
            ctime: time(self.ctime),
            btime: Some(time(self.btime)),
        })
    }

    /// Content was written up to `end`, on so many more pages.
    pub fn extend(&mut self, pages: i64, end: u64) {
        self.pages = self.pages.saturating_add_signed(pages);
        self.size = self.size.max(end);
    }

    /// Content was changed.
    pub fn modified(&mut self, now: Stamp) {
        self.mtime = now;
        self.ctime = now;
    }

    /// Whether reading now moves the time of access: `relatime`, as Linux mounts by default.
    pub fn wants_access(&self, now: Stamp) -> bool {
        self.atime <= self.mtime
            || self.atime <= self.ctime
            || now.0 >= self.atime.0.saturating_add(86_400)
    }

    /// Replaces the permission bits.
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = self.mode & !0o7777 | mode & 0o7777;
    }

    /// Clears set-user-ID, and set-group-ID where the group may execute.
    pub fn kill_privileges(&mut self) {
        if self.is_dir() {
            return;
        }
        self.mode &= !0o4000;
        if self.mode & 0o2010 == 0o2010 {
            self.mode &= !0o2000;
        }
    }
}
