//! The audit log: who saw or changed a secret, one JSON object a line, each with the SHA-256 of the line before it. A line
//! written while its volume was unlocked also carries a MAC under a subkey of the VMK: it cannot be made up, or made to say
//! something else, by someone who can write the file and cannot open the volume.
//!
//! Holds no secret and no file name. Written and synced before a secret is shown; if that fails, nothing is shown.
mod disclosed;
mod verify;

pub use verify::Verified;

use super::error::{Error, Result};
use super::keys::Uuid;
use super::keystore::{Keystore, xdg};
use super::{date, durable, owner, uuid};
use crate::codec::{self, Json, json};
use crate::crypto::digest;
use crate::crypto::secret::Secret;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{geteuid, getuid};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest line that is looked for at the end of the log.
const TAIL: u64 = 1 << 16;

/// What happened.
pub struct Event<'a> {
    /// A word of the command line: "init", "recovery-keys", "recover".
    pub action: &'a str,
    /// The volume.
    pub volume: &'a Uuid,
    /// The recovery password's or other protector's id.
    pub protector: Option<&'a Uuid>,
    /// "disclosed", "ok", "wrong password" ...
    pub result: &'a str,
}

/// An audit log.
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log that belongs to a keystore: in it if it was put elsewhere, else the system's or the user's.
    pub fn of(keystore: &Keystore) -> Self {
        let dir = if keystore.is_custom() {
            keystore.path().to_owned()
        } else if geteuid().is_root() {
            PathBuf::from("/var/log/cryptfs")
        } else {
            xdg("XDG_STATE_HOME", ".local/state").unwrap_or_else(|| keystore.path().to_owned())
        };
        Self {
            path: dir.join("audit.log"),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line and makes it durable.
    pub fn append(&self, event: &Event<'_>) -> Result<()> {
        self.try_append(event, None).map_err(|source| Error::Audit {
            path: self.path.clone(),
            source,
        })
    }

    /// As [`AuditLog::append`], and the line is authenticated under the key of the volume, which is unlocked.
    pub fn append_sealed(&self, key: &Secret<32>, event: &Event<'_>) -> Result<()> {
        self.try_append(event, Some(key))
            .map_err(|source| Error::Audit {
                path: self.path.clone(),
                source,
            })
    }

    /// Fails where [`AuditLog::append`] would, before anything is done that could not be logged.
    pub fn probe(&self) -> Result<()> {
        self.open().map(drop).map_err(|source| Error::Audit {
            path: self.path.clone(),
            source,
        })
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)?;
        }
        let common = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = |flags| fs::open(&self.path, common | flags, mode).map(File::from);
        let made = open(OFlags::CREATE | OFlags::EXCL);
        let file = match made {
            Ok(made) => {
                owner::give(&made, self.owner())?;
                made
            }
            Err(Errno::EXIST) => open(OFlags::NONBLOCK)?,
            Err(errno) => return Err(errno.into()),
        };
        // Root writes where others may, and does not add lines to a file that has another name elsewhere.
        let there = file.metadata()?;
        match there.is_file() && there.nlink() == 1 {
            true => Ok(file),
            false => Err(io::Error::other("is not a plain file with one name")),
        }
    }

    /// Who owns a new log: the owner of its directory.
    fn owner(&self) -> Option<owner::Owner> {
        let dir = durable::open_dir(fs::CWD, self.path.parent()?, true).ok()?;
        owner::of_dir(dir)
    }

    fn try_append(&self, event: &Event<'_>, key: Option<&Secret<32>>) -> io::Result<()> {
        let mut file = self.open()?;
        fs::flock(&file, FlockOperation::LockExclusive)?;
        let (last, whole) = last_line(&mut file)?;
        let mut text = String::new();
        if !whole {
            text.push('\n'); // a power cut left half a line: it counts as one
        }
        let mut line = record(event, &last);
        if let Some(key) = key {
            line["mac"] = mac(key, &line).into();
        }
        text.push_str(&codec::json_line(&line));
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

fn record(event: &Event<'_>, last: &[u8]) -> Json {
    json!({
        "time": date::rfc3339(date::now()),
        "computer": computer(),
        "uid": getuid().as_raw(),
        "sudo_user": std::env::var("SUDO_USER").ok(),
        "volume": uuid::text(event.volume),
        "protector": event.protector.map(uuid::text),
        "action": event.action,
        "result": event.result,
        "previous": chain(last),
    })
}

/// This computer's name.
pub fn computer() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    if super::layout::is_plain(&name) {
        name
    } else {
        "unknown".to_owned()
    }
}

fn chain(line: &[u8]) -> String {
    if line.is_empty() {
        return "0".repeat(64);
    }
    hex(&digest::sha256(&[line]))
}

/// Over the line without its MAC, as it is written: fields in the order of their names.
fn mac(key: &Secret<32>, line: &Json) -> String {
    hex(&digest::hmac_sha256(
        key,
        &[codec::json_line(line).as_bytes()],
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last line, without its end, and whether it has one.
fn last_line(file: &mut File) -> io::Result<(Vec<u8>, bool)> {
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    file.read_to_end(&mut tail)?;
    let whole = tail.last().is_none_or(|&b| b == b'\n');
    let mut lines = tail.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    Ok((lines.next_back().unwrap_or_default().to_vec(), whole))
}
