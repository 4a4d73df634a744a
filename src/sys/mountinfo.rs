//! The mounts that this process sees: `/proc/self/mountinfo`.
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One mount (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `st_dev` of its files.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: PathBuf,
    /// Options of this mount, separated by commas.
    pub options: OsString,
    /// File system type, with subtype: `fuse.cryptfs`.
    pub kind: OsString,
    /// What is mounted.
    pub source: OsString,
    /// Options of the file system.
    pub super_options: OsString,
}

impl Mount {
    /// Whether `name` is among the options of the mount or of its file system.
    pub fn has_option(&self, name: &str) -> bool {
        let mut lists = [&self.options, &self.super_options].into_iter();
        lists.any(|list| {
            list.as_bytes()
                .split(|&b| b == b',')
                .any(|o| o == name.as_bytes())
        })
    }

    /// The value of an option of the file system, as `user_id`.
    pub fn super_option(&self, name: &str) -> Option<&OsStr> {
        let mut options = self.super_options.as_bytes().split(|&b| b == b',');
        let value = options.find_map(|o| o.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(OsStr::from_bytes(value))
    }
}

/// The table, open: it can be read again, and poll(2) reports PRI when it changed. A process that may open no more files
/// can go on with it.
#[derive(Debug)]
pub struct Table(File);

impl Table {
    /// Opens the table of this process's mount namespace.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/self/mountinfo").map(Self)
    }

    /// What is mounted now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<Mount>> {
        let mut table = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut table)?;
        Ok(table.split(|&b| b == b'\n').filter_map(parse).collect())
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All mounts, in the order in which they were made.
///
/// # Errors
/// `/proc` is not there.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Table::open()?.read()
}

/// The mount that is seen at `point` (a path without symbolic links), if one begins there.
///
/// # Errors
/// `/proc` is not there.
pub fn mount_at(point: &Path) -> io::Result<Option<Mount>> {
    Ok(mounts()?.into_iter().rfind(|mount| mount.point == point))
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    let options = unescape(fields.next()?);
    fields.find(|&field| field == b"-")?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: point.into(),
        options,
        kind: unescape(fields.next()?),
        source: unescape(fields.next()?),
        super_options: unescape(fields.next()?),
    })
}

/// Space, tab, newline and backslash are written as `\ooo`.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        (rest, _) = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => (
                tail,
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')),
            ),
            _ => (tail, bytes.push(*first)),
        };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_manual() {
        let line = br"36 35 98:0 /mnt1 /mnt/a\040b rw,noatime master:1 - fuse.cryptfs /x\134y rw,user_id=7";
        let mount = parse(line).unwrap();
        assert_eq!(mount.device, (98, 0));
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert_eq!(mount.source, OsStr::new(r"/x\y"));
        assert_eq!(mount.super_option("user_id"), Some(OsStr::new("7")));
        assert!(mount.has_option("noatime") && !mount.has_option("no"));
        assert_eq!(parse(b"36 35 98:0 / /mnt rw"), None);
        assert_eq!(parse(b""), None);
    }
}
