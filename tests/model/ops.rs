//! Operations on a tiny name space, so that random ones meet: the same name is made, opened, renamed over and removed
//! again and again.
use super::rng::Rng;
use cryptfs::fs::{Allocate, Rename, SetXattr, Time, Whence};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;

/// Open files that a case can hold at a time.
pub const SLOTS: usize = 3;
/// One of the open files.
pub type Slot = usize;

/// The names, by the letter that reports print: short, long (side files of directory volumes), longest, not UTF-8, and
/// one byte too long.
const NAMES: [(char, &[u8], usize); 7] = [
    ('a', b"a", 1),
    ('b', b"b", 1),
    ('c', b"c", 1),
    ('L', b"L", 200),
    ('M', b"m", 255),
    ('N', b"\xff\xfe\n ", 1),
    ('X', b"x", 256),
];

/// A place: up to three names below the root.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct At(Vec<u8>);

impl At {
    /// The place of a path made of our names ("" or "/a/b").
    pub fn known(path: &[u8]) -> Option<Self> {
        let parts = path.split(|byte| *byte == b'/').skip(1);
        let index = |part: &[u8]| {
            let found = NAMES
                .iter()
                .position(|(_, bytes, times)| bytes.repeat(*times) == part);
            Some(found? as u8)
        };
        parts.map(index).collect::<Option<_>>().map(Self)
    }

    /// The place of a random name below this one.
    pub fn below(&self, rng: &mut Rng) -> Self {
        let name = match rng.below(60) {
            0 => 6,
            n if n < 40 => rng.pick(&[0, 0, 1, 1, 2, 3]),
            n => n as u8 % 6,
        };
        Self([&self.0[..], &[name]].concat())
    }

    /// Whether this place lies in what is at another.
    pub fn is_below(&self, other: &Self) -> bool {
        self != other && self.0.starts_with(&other.0)
    }

    /// How many names below the root.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The names, from the root.
    pub fn names(&self) -> Vec<OsString> {
        let name = |index: &u8| {
            let (_, bytes, times) = NAMES[usize::from(*index)];
            OsString::from_vec(bytes.repeat(times))
        };
        self.0.iter().map(name).collect()
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        let name = |index: &u8| format!("/{}", NAMES[usize::from(*index)].0);
        f.write_str(&self.0.iter().map(name).collect::<String>())
    }
}

/// Names of bytes as reports print them.
pub fn shown(path: &[u8]) -> String {
    let name = |part: &[u8]| {
        let known = NAMES
            .iter()
            .find(|(_, bytes, times)| bytes.repeat(*times) == part);
        known.map_or_else(
            || part.escape_ascii().to_string(),
            |(letter, ..)| letter.to_string(),
        )
    };
    path.split(|byte| *byte == b'/')
        .map(name)
        .collect::<Vec<_>>()
        .join("/")
}

/// Who makes something: an index into [`Profile::callers`].
pub type Who = usize;

/// One operation. Data is a seed ([`Rng::bytes`]).
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Op {
    Mkdir(At, u32, Who),
    Mknod(At, u32, u32, Who),
    Symlink(At, usize, Who),
    Link(At, At),
    LinkSlot(Slot, At),
    Unlink(At),
    Rmdir(At),
    Rename(At, At, Rename),
    Create(Slot, At, u32, Who),
    Tmpfile(Slot, At, u32, Who),
    Open {
        slot: Slot,
        at: At,
        write: bool,
        truncate: bool,
    },
    Close(Slot),
    Write {
        slot: Slot,
        offset: u64,
        length: usize,
        seed: u64,
        kill: bool,
    },
    Append {
        slot: Slot,
        length: usize,
        seed: u64,
    },
    Read {
        slot: Slot,
        offset: u64,
        length: usize,
    },
    Allocate {
        slot: Slot,
        how: Allocate,
        offset: u64,
        length: u64,
    },
    Seek(Slot, u64, Whence),
    Copy {
        from: Slot,
        at: u64,
        to: Slot,
        target: u64,
        length: u64,
    },
    Fsync(Slot, bool),
    TruncateSlot(Slot, u64),
    Truncate(At, u64),
    Chmod(At, u32),
    Chown(At, Option<u32>, Option<u32>),
    Utimens(At, Option<Time>, Option<Time>),
    SetXattr {
        at: At,
        name: usize,
        length: usize,
        seed: u64,
        how: SetXattr,
    },
    GetXattr(At, usize),
    RemoveXattr(At, usize),
    Stat(At),
    Readlink(At),
    List(At),
    Sync,
    Forget,
    Remount,
}

/// Targets of symbolic links, by index.
pub fn target(index: usize) -> OsString {
    OsString::from_vec(match index {
        0 => b"a".to_vec(),
        1 => b"../b/c".to_vec(),
        2 => b"/\xff\xfe".to_vec(),
        3 => b"long/".repeat(60),
        _ => b"t/".repeat(2000),
    })
}

/// Names of extended attributes, by index.
pub fn xattr(index: usize) -> OsString {
    match index {
        0 => "user.a".into(),
        1 => "user.cafe\u{301}".into(),
        _ => format!("user.{}", "x".repeat(90)).into(),
    }
}

/// What may be asked of the subject.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Owners may be changed, devices made.
    pub root: bool,
    /// Owner and group that creation asks for, as (uid, gid); the first is who runs the test.
    pub callers: Vec<(u32, u32)>,
    /// The mask for the modes of what is created.
    pub umask: u32,
    /// Writes may ask to clear set-user-ID.
    pub kill: bool,
    /// Once in so many operations the subject is closed and opened again; 0: never.
    pub remount: u64,
}

impl Profile {
    /// For the trait: everything that this process may do.
    pub fn direct() -> Self {
        let mounted = Self::mounted();
        let mut callers = mounted.callers.clone();
        if mounted.root {
            callers.extend([(1000, 1000), (1001, 7)]);
        }
        Self {
            callers,
            kill: true,
            remount: 60,
            ..mounted
        }
    }

    /// For system calls: the caller is always this process.
    pub fn mounted() -> Self {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
        Self {
            root: uid == 0,
            callers: vec![(uid, gid)],
            umask: umask.expect("a mask in /proc/self/status"),
            kill: false,
            remount: 150,
        }
    }
}
