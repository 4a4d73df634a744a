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
//! 25  zero          7
//! 32  HMAC-SHA-256 of bytes 0..32 under the "session" subkey of the VMK
//! ```
use super::backing::{Backing, read};
use crate::crypto::digest;
use crate::crypto::secret::Secret;
use crate::fs::{Rename, Result};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"CFSSESS\x01";
const NAME: &std::ffi::CStr = c"session";
const NEW_NAME: &std::ffi::CStr = c"session.new";
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
}

#[derive(Clone, Copy)]
struct Record {
    session: u64,
    unclean_upto: u64,
    clean: bool,
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
            },
            None => Self {
                current: now,
                unclean_upto: now.saturating_sub(1),
                after_crash: true,
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
        }
        .write(dir, backing, key)
    }

    /// Marks this session as begun; durable.
    pub fn begin(&self, dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<()> {
        Record {
            session: self.current,
            unclean_upto: self.unclean_upto,
            clean: false,
        }
        .write(dir, backing, key)
    }

    /// Marks this session as ended cleanly; durable. Everything else must be durable already. `repaired`: whatever earlier
    /// sessions left was found and put right.
    pub fn end(
        &self,
        dir: BorrowedFd<'_>,
        backing: &Backing,
        key: &Secret<32>,
        repaired: bool,
    ) -> Result<()> {
        Record {
            session: self.current,
            unclean_upto: if repaired { 0 } else { self.unclean_upto },
            clean: true,
        }
        .write(dir, backing, key)
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
        }))
    }

    fn write(&self, dir: BorrowedFd<'_>, backing: &Backing, key: &Secret<32>) -> Result<()> {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.session.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.unclean_upto.to_le_bytes());
        bytes[24] = u8::from(self.clean);
        let mac = digest::hmac_sha256(key, &[&bytes[..32]]);
        bytes[32..].copy_from_slice(&mac);
        match backing.unlink(dir, NEW_NAME) {
            Err(Errno::NOENT) => {}
            done => done?,
        }
        let file = backing.create_own(dir, NEW_NAME)?;
        backing.write(file.as_fd(), &bytes, 0)?;
        backing.sync(file.as_fd(), false)?;
        backing.rename((dir, NEW_NAME), (dir, NAME), Rename::Replace)?;
        backing.sync_dir(dir)?;
        Ok(())
    }
}
