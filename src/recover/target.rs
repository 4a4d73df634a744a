//! The destination of a salvage: made anew, or gone on with.
use super::error::{Error, Result};
use crate::fs::{Attr, Kind, Time};
use rustix::fs::{
    self, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, StatxFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Opens the destination. `resume`: it may hold an earlier salvage.
pub(crate) fn open(path: &Path, volume: &Path, resume: bool) -> Result<OwnedFd> {
    let inside = |inner: &Path, outer: &Path| {
        let real = |p: &Path| std::fs::canonicalize(p).ok();
        matches!((real(inner), real(outer)), (Some(i), Some(o)) if i.starts_with(&o))
    };
    let made = fs::mkdir(path, Mode::RWXU);
    if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
        made.map_err(Error::sys(path))?;
    }
    if inside(path, volume) {
        if made.is_ok() {
            let _ = std::fs::remove_dir(path);
        }
        return Err(Error::Inside(path.to_owned()));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::sys(path))?;
    let mut entries = Dir::read_from(&dir).map_err(Error::sys(path))?;
    let other = |name: &[u8]| name != b"." && name != b"..";
    if !resume && entries.any(|e| e.is_ok_and(|e| other(e.file_name().to_bytes()))) {
        return Err(Error::NotEmpty(path.to_owned()));
    }
    Ok(dir)
}

/// One name in the destination. Nothing is followed: what a link points at is never written to.
pub(crate) struct Place<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
}

impl Place<'_> {
    /// True if an earlier salvage finished this one: times are set last.
    pub(crate) fn is_done(&self, attr: &Attr) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let Ok(there) = fs::statx(self.dir, self.name, flags, StatxFlags::BASIC_STATS) else {
            return false;
        };
        let mtime = (there.stx_mtime.tv_sec, there.stx_mtime.tv_nsec);
        Kind::from_mode(there.stx_mode.into()) == Some(attr.kind)
            && (attr.kind != Kind::File || there.stx_size == attr.size)
            && mtime == (attr.mtime.sec, attr.mtime.nsec)
    }

    /// A new file; what an earlier salvage left half-made is removed.
    pub(crate) fn file(&self) -> rustix::io::Result<File> {
        self.remove()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(self.dir, self.name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    pub(crate) fn directory(&self) -> rustix::io::Result<OwnedFd> {
        match fs::mkdirat(self.dir, self.name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::openat(self.dir, self.name, flags, Mode::empty())?;
        fs::fchmod(&dir, Mode::RWXU)?; // until all is in it; the real mode comes last
        Ok(dir)
    }

    pub(crate) fn symlink(&self, target: &[u8]) -> rustix::io::Result<()> {
        self.remove()?;
        fs::symlinkat(OsStr::from_bytes(target), self.dir, self.name)
    }

    pub(crate) fn special(&self, attr: &Attr) -> rustix::io::Result<()> {
        self.remove()?;
        let kind = FileType::from_raw_mode(attr.kind.mode_bits());
        fs::mknodat(
            self.dir,
            self.name,
            kind,
            Mode::RUSR | Mode::WUSR,
            attr.rdev,
        )
    }

    pub(crate) fn link(&self, to: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
        self.remove()?;
        fs::linkat(to, path, self.dir, self.name, AtFlags::empty())
    }

    /// Owner, then attributes, then mode (which a change of owner cuts). Says what could not be set.
    pub(crate) fn dress(&self, attr: &Attr, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        let mut lost = Vec::new();
        let mut note = |what: &str, done: rustix::io::Result<()>| {
            if let Err(errno) = done {
                lost.push(format!("{what}: {}", std::io::Error::from(errno)));
            }
        };
        let link = attr.kind == Kind::Symlink;
        let owner = (Some(Uid::from_raw(attr.uid)), Some(Gid::from_raw(attr.gid)));
        let changed = fs::chownat(
            self.dir,
            self.name,
            owner.0,
            owner.1,
            AtFlags::SYMLINK_NOFOLLOW,
        );
        // Only root gives files away; everyone else's copies are their own.
        if changed != Err(Errno::PERM) {
            note("owner", changed);
        }
        // There is no setxattrat(2) that could be relied on: the directory's descriptor stands for its path.
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd())).join(self.name);
        for (name, value) in xattrs {
            let set = fs::lsetxattr(&path, OsStr::from_bytes(name), value, XattrFlags::empty());
            note(&format!("attribute {}", String::from_utf8_lossy(name)), set);
        }
        if !link {
            let mode = Mode::from_raw_mode(attr.mode);
            note(
                "mode",
                fs::chmodat(self.dir, self.name, mode, AtFlags::empty()),
            );
        }
        lost
    }

    /// Sets the times, by which [`Place::is_done`] knows later that it is finished.
    pub(crate) fn date(&self, attr: &Attr) -> Vec<String> {
        let times = Timestamps {
            last_access: timespec(attr.atime),
            last_modification: timespec(attr.mtime),
        };
        let set = fs::utimensat(self.dir, self.name, &times, AtFlags::SYMLINK_NOFOLLOW);
        let lost = set
            .err()
            .map(|errno| format!("times: {}", std::io::Error::from(errno)));
        lost.into_iter().collect()
    }

    fn remove(&self) -> rustix::io::Result<()> {
        match fs::unlinkat(self.dir, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

fn timespec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    }
}
