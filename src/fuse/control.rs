//! What a command asks of the daemon that serves a mount: by an ioctl(2) on the mount's root, so that it is the kernel who
//! says who asks. Only who mounted it, and root, is heard.
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys;

/// Bytes of the argument: a name, then NULs.
const NAME: usize = 256;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// [`crate::fs::FileSystem::create_snapshot`].
    CreateSnapshot,
    /// [`crate::fs::FileSystem::delete_snapshot`].
    DeleteSnapshot,
}

impl Request {
    /// `_IOW('C', n, char[256])`.
    const fn number(self) -> u32 {
        let n = match self {
            Self::CreateSnapshot => 1,
            Self::DeleteSnapshot => 2,
        };
        1 << 30 | (NAME as u32) << 16 | (b'C' as u32) << 8 | n
    }

    /// The request of this number.
    pub(super) fn of(number: u32) -> Option<Self> {
        let known = [Self::CreateSnapshot, Self::DeleteSnapshot];
        known.into_iter().find(|known| known.number() == number)
    }
}

/// Asks the daemon of the mount at `point`.
///
/// # Errors
/// What it answers, EPERM among it; ENOTTY if it does not know the request; EINVAL for a name that is too long.
pub fn ask(point: &Path, request: Request, name: &OsStr) -> io::Result<()> {
    let mut argument = [0; NAME];
    match argument[..NAME - 1].get_mut(..name.len()) {
        Some(place) => place.copy_from_slice(name.as_bytes()),
        None => return Err(Errno::INVAL.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(point, flags, Mode::empty())?;
    sys::fuse::ask(dir.as_fd(), request.number(), &argument)
}
