//! From a request of the kernel to a call of the [`FileSystem`] and back: unpack, call, pack. Nothing is decided here.
mod attr;
mod control;
mod file;
mod listing;
#[cfg(test)]
mod tests;
mod tree;
mod xattr;

use super::abi::{self, InHeader};
use super::wire::{Malformed, Reader, Reply};
use super::worker::Shared;
use crate::fs::{Caller, Error, FileSystem};

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file system says so.
    Fs(Error),
    /// The request is cut off, or the answer larger than the kernel asked for.
    Malformed,
    /// Nobody here does that; the kernel remembers it and often does it itself.
    Unknown,
}

impl Failure {
    /// The errno to reply with.
    pub(super) fn errno(&self) -> i32 {
        use rustix::io::Errno as E;
        match self {
            // The kernel takes 1 to 511 and would leave the request pending for any other.
            Self::Fs(error) => match error.errno() {
                // ext4 and xfs say EBADMSG and EUCLEAN where metadata of theirs is damaged. A backing store that is
                // itself served over a connection says the other two when it is gone; from a FUSE mount they mean that
                // its daemon is, and whoever hears them unmounts it. To a program all of these are I/O errors.
                errno
                    if [E::BADMSG, E::UCLEAN, E::NOTCONN, E::CONNABORTED]
                        .map(E::raw_os_error)
                        .contains(&errno) =>
                {
                    E::IO.raw_os_error()
                }
                errno @ 1..512 => errno,
                _ => E::IO.raw_os_error(),
            },
            Self::Malformed => E::IO.raw_os_error(),
            Self::Unknown => E::NOSYS.raw_os_error(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fs(error)
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// An operation's end: the payload is in the reply, or there is a reason why not.
type Answer = Result<(), Failure>;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The reply is to be sent, with the payload or with the failure's errno.
    Reply(Answer),
    /// The kernel expects no reply.
    Silent,
}

/// One request while it is served.
pub(super) struct Call<'a> {
    /// Who serves it.
    pub(super) fs: &'a dyn FileSystem,
    /// The session.
    pub(super) shared: &'a Shared<'a>,
    /// Its beginning.
    pub(super) header: &'a InHeader,
    /// What follows the header.
    pub(super) body: Reader<'a>,
    /// Where the answer goes; empty.
    pub(super) reply: &'a mut Reply,
}

/// `FUSE_ROOT_ID`.
const _: () = assert!(crate::fs::ROOT == 1);

impl Call<'_> {
    /// Serves it.
    ///
    /// `Unknown` makes the kernel stop asking: for an ACCESS, which `default_permissions` makes needless, for locks and
    /// poll, which it keeps itself, for an OPEN and a RELEASE at each open(2) and close(2), for a FLUSH at each close,
    /// before which it has written all pages and told the errors of that, and for what is newer than we are.
    pub(super) fn serve(&mut self) -> Outcome {
        Outcome::Reply(match self.header.opcode {
            abi::FORGET | abi::BATCH_FORGET => {
                self.forget();
                return Outcome::Silent;
            }
            abi::INTERRUPT | abi::NOTIFY_REPLY => return Outcome::Silent,
            // Of what was made before the first OPEN had its answer.
            abi::RELEASE => Ok(()),
            abi::DESTROY => Ok(()),

            abi::LOOKUP => self.lookup(),
            abi::GETATTR => self.getattr(),
            abi::STATX => self.statx(),
            abi::SETATTR => self.setattr(),
            abi::READLINK => self.readlink(),
            abi::STATFS => self.statfs(),
            abi::SYNCFS => self.fs.sync().map_err(Failure::from),

            abi::MKNOD => self.mknod(),
            abi::MKDIR => self.mkdir(),
            abi::SYMLINK => self.symlink(),
            abi::LINK => self.link(),
            abi::UNLINK => self.unlink(),
            abi::RMDIR => self.rmdir(),
            abi::RENAME => self.rename(false),
            abi::RENAME2 => self.rename(true),
            abi::CREATE => self.create(),
            abi::TMPFILE => self.tmpfile(),

            abi::READ => self.read(),
            abi::WRITE => self.write(),
            abi::FSYNC => self.fsync(),
            abi::FALLOCATE => self.fallocate(),
            abi::LSEEK => self.lseek(),
            abi::COPY_FILE_RANGE => self.copy_file_range(false),
            abi::COPY_FILE_RANGE_64 => self.copy_file_range(true),

            abi::OPENDIR => self.opendir(),
            abi::READDIR => self.readdir(),
            abi::READDIRPLUS => self.readdirplus(),
            abi::RELEASEDIR => self.releasedir(),
            abi::FSYNCDIR => self.fsyncdir(),

            abi::GETXATTR => self.getxattr(),
            abi::SETXATTR => self.setxattr(),
            abi::LISTXATTR => self.listxattr(),
            abi::REMOVEXATTR => self.removexattr(),

            abi::IOCTL => self.ioctl(),

            abi::INIT | abi::OPEN | abi::FLUSH | abi::ACCESS | abi::BMAP | abi::POLL => {
                Err(Failure::Unknown)
            }
            _ => Err(Failure::Unknown),
        })
    }

    fn node(&self) -> u64 {
        self.header.nodeid
    }

    fn caller(&self, umask: u32) -> Caller {
        Caller {
            uid: self.header.uid,
            gid: self.header.gid,
            umask,
        }
    }
}
