//! Small files that survive a power cut, relative to directory descriptors and never through a symbolic link.
use super::owner;
use crate::crypto::random;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Opens a directory; the last component may be a symbolic link only where `follow` says so.
pub(crate) fn open_dir(
    at: impl AsFd,
    path: impl AsRef<Path>,
    follow: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    fs::openat(at, path.as_ref(), flags, Mode::empty())
}

/// Opens a regular file for reading. A FIFO or device in its place is refused and does not block.
pub(crate) fn open_file(dir: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(file)
}

/// Opens a regular file for being overwritten in place.
pub(crate) fn open_to_overwrite(dir: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

/// A whole file of at most `limit` bytes; a longer one is cut after `limit + 1`, so that its length shows.
pub(crate) fn read(dir: impl AsFd, name: &str, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(dir, name)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where [`replace`] puts a file: first beside `temporary`'s directory, then under its name.
pub(crate) struct Target<'a> {
    /// Directory of the temporary file, on the same file system.
    pub(crate) staging: BorrowedFd<'a>,
    /// Directory of the file.
    pub(crate) dir: BorrowedFd<'a>,
    /// Its name.
    pub(crate) name: &'a str,
}

impl<'a> Target<'a> {
    pub(crate) fn inside(dir: BorrowedFd<'a>, name: &'a str) -> Self {
        Self {
            staging: dir,
            dir,
            name,
        }
    }
}

/// Writes a file of mode 0600 so that a power cut leaves the old content or the new one, and both directories durable. It
/// keeps the owner of what it replaces.
pub(crate) fn replace(target: &Target<'_>, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("tmp.{:016x}", u64::from_le_bytes(random::bytes()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(fs::openat(target.staging, &temporary, flags, mode)?);
    let written = (|| {
        owner::give(&file, owner::of_file(target.dir, target.name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::renameat(target.staging, &temporary, target.dir, target.name)?;
        sync_dir(target.dir)
    })();
    if written.is_err() {
        let _ = fs::unlinkat(target.staging, &temporary, AtFlags::empty());
    }
    written
}

/// Makes a directory's entries durable. Some file systems cannot sync a directory, and say so.
pub(crate) fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    match fs::fsync(dir) {
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(dir: impl AsFd, name: &str) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
