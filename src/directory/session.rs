//! The session record, `.cryptfs/session`: whether the last mount ended cleanly (man/cryptfs.5, "SESSIONS").
//!
//! It lies on the volume and not in the keystore, because a volume may be mounted by several computers in turn: a file
//! cut by a crash on one of them must not look like a file cut by an attacker on the other.
//!
//! ```text
//!  0  magic         8  "CFSSESS\x01"
//!  8  session       8  number of the last session that was opened for writing
//! 16  unclean upto  8  the newest session that did not end cleanly
//! 24  clean         1  1: the last session ended cleanly
//! 25  exact         1  1: recorded lengths are exact, but in files that a crash may have changed
//! 26  zero          6
//! 32  HMAC-SHA-256 of bytes 0..32 under the "session" subkey of the VMK
//! ```
//!
//! The record is written in place, so that a full backing store does not keep a volume from being mounted and emptied. Its
//! 64 bytes lie in one sector of the disk. A record that is torn all the same is not authentic, which counts as a crash.
use super::backing::{Backing, Object, read, stat};
use crate::crypto::digest;
use crate::crypto::secret::Secret;
use crate::fs::{Error, Rename, Result};
use crate::sys::log;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::ffi::CStr;
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"CFSSESS\x01";
const NAME: &CStr = c"session";
const NEW_NAME: &CStr = c"session.new";
const SIZE: usize = 64;

/// This session, and what is known of the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// This session's number; grows with every mount for writing.
    pub current: u64,
    /// The newest session that did not end cleanly; 0: none.
    pub unclean_upto: u64,
    /// The session just before this one did not end cleanly.
    pub after_crash: bool,
    /// Every length that a file's header records in a later session than `unclean_upto` is exact. Not so where a repair by
    /// an earlier version of cryptfs ended the doubt about a crash without recording the lengths that the crash left.
    pub exact: bool,
}

#[derive(Clone, Copy)]
struct Record {
    session: u64,
    unclean_upto: u64,
    clean: bool,
    exact: bool,
}

impl Session {
    /// Reads the record in `dir` (the volume's `.cryptfs`). A missing or foreign record counts as a crash. `now`: seconds
    /// since 1970, so that numbers grow even where the record was lost.
    pub fn read(dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<Self> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        Ok(match Record::read(dir, backing, key)? {
            Some(last) => Self {
                current: now.max(last.session + 1),
                unclean_upto: if last.clean {
                    last.unclean_upto
                } else {
                    last.session
                },
                after_crash: !last.clean,
                exact: last.exact,
            },
            None => Self {
                current: now,
                unclean_upto: now.saturating_sub(1),
                after_crash: true,
                exact: false,
            },
        })
    }

    /// Whether the record in `dir` was written under this key.
    pub fn is_of(dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> bool {
        matches!(Record::read(dir, backing, key), Ok(Some(_)))
    }

    /// Of a new volume, in which no session has left anything; durable.
    pub fn none(dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<()> {
        Record {
            session: 0,
            unclean_upto: 0,
            clean: true,
            exact: true,
        }
        .write(dir, backing, key)
    }

    /// Marks this session as begun; durable. Where there is no space even to write the record in place (a copy-on-write
    /// backing store), the record is removed: a volume without one counts as crashed, so nothing is ever called damaged for
    /// the want of it, and the owner can mount the volume and remove files.
    pub fn begin(&self, dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<()> {
        let record = Record {
            session: self.current,
            unclean_upto: self.unclean_upto,
            clean: false,
            exact: self.exact,
        };
        match record.write(dir, backing, key) {
            Err(error) if is_full(&error) => {
                remove(dir, backing, NAME)?;
                Ok(backing.sync_dir(dir)?)
            }
            written => written,
        }
    }

    /// Marks this session as ended cleanly; durable. Everything else must be durable already. `repaired`: whatever earlier
    /// sessions left was found and put right. Where there is no space for the record, the session counts as one that
    /// crashed: its data are as durable as ever.
    pub fn end(
        &self,
        dir: BorrowedFd<'_>,
        backing: &Backing,
        key: &Secret<32>,
        repaired: bool,
    ) -> Result<()> {
        let record = Record {
            session: self.current,
            unclean_upto: if repaired { 0 } else { self.unclean_upto },
            clean: true,
            exact: self.exact || repaired,
        };
        match record.write(dir, backing, key) {
            Err(error) if is_full(&error) => {
                log::error(format_args!(
                    "no space to record that this session ended cleanly: {error}"
                ));
                Ok(())
            }
            written => written,
        }
    }
}

/// True where the backing store had no room for a change.
fn is_full(error: &Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT]
        .map(Errno::raw_os_error)
        .contains(&error.errno())
}

/// Removes a file that need not exist.
fn remove(dir: BorrowedFd<'_>, backing: &Backing, name: &CStr) -> Result<()> {
    match backing.unlink(dir, name) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

impl Record {
    fn read(dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<Option<Self>> {
        let file = match backing.open_file(dir, NAME, false) {
            Err(Errno::NOENT) => return Ok(None),
            file => file?,
        };
        let mut bytes = [0; SIZE];
        if read(file.as_fd(), &mut bytes, 0)? != SIZE {
            return Ok(None);
        }
        let (body, mac) = bytes.split_at(32);
        if &body[..8] != MAGIC || !digest::equal(&digest::hmac_sha256(key, &[body]), mac) {
            return Ok(None);
        }
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| body[at + i]));
        Ok(Some(Self {
            session: u64_at(8).min(u64::MAX - 1),
            unclean_upto: u64_at(16),
            clean: body[24] == 1,
            exact: body[25] == 1,
        }))
    }

    fn write(&self, dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<()> {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.session.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.unclean_upto.to_le_bytes());
        bytes[24] = u8::from(self.clean);
        bytes[25] = u8::from(self.exact);
        let mac = digest::hmac_sha256(key, &[&bytes[..32]]);
        bytes[32..].copy_from_slice(&mac);
        match backing.open_file(dir, NAME, true) {
            Err(Errno::NOENT) => create(dir, backing, &bytes),
            file => {
                let file = file?;
                backing.write(file.as_fd(), &bytes, 0)?;
                if stat(Object::Open(file.as_fd()))?.stx_size != SIZE as u64 {
                    backing.truncate(file.as_fd(), SIZE as u64)?;
                }
                Ok(backing.sync(file.as_fd(), false)?)
            }
        }
    }
}

/// Makes the first record of a volume, or of one that lost it.
fn create(dir: BorrowedFd<'_>, backing: &Backing, bytes: &[u8; SIZE]) -> Result<()> {
    remove(dir, backing, NEW_NAME)?;
    let file = backing.create_own(dir, NEW_NAME)?;
    let written = backing
        .write(file.as_fd(), bytes, 0)
        .and_then(|()| backing.sync(file.as_fd(), false));
    if let Err(errno) = written {
        remove(dir, backing, NEW_NAME)?;
        return Err(errno.into());
    }
    backing.rename((dir, NEW_NAME), (dir, NAME), Rename::Replace)?;
    Ok(backing.sync_dir(dir)?)
}
