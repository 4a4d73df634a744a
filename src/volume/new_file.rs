//! A file or directory that does not exist yet, made in a directory that stays open: whatever becomes of the path meanwhile,
//! this is where it was made, and where it is taken back.
use super::{durable, owner};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A name in a directory.
pub(crate) struct NewFile {
    dir: OwnedFd,
    name: OsString,
}

impl NewFile {
    /// The last name of a path, and the directory that the rest of it leads to.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or(Errno::EXIST)?.to_owned();
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let dir = durable::open_dir(fs::CWD, dir, true)?;
        Ok(Self { dir, name })
    }

    /// The directory.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Makes a file of mode 0600, open for reading and writing.
    pub(crate) fn file(&self) -> Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        fs::openat(&self.dir, &self.name, flags, mode).map(File::from)
    }

    /// Makes a directory of mode 0700. Something else in its place by now is not taken for it.
    pub(crate) fn directory(&self) -> Result<OwnedFd> {
        fs::mkdirat(&self.dir, &self.name, Mode::RWXU)?;
        let made = durable::open_dir(&self.dir, &self.name, false)?;
        let owner = fs::fstat(&made)?.st_uid;
        match owner == rustix::process::geteuid().as_raw() {
            true => Ok(made),
            false => Err(Errno::STALE),
        }
    }

    /// Removes what was made, if it still has its name.
    pub(crate) fn take_back(&self, made: impl AsFd) {
        let there = fs::statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let (Ok(there), Ok(made)) = (there, fs::fstat(made)) else {
            return;
        };
        if (there.st_dev, there.st_ino) == (made.st_dev, made.st_ino) {
            let flags = match fs::FileType::from_raw_mode(made.st_mode) {
                fs::FileType::Directory => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            let _ = fs::unlinkat(&self.dir, &self.name, flags);
        }
    }
}

/// Writes a file beside a volume that does not exist yet, durable, mode 0600. It is given to the directory's owner where the
/// volume, which belongs to `owner`, is that person's too.
pub fn write_beside(path: &Path, bytes: &[u8], owner: Option<u32>) -> std::io::Result<File> {
    use std::io::Write;
    let new = NewFile::at(path)?;
    let mut file = new.file()?;
    let written = owner::give_beside(&file, new.dir(), owner)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| durable::sync_dir(new.dir()));
    match written {
        Ok(()) => Ok(file),
        Err(error) => {
            new.take_back(&file);
            Err(error)
        }
    }
}
