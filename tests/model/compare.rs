//! Whether what the subject shows is what the oracle shows.
//!
//! The oracle's clock runs in a century of its own ([`TICKS`]), so that a time stamp says where it comes from: one that
//! was set must be equal on both sides; one that an operation moved must be the subject's present, and must stay as it
//! is until the oracle's moves again.
use super::ops::{Op, shown};
use super::subject::{Answer, Item, Outcome, Snapshot};
use cryptfs::fs::{Attr, Kind, Time, Whence};
use rustix::io::Errno;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the oracle's clock begins: a time that nothing else gives.
pub const TICKS: i64 = 1 << 33;

/// What a subject is allowed.
#[derive(Clone, Debug)]
pub struct Rules {
    /// A directory has a link for each directory in it (not so on btrfs).
    pub directory_links: bool,
    /// Directories can be exchanged; else `EINVAL`.
    pub exchange_directories: bool,
    /// A file's time of change stays when nothing changes; else it may go forward by itself (when a release records the
    /// length, when a kernel's write-back cache flushes).
    pub ctime: bool,
    /// Times are kept to the nanosecond.
    pub nanoseconds: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            directory_links: true,
            exchange_directories: true,
            ctime: true,
            nanoseconds: true,
        }
    }
}

/// What is remembered of a node between two looks.
#[derive(Clone, Copy)]
struct Memory {
    ino: u64,
    mtime: (Time, Time),
    ctime: (Time, Time),
}

/// The comparison, with what it has seen so far.
pub struct Compare {
    rules: Rules,
    start: i64,
    nodes: HashMap<u64, Memory>,
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs() as i64
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, want: T, got: T) -> Result<(), String> {
    if want == got {
        return Ok(());
    }
    Err(format!("{what}: wanted {want:?}, got {got:?}"))
}

impl Compare {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            start: now() - 1, // the kernel stamps with a clock that is a few milliseconds behind
            nodes: HashMap::new(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    fn time(&self, what: &str, want: Time, got: Time) -> Result<(), String> {
        if want.sec < TICKS {
            let nsec = if self.rules.nanoseconds {
                got.nsec
            } else {
                want.nsec
            };
            return same(what, want, Time { nsec, ..got });
        }
        if (self.start..=now() + 1).contains(&got.sec) {
            return Ok(());
        }
        Err(format!("{what}: wanted the present, got {got:?}"))
    }

    fn attr(&self, want: &Attr, got: &Attr) -> Result<(), String> {
        same("kind", want.kind, got.kind)?;
        same(
            "mode",
            format!("{:o}", want.mode),
            format!("{:o}", got.mode),
        )?;
        same("owner", (want.uid, want.gid), (got.uid, got.gid))?;
        same("rdev", want.rdev, got.rdev)?;
        if want.kind != Kind::Directory {
            same("size", want.size, got.size)?;
        }
        if want.kind != Kind::Directory || self.rules.directory_links {
            same("nlink", want.nlink, got.nlink)?;
        }
        self.time("mtime", want.mtime, got.mtime)?;
        self.time("ctime", want.ctime, got.ctime)
    }

    /// Compares two answers to one operation.
    pub fn outcome(&self, op: &Op, want: &Outcome, got: &Outcome) -> Result<(), String> {
        if matches!(op, Op::Seek(..)) && !errno_is(want, Errno::BADF) {
            return Ok(()); // `found` is the judge
        }
        match (want, got) {
            (Err(want), Err(got)) => {
                let name = |raw: i32| Errno::from_raw_os_error(raw);
                same("errno", name(*want), name(*got))
            }
            (Ok(Answer::Attr(want)), Ok(Answer::Attr(got))) => {
                self.attr(want, got)?;
                if matches!(op, Op::Utimens(_, Some(_), _)) {
                    self.time("atime", want.atime, got.atime)?;
                }
                Ok(())
            }
            (Ok(Answer::Bytes(want)), Ok(Answer::Bytes(got))) => bytes(want, got),
            (Ok(want), Ok(got)) => same("answer", want, got),
            (want, got) => {
                let shown = |outcome: &Outcome| match outcome {
                    Ok(_) => "success".to_owned(),
                    Err(raw) => Errno::from_raw_os_error(*raw).to_string(),
                };
                same("answer", shown(want), shown(got))
            }
        }
    }

    /// Compares two looks at everything.
    pub fn snapshots(&mut self, want: &Snapshot, got: &Snapshot) -> Result<(), String> {
        let missing = want.keys().find(|path| !got.contains_key(*path));
        let extra = got.keys().find(|path| !want.contains_key(*path));
        if let Some(path) = missing.or(extra) {
            let what = if missing.is_some() {
                "missing"
            } else {
                "should not be there"
            };
            return Err(format!("{} {what}", shown(path)));
        }
        let mut owners: HashMap<u64, u64> = HashMap::new();
        for (path, want) in want {
            let got = &got[path];
            self.item(want, got)
                .map_err(|what| format!("{} {what}", shown(path)))?;
            let owner = *owners.entry(got.attr.ino).or_insert(want.attr.ino);
            if owner != want.attr.ino {
                return Err(format!(
                    "{} shares inode {} with another file",
                    shown(path),
                    got.attr.ino
                ));
            }
        }
        Ok(())
    }

    fn item(&mut self, want: &Item, got: &Item) -> Result<(), String> {
        self.attr(&want.attr, &got.attr)?;
        self.remember(&want.attr, &got.attr)?;
        same(
            "xattr names",
            want.xattrs.keys().collect::<Vec<_>>(),
            got.xattrs.keys().collect(),
        )?;
        for (name, value) in &want.xattrs {
            bytes(value, &got.xattrs[name])?;
        }
        same("link target", &want.target, &got.target)?;
        let (Some(want), Some(got)) = (&want.data, &got.data) else {
            return same("data", want.data.is_some(), got.data.is_some());
        };
        let blocks = want.keys().chain(got.keys());
        let Some(at) = blocks.filter(|at| want.get(*at) != got.get(*at)).min() else {
            return Ok(());
        };
        let none = Vec::new();
        let (want, got) = (want.get(at).unwrap_or(&none), got.get(at).unwrap_or(&none));
        bytes(want, got)
            .map_err(|what| format!("block at {at}: {what} (zeros at the end left out)"))
    }

    /// One oracle inode is one inode of the subject for life, and its times move together with the oracle's.
    fn remember(&mut self, want: &Attr, got: &Attr) -> Result<(), String> {
        let new = Memory {
            ino: got.ino,
            mtime: (want.mtime, got.mtime),
            ctime: (want.ctime, got.ctime),
        };
        let Some(old) = self.nodes.insert(want.ino, new) else {
            return Ok(());
        };
        same("inode number", old.ino, got.ino)?;
        if old.mtime.0 == want.mtime {
            same("mtime, which nothing moved", old.mtime.1, got.mtime)?;
        }
        if old.ctime.0 != want.ctime {
            return Ok(());
        }
        if got.kind == Kind::File && !self.rules.ctime && old.ctime.1 <= got.ctime {
            return Ok(());
        }
        same("ctime, which nothing moved", old.ctime.1, got.ctime)
    }
}

/// Compares bytes; says where they differ instead of printing them all.
fn bytes(want: &[u8], got: &[u8]) -> Result<(), String> {
    same("length", want.len(), got.len())?;
    let Some(at) = want.iter().zip(got).position(|(want, got)| want != got) else {
        return Ok(());
    };
    let around = |bytes: &[u8]| {
        bytes[at..]
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    let differing = want
        .iter()
        .zip(got)
        .filter(|(want, got)| want != got)
        .count();
    Err(format!(
        "{differing} of {} bytes differ, first at {at}: wanted {}, got {}",
        want.len(),
        around(want),
        around(got)
    ))
}

/// Whether a seek's answer is true of a file that has these non-zero blocks and this size. A hole may be found late or
/// not at all, and data may be zeros; but no byte other than zero may lie in what is passed over as a hole.
pub fn found(item: &Item, offset: u64, whence: Whence, got: &Outcome) -> Result<(), String> {
    let size = item.attr.size;
    let data = item.data.as_ref().expect("an open file");
    let solid = |at: u64, end: u64| {
        data.iter().find_map(|(start, block)| {
            let inside = |(index, byte): (usize, &u8)| {
                let place = start + index as u64;
                (*byte != 0 && place >= at && place < end).then_some(place)
            };
            block.iter().enumerate().find_map(inside)
        })
    };
    let beyond = errno_is(got, Errno::NXIO);
    match (whence, got) {
        _ if offset >= size => same("seek past the end is refused", true, beyond),
        (Whence::Data, Err(_)) if beyond => same("data after the last", None, solid(offset, size)),
        (Whence::Data, Ok(Answer::Count(at))) if (offset..size).contains(at) => {
            same("data passed over", None, solid(offset, *at))
        }
        (Whence::Hole, Ok(Answer::Count(at))) if *at == size => Ok(()),
        (Whence::Hole, Ok(Answer::Count(at))) if (offset..size).contains(at) => {
            same("data in the hole", None, solid(*at, at + 1))
        }
        (_, got) => Err(format!("seek from {offset} in {size} bytes gave {got:?}")),
    }
}

fn errno_is(outcome: &Outcome, errno: Errno) -> bool {
    *outcome == Err(errno.raw_os_error())
}
