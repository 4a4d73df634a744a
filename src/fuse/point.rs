//! Mount points that are fit to mount on.
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::io::Errno;

use super::mountpoint::{detach_if_dead, is_ours, resolve};
use super::{Error, MountOptions};
use crate::sys::mountinfo::mount_at;

/// A directory that was examined. It is held open, and mounted on by this descriptor: what its path leads to may be
/// another directory by then, where others can rename on the way to it.
#[derive(Debug)]
pub struct Point {
    path: PathBuf,
    dir: OwnedFd,
}

impl Point {
    /// A mount point that `volume` may be mounted on. A dead mount found there is removed first.
    ///
    /// # Errors
    /// It is missing, no directory, not empty, in use by a volume, or in the volume itself.
    pub fn check(point: &Path, volume: &Path, options: &MountOptions) -> Result<Self, Error> {
        let point = match resolve(point) {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(point.to_owned()));
            }
            Err(error) => return Err(Error::Path(point.to_owned(), error)),
        };
        detach_if_dead(&point)?;
        let point = Self::open(&point)?;
        point.must_be_free()?;
        if let Ok(volume) = volume.canonicalize()
            && (point.path.starts_with(&volume) || volume.starts_with(&point.path))
        {
            return Err(Error::Nested(point.path));
        }
        if !options.nonempty && !point.is_empty()? {
            return Err(Error::NotEmpty(point.path));
        }
        Ok(point)
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => Error::NotDirectory(path.to_owned()),
            Errno::NOENT => Error::Missing(path.to_owned()),
            errno => Error::Path(path.to_owned(), errno.into()),
        })?;
        // The path of what was opened, whatever happened on the way.
        let link = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        let path = link.map_err(|error| Error::Path(path.to_owned(), error))?;
        Ok(Self { path, dir })
    }

    fn must_be_free(&self) -> Result<(), Error> {
        let there = mount_at(&self.path).map_err(|e| Error::Path(self.path.clone(), e))?;
        match there.filter(is_ours) {
            Some(mount) => Err(Error::AlreadyMounted {
                point: self.path.clone(),
                source_name: mount.source,
            }),
            None => Ok(()),
        }
    }

    fn is_empty(&self) -> Result<bool, Error> {
        let failed = |errno: Errno| Error::Path(self.path.clone(), errno.into());
        for entry in Dir::read_from(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether its path still leads to where it is.
    pub(super) fn is_where_it_was(&self) -> bool {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        link.is_ok_and(|path| path == self.path)
    }

    /// Closes the directory, which would count as a user of the mount, and keeps the path.
    pub fn into_path(self) -> PathBuf {
        self.path
    }

    /// Its path: absolute and without symbolic links. For messages, and to find the mount in the table of mounts.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Point {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
