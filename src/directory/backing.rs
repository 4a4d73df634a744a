//! Every system call that the directory layer makes on the backing store.
//!
//! All access is by directory handle and single name, never by path string: nothing that an attacker plants in the
//! backing store (a link out of it, a mount) is followed.
use super::record::{Op, Recorder};
use crate::fs::{Rename, SetTime, SetXattr, Time};
use parking_lot::Mutex;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    self, AtFlags, FallocateFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, SeekFrom,
    Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, XattrFlags,
};

use rustix::io::{self, Errno, Result};
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// An object on the backing store: by name in a directory, or by a descriptor.
#[derive(Clone, Copy)]
pub enum Object<'a> {
    /// An open file.
    Open(BorrowedFd<'a>),
    /// A descriptor that [`Backing::pin`] gave: it stays this object, whatever happens to its name.
    Pinned(BorrowedFd<'a>),
    /// A name in a directory ("." for the directory itself).
    At(BorrowedFd<'a>, &'a CStr),
}

/// The backing store.
#[derive(Clone, Default)]
pub struct Backing {
    recorder: Option<Arc<dyn Recorder>>,
}

const NOFOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;

impl Backing {
    /// Tells `recorder` of every change.
    pub fn recorded(recorder: Arc<dyn Recorder>) -> Self {
        Self {
            recorder: Some(recorder),
        }
    }

    fn note(&self, op: impl FnOnce() -> Result<Op>) {
        if let Some(recorder) = &self.recorder
            && let Ok(op) = op()
        {
            recorder.record(op);
        }
    }

    fn open(&self, dir: BorrowedFd<'_>, name: &CStr, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        retry(|| {
            fs::openat2(
                dir,
                name,
                flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                mode,
                resolve,
            )
        })
    }

    /// A descriptor (`O_PATH`) of whatever has this name now: it neither reads nor writes, and needs no right to do so.
    /// A change of attributes goes through one, after the caller compared it with what the name was before: who can
    /// rename in the backing directory can otherwise move another file under the name in between.
    pub fn pin(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
        self.open(dir, name, OFlags::PATH, Mode::empty())
    }

    /// A handle of a directory, for names in it.
    pub fn open_dir(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
        self.open(dir, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// A directory, for reading its entries and for fsync.
    pub fn read_dir(&self, dir: BorrowedFd<'_>) -> Result<OwnedFd> {
        self.open(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// A regular file. A file that its owner may not read or write is opened all the same where this process owns it: a
    /// partial write has to read, and permissions were checked above.
    pub fn open_file(&self, dir: BorrowedFd<'_>, name: &CStr, write: bool) -> Result<OwnedFd> {
        match self.open(dir, name, file_flags(write), Mode::empty()) {
            Err(Errno::ACCESS) => self.open_own_file(self.pin(dir, name)?.as_fd(), write),
            opened => opened,
        }
    }

    /// The same of a file that [`Backing::pin`] gave.
    pub fn open_pinned(&self, pinned: BorrowedFd<'_>, write: bool) -> Result<OwnedFd> {
        match reopen(pinned, write) {
            Err(Errno::ACCESS) => self.open_own_file(pinned, write),
            opened => opened,
        }
    }

    /// Opens a file whose mode does not let its owner, this process, do so, by changing the mode for a moment.
    fn open_own_file(&self, pinned: BorrowedFd<'_>, write: bool) -> Result<OwnedFd> {
        // Two threads at once would take each other's mode for the file's own.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock();
        let object = Object::Pinned(pinned);
        let mode = u32::from(stat(object)?.stx_mode) & 0o7777;
        self.set_mode(object, mode | 0o600)?;
        let opened = reopen(pinned, write);
        self.set_mode(object, mode)?;
        opened
    }

    /// A new regular file; fails if the name is taken.
    pub fn create(&self, dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<OwnedFd> {
        let file = self.open(
            dir,
            name,
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            Mode::from_raw_mode(mode & 0o7777),
        )?;
        self.note(|| {
            Ok(Op::Create {
                dir: ino(dir)?,
                name: name.to_bytes().into(),
                ino: ino(file.as_fd())?,
                mode,
            })
        });
        Ok(file)
    }

    /// A new file of cryptfs's own, mode 0600. Made by root for someone, it is theirs: they could not read it otherwise.
    pub fn create_own(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
        let file = self.create(dir, name, 0o600)?;
        self.give_to_owner(Object::Open(file.as_fd()), dir)?;
        Ok(file)
    }

    /// A new directory of cryptfs's own, mode 0700, likewise.
    pub fn mkdir_own(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        self.mkdir(dir, name, 0o700)?;
        let made = self.open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        self.give_to_owner(Object::Open(made.as_fd()), dir)
    }

    fn give_to_owner(&self, object: Object<'_>, dir: BorrowedFd<'_>) -> Result<()> {
        let owner = stat(Object::Open(dir))?;
        if !rustix::process::geteuid().is_root() || owner.stx_uid == 0 {
            return Ok(());
        }
        match self.set_owner(object, Some(owner.stx_uid), Some(owner.stx_gid)) {
            Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP) => Ok(()), // a file system without owners
            given => given,
        }
    }

    /// A new file without a name.
    pub fn tmpfile(&self, dir: BorrowedFd<'_>, mode: u32, linkable: bool) -> Result<OwnedFd> {
        let excl = if linkable {
            OFlags::empty()
        } else {
            OFlags::EXCL
        };
        let file = self.open(
            dir,
            c".",
            OFlags::RDWR | OFlags::TMPFILE | excl,
            Mode::from_raw_mode(mode & 0o7777),
        )?;
        self.note(|| {
            Ok(Op::Tmpfile {
                ino: ino(file.as_fd())?,
                mode,
            })
        });
        Ok(file)
    }

    /// Writes all of `data`.
    pub fn write(&self, file: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            match retry(|| io::pwrite(file, &data[done..], offset + done as u64))? {
                0 => return Err(Errno::IO),
                n => done += n,
            }
        }
        self.note(|| {
            Ok(Op::Write {
                ino: ino(file)?,
                offset,
                data: data.into(),
            })
        });
        Ok(())
    }

    /// Sets the backing length.
    pub fn truncate(&self, file: BorrowedFd<'_>, length: u64) -> Result<()> {
        retry(|| fs::ftruncate(file, length))?;
        self.note(|| {
            Ok(Op::Truncate {
                ino: ino(file)?,
                length,
            })
        });
        Ok(())
    }

    /// Reserves space without changing the length.
    pub fn reserve(&self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<()> {
        retry(|| fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, length))?;
        self.note(|| {
            Ok(Op::Reserve {
                ino: ino(file)?,
                offset,
                length,
            })
        });
        Ok(())
    }

    /// Frees whole pages, which read as zeros afterwards.
    pub fn punch(&self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<()> {
        retry(|| {
            fs::fallocate(
                file,
                FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE,
                offset,
                length,
            )
        })?;
        self.note(|| {
            Ok(Op::Punch {
                ino: ino(file)?,
                offset,
                length,
            })
        });
        Ok(())
    }

    /// Makes a file durable.
    pub fn sync(&self, file: BorrowedFd<'_>, data_only: bool) -> Result<()> {
        retry(|| {
            if data_only {
                fs::fdatasync(file)
            } else {
                fs::fsync(file)
            }
        })?;
        self.note(|| Ok(Op::Sync { ino: ino(file)? }));
        Ok(())
    }

    /// Makes a directory's entries durable.
    pub fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()> {
        let opened = self.read_dir(dir)?;
        retry(|| fs::fsync(&opened))?;
        self.note(|| Ok(Op::SyncDir { ino: ino(dir)? }));
        Ok(())
    }

    /// Makes everything durable that lies in the file system of an open directory. Fails if anything could not be written since
    /// the directory was opened, or since the last call with it.
    pub fn sync_all(&self, opened: BorrowedFd<'_>) -> Result<()> {
        retry(|| fs::syncfs(opened))?;
        self.note(|| Ok(Op::SyncAll));
        Ok(())
    }

    /// A new directory.
    pub fn mkdir(&self, dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
        fs::mkdirat(dir, name, Mode::from_raw_mode(mode & 0o7777))?;
        self.note(|| {
            Ok(Op::Mkdir {
                dir: ino(dir)?,
                name: name.to_bytes().into(),
                ino: ino_at(dir, name)?,
                mode,
            })
        });
        Ok(())
    }

    /// A new FIFO, socket, device or regular file.
    pub fn mknod(&self, dir: BorrowedFd<'_>, name: &CStr, mode: u32, rdev: u64) -> Result<()> {
        fs::mknodat(
            dir,
            name,
            FileType::from_raw_mode(mode),
            Mode::from_raw_mode(mode & 0o7777),
            rdev,
        )?;
        self.note(|| {
            Ok(Op::Mknod {
                dir: ino(dir)?,
                name: name.to_bytes().into(),
                ino: ino_at(dir, name)?,
                mode,
                rdev,
            })
        });
        Ok(())
    }

    /// A new symbolic link.
    pub fn symlink(&self, target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        fs::symlinkat(target, dir, name)?;
        self.note(|| {
            Ok(Op::Symlink {
                dir: ino(dir)?,
                name: name.to_bytes().into(),
                ino: ino_at(dir, name)?,
                target: target.to_bytes().into(),
            })
        });
        Ok(())
    }

    /// A further name for a file.
    pub fn link(&self, from: Object<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        match from {
            Object::At(old_dir, old_name) => {
                fs::linkat(old_dir, old_name, dir, name, AtFlags::empty())?
            }
            Object::Open(file) | Object::Pinned(file) => {
                fs::linkat(fs::CWD, proc_path(file), dir, name, AtFlags::SYMLINK_FOLLOW)?
            }
        }
        self.note(|| {
            Ok(Op::Link {
                ino: ino_at(dir, name)?,
                dir: ino(dir)?,
                name: name.to_bytes().into(),
            })
        });
        Ok(())
    }

    /// Removes a name that is not a directory's.
    pub fn unlink(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        fs::unlinkat(dir, name, AtFlags::empty())?;
        self.note(|| {
            Ok(Op::Unlink {
                dir: ino(dir)?,
                name: name.to_bytes().into(),
            })
        });
        Ok(())
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        self.note(|| {
            Ok(Op::Rmdir {
                dir: ino(dir)?,
                name: name.to_bytes().into(),
            })
        });
        Ok(())
    }

    /// Renames to a name that must be free. A store whose renameat2(2) knows no flags (bindfs, encfs, sshfs, NFS)
    /// cannot do that in one step; there the name is looked at first, and the caller's lock keeps this process from
    /// making it in between.
    pub fn rename_new(
        &self,
        from: (BorrowedFd<'_>, &CStr),
        to: (BorrowedFd<'_>, &CStr),
    ) -> Result<()> {
        match self.rename(from, to, Rename::NoReplace) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return renamed,
        }
        match stat(Object::At(to.0, to.1)) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => self.rename(from, to, Rename::Replace),
            Err(errno) => Err(errno),
        }
    }

    /// Renames atomically.
    pub fn rename(
        &self,
        from: (BorrowedFd<'_>, &CStr),
        to: (BorrowedFd<'_>, &CStr),
        how: Rename,
    ) -> Result<()> {
        let flags = match how {
            Rename::Replace => RenameFlags::empty(),
            Rename::NoReplace => RenameFlags::NOREPLACE,
            Rename::Exchange => RenameFlags::EXCHANGE,
            Rename::Whiteout => RenameFlags::WHITEOUT,
        };
        fs::renameat_with(from.0, from.1, to.0, to.1, flags)?;
        self.note(|| {
            Ok(Op::Rename {
                from: (ino(from.0)?, from.1.to_bytes().into()),
                to: (ino(to.0)?, to.1.to_bytes().into()),
                how,
            })
        });
        Ok(())
    }

    /// Sets permission bits. Never follows a link.
    pub fn set_mode(&self, object: Object<'_>, mode: u32) -> Result<()> {
        let bits = Mode::from_raw_mode(mode & 0o7777);
        match object {
            Object::Open(file) => fs::fchmod(file, bits)?,
            Object::Pinned(file) => fs::chmodat(fs::CWD, proc_path(file), bits, AtFlags::empty())?,
            Object::At(dir, name) => {
                let pinned = self.pin(dir, name)?;
                let path = proc_path(pinned.as_fd());
                fs::chmodat(fs::CWD, path, bits, AtFlags::empty())?;
            }
        }
        self.note(|| {
            Ok(Op::SetMode {
                ino: stat(object)?.stx_ino,
                mode,
            })
        });
        Ok(())
    }

    /// Sets owner and group.
    pub fn set_owner(&self, object: Object<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (owner, group) = (uid.map(fs::Uid::from_raw), gid.map(fs::Gid::from_raw));
        match object {
            Object::Open(file) => fs::fchown(file, owner, group)?,
            Object::Pinned(file) => fs::chownat(file, c"", owner, group, AtFlags::EMPTY_PATH)?,
            Object::At(dir, name) => fs::chownat(dir, name, owner, group, NOFOLLOW)?,
        }
        self.note(|| {
            Ok(Op::SetOwner {
                ino: stat(object)?.stx_ino,
                uid,
                gid,
            })
        });
        Ok(())
    }

    /// Sets time stamps.
    pub fn set_times(
        &self,
        object: Object<'_>,
        atime: Option<SetTime>,
        mtime: Option<SetTime>,
    ) -> Result<()> {
        let times = Timestamps {
            last_access: timespec(atime),
            last_modification: timespec(mtime),
        };
        match object {
            Object::Open(file) => fs::futimens(file, &times)?,
            Object::Pinned(file) => {
                fs::utimensat(fs::CWD, proc_path(file), &times, AtFlags::empty())?
            }
            Object::At(dir, name) => fs::utimensat(dir, name, &times, NOFOLLOW)?,
        }
        self.note(|| {
            let stat = stat(object)?;
            let mtime = mtime.map(|_| time(stat.stx_mtime));
            Ok(Op::SetTimes {
                ino: stat.stx_ino,
                mtime,
            })
        });
        Ok(())
    }

    /// Sets an extended attribute.
    pub fn set_xattr(
        &self,
        object: Object<'_>,
        name: &CStr,
        value: &[u8],
        how: SetXattr,
    ) -> Result<()> {
        let flags = match how {
            SetXattr::Either => XattrFlags::empty(),
            SetXattr::Create => XattrFlags::CREATE,
            SetXattr::Replace => XattrFlags::REPLACE,
        };
        match object {
            Object::Open(file) => fs::fsetxattr(file, name, value, flags)?,
            Object::Pinned(file) => fs::setxattr(proc_path(file), name, value, flags)?,
            Object::At(dir, file) => fs::lsetxattr(path_at(dir, file), name, value, flags)?,
        }
        self.note(|| {
            Ok(Op::SetXattr {
                ino: stat(object)?.stx_ino,
                name: name.to_bytes().into(),
                value: value.into(),
            })
        });
        Ok(())
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, object: Object<'_>, name: &CStr) -> Result<()> {
        match object {
            Object::Open(file) => fs::fremovexattr(file, name)?,
            Object::Pinned(file) => fs::removexattr(proc_path(file), name)?,
            Object::At(dir, file) => fs::lremovexattr(path_at(dir, file), name)?,
        }
        self.note(|| {
            Ok(Op::RemoveXattr {
                ino: stat(object)?.stx_ino,
                name: name.to_bytes().into(),
            })
        });
        Ok(())
    }
}

/// Attributes of an object; never follows a link. A store that is itself a FUSE or network file system answers from
/// its server and not from a cache of the kernel: bindfs and encfs cache the attributes of each name of a file by
/// itself, so that after a write through one name the other name has the old length for a second.
pub fn stat(object: Object<'_>) -> Result<Statx> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let fresh = AtFlags::STATX_FORCE_SYNC;
    match object {
        Object::Open(file) | Object::Pinned(file) => {
            fs::statx(file, c"", AtFlags::EMPTY_PATH | fresh, mask)
        }
        Object::At(dir, name) => fs::statx(dir, name, NOFOLLOW | fresh, mask),
    }
}

/// A time stamp of an object.
pub fn time(stamp: StatxTimestamp) -> Time {
    Time {
        sec: stamp.tv_sec,
        nsec: stamp.tv_nsec,
    }
}

/// When an inode was made, where its file system tells.
pub fn born(stat: &Statx) -> Option<Time> {
    (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(stat.stx_btime))
}

/// Reads at `offset` until `buf` is full or the file ends; returns the bytes read.
pub fn read(file: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match retry(|| io::pread(file, &mut buf[done..], offset + done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// The data of an open file at or after the page at `from`, in whole pages of `page` bytes up to page `end`.
///
/// A store whose answers do not move forward cannot tell where data lies (seen on a cluster file system after a heal), nor
/// can one that does not know the question: there all that is left counts as data. So each answer is at or after `from`, not
/// empty, and a caller that goes on from its end comes to an end itself.
pub fn next_data(
    file: BorrowedFd<'_>,
    from: u64,
    end: u64,
    page: u64,
) -> Result<Option<Range<u64>>> {
    let at = from.saturating_mul(page);
    let bounds = retry(|| fs::seek(file, SeekFrom::Data(at))).and_then(|data| {
        let hole = retry(|| fs::seek(file, SeekFrom::Hole(data)))?;
        Ok((data >= at && hole > data).then_some((data, hole)))
    });
    let (start, stop) = match bounds {
        _ if from >= end => return Ok(None),
        Err(Errno::NXIO) => return Ok(None),
        Ok(Some((data, hole))) => (data / page, hole.div_ceil(page).min(end)),
        Ok(None) | Err(Errno::INVAL | Errno::OPNOTSUPP) => (from, end),
        Err(errno) => return Err(errno),
    };
    Ok((start < stop).then_some(start..stop))
}

/// All data of an open file, in whole pages up to page `end`: a file may be a hole for terabytes.
pub fn data(file: BorrowedFd<'_>, end: u64, page: u64) -> Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut from = 0;
    while let Some(range) = next_data(file, from, end, page)? {
        from = range.end;
        ranges.push(range);
    }
    Ok(ranges)
}

/// The target of a symbolic link, as stored.
pub fn read_link(dir: BorrowedFd<'_>, name: &CStr) -> Result<CString> {
    fs::readlinkat(dir, name, Vec::new())
}

/// An extended attribute's value, as stored.
pub fn get_xattr(object: Object<'_>, name: &CStr) -> Result<Vec<u8>> {
    sized(|buf: &mut [u8]| match object {
        Object::Open(file) => fs::fgetxattr(file, name, buf),
        Object::Pinned(file) => fs::getxattr(proc_path(file), name, buf),
        Object::At(dir, file) => fs::lgetxattr(path_at(dir, file), name, buf),
    })
}

/// Names of extended attributes, as stored. A store that keeps none has none.
pub fn list_xattrs(object: Object<'_>) -> Result<Vec<CString>> {
    let list = sized(|buf: &mut [u8]| match object {
        Object::Open(file) => fs::flistxattr(file, buf),
        Object::Pinned(file) => fs::listxattr(proc_path(file), buf),
        Object::At(dir, file) => fs::llistxattr(path_at(dir, file), buf),
    });
    let list = match list {
        Err(Errno::NOTSUP | Errno::NOSYS) => Vec::new(),
        list => list?,
    };
    Ok(list
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect())
}

/// Calls with a buffer that fits most answers, and with one for the largest when it does not.
fn sized(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 1024];
    match call(&mut small) {
        Ok(n) => Ok(small[..n].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 128 << 10]; // XATTR_SIZE_MAX and XATTR_LIST_MAX are 64 KiB
            let n = call(&mut large)?;
            large.truncate(n);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}

fn file_flags(write: bool) -> OFlags {
    OFlags::NONBLOCK | if write { OFlags::RDWR } else { OFlags::RDONLY }
}

/// Opens what an `O_PATH` descriptor stands for.
fn reopen(pinned: BorrowedFd<'_>, write: bool) -> Result<OwnedFd> {
    let path = proc_path(pinned);
    let flags = file_flags(write) | OFlags::CLOEXEC;
    retry(|| fs::open(&path, flags, Mode::empty()))
}

fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn timespec(time: Option<SetTime>) -> Timespec {
    const UTIME_NOW: i64 = (1 << 30) - 1;
    const UTIME_OMIT: i64 = (1 << 30) - 2;
    match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(SetTime::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(SetTime::At(time)) => Timespec {
            tv_sec: time.sec,
            tv_nsec: i64::from(time.nsec),
        },
    }
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// There are no `*at` calls for extended attributes before Linux 6.13.
fn path_at(dir: BorrowedFd<'_>, name: &CStr) -> std::path::PathBuf {
    std::path::Path::new(&proc_path(dir)).join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

fn ino(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(stat(Object::Open(fd))?.stx_ino)
}

fn ino_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<u64> {
    Ok(stat(Object::At(dir, name))?.stx_ino)
}
