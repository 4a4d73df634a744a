//! The destination of a salvage: made anew, or gone on with.
//!
//! A rescue is often run by root, and the destination may be where someone else can rename and replace what lies in it. So
//! nothing is done twice by name: owner, attributes, mode and times are set through the descriptor of what was written.
mod made;

pub(crate) use made::{Made, Withhold, is_left_out, left_out};

use super::climb::Identity;
use super::error::{Error, Result};
use super::journal::{self, Journal};
use crate::fs::{Attr, Kind};
use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, StatxFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
    if let Err(error) = must_be_own(dir.as_fd(), path) {
        if made.is_ok() {
            let _ = std::fs::remove_dir(path); // on a disk whose files are all someone's
        }
        return Err(error);
    }
    let mut entries = Dir::read_from(&dir).map_err(Error::sys(path))?;
    let other = |name: &[u8]| name != b"." && name != b"..";
    let is_empty = !entries.any(|e| e.is_ok_and(|e| other(e.file_name().to_bytes())));
    // Only a journal shows that what lies there is an earlier salvage, and not anything else.
    if !(is_empty || resume && journal::is_in(dir.as_fd())) {
        return Err(match resume {
            true => Error::NoJournal(path.to_owned()),
            false => Error::NotEmpty(path.to_owned()),
        });
    }
    take(dir.as_fd()).map_err(Error::sys(path))?;
    Ok(dir)
}

/// What root copies out belongs to many people, and is set free only at the end. Whoever owns the destination, or may write
/// to it, could exchange names in it until then.
fn must_be_own(dir: BorrowedFd<'_>, path: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let stat = fs::fstat(dir).map_err(Error::sys(path))?;
    let owner = stat.st_uid;
    if owner != 0 || stat.st_mode & 0o022 != 0 {
        return Err(Error::Shared {
            path: path.to_owned(),
            owner,
            mode: stat.st_mode & 0o7777,
        });
    }
    Ok(())
}

/// Closes a directory to everyone else for as long as the salvage works in it; the real owner and mode come last. One of an
/// earlier salvage may belong to someone already: root takes it back.
fn take(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let stat = fs::fstat(dir)?;
    let me = geteuid();
    let root = me.is_root() && stat.st_uid != 0;
    let taken = match root {
        true => fs::fchown(dir, Some(Uid::ROOT), Some(Gid::ROOT)),
        false => Ok(()),
    };
    match taken.and_then(|()| fs::fchmod(dir, Mode::RWXU)) {
        // A file system without modes, such as vfat, shows what it was mounted with.
        Err(Errno::PERM) if stat.st_uid == me.as_raw() && stat.st_mode & 0o022 == 0 => Ok(()),
        done => done,
    }
}

/// The destination, and what is known of an earlier salvage into it.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) top: BorrowedFd<'a>,
    pub(crate) earlier: Earlier,
    pub(crate) journal: &'a Journal,
    pub(crate) withhold: Withhold,
}

impl Target<'_> {
    /// Whether an earlier salvage finished an entry, and left nothing out that this one restores.
    pub(crate) fn is_done(&self, place: &Place<'_>, path: &Path, attr: &Attr) -> bool {
        let again = self.withhold == Withhold::Nothing && self.journal.left_out(path);
        !again && place.is_done(attr)
    }
}

/// Whether what lies under a name already is of an earlier salvage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Earlier {
    /// It was made by this one: on a file system that does not tell `A` from `a` two names are one, and the first file must
    /// not be lost for the second.
    No,
    /// It may be replaced, unless it is this: the journal.
    Yes(Identity),
}

/// One name in the destination. Nothing is followed: what a link points at is never written to.
pub(crate) struct Place<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
    pub(crate) earlier: Earlier,
}

impl Place<'_> {
    /// True if an earlier salvage finished this one: times are set last.
    pub(crate) fn is_done(&self, attr: &Attr) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if matches!(self.earlier, Earlier::No) {
            return false;
        }
        let Ok(there) = fs::statx(self.dir, self.name, flags, StatxFlags::BASIC_STATS) else {
            return false;
        };
        let mtime = (there.stx_mtime.tv_sec, there.stx_mtime.tv_nsec);
        Kind::from_mode(there.stx_mode.into()) == Some(attr.kind)
            && (attr.kind != Kind::File || there.stx_size == attr.size)
            && mtime == (attr.mtime.sec, attr.mtime.nsec)
    }

    /// A new file, open for writing; what an earlier salvage left half-made is removed.
    pub(crate) fn file(&self) -> rustix::io::Result<Made> {
        self.remove()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(self.dir, self.name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Made::open(file))
    }

    pub(crate) fn directory(&self) -> rustix::io::Result<OwnedFd> {
        match fs::mkdirat(self.dir, self.name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::openat(self.dir, self.name, flags, Mode::empty())?;
        take(dir.as_fd())?;
        Ok(dir)
    }

    pub(crate) fn symlink(&self, target: &[u8]) -> rustix::io::Result<Made> {
        self.remove()?;
        fs::symlinkat(OsStr::from_bytes(target), self.dir, self.name)?;
        Made::at(self.dir, self.name, Kind::Symlink)
    }

    pub(crate) fn special(&self, attr: &Attr) -> rustix::io::Result<Made> {
        self.remove()?;
        let kind = FileType::from_raw_mode(attr.kind.mode_bits());
        let mode = Mode::RUSR | Mode::WUSR;
        fs::mknodat(self.dir, self.name, kind, mode, attr.rdev)?;
        Made::at(self.dir, self.name, attr.kind)
    }

    /// Another name of the file `name` in `dir`, which this salvage has made or found finished.
    pub(crate) fn link(&self, dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
        self.remove()?;
        fs::linkat(dir, name, self.dir, self.name, AtFlags::empty())
    }

    fn remove(&self) -> rustix::io::Result<()> {
        let Earlier::Yes(journal) = self.earlier else {
            return Ok(());
        };
        match fs::statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == journal => return Err(Errno::EXIST),
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        match fs::unlinkat(self.dir, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
