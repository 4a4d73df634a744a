//! Whether two trees are the same: every name, every attribute that a program can see, every byte.
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Panics with the first differences.
pub fn assert_same(want: &Path, got: &Path) {
    let mut difference = Difference::default();
    difference.compare(want, got, Path::new("."));
    assert!(
        difference.found.is_empty(),
        "the trees differ:\n{}",
        difference.found.join("\n")
    );
}

#[derive(Default)]
struct Difference {
    found: Vec<String>,
    /// Inode numbers of files with several links: those of one tree to those of the other.
    links: HashMap<u64, u64>,
}

/// More than this is one mistake many times.
const ENOUGH: usize = 20;

impl Difference {
    fn note(
        &mut self,
        path: &Path,
        what: &str,
        want: &dyn std::fmt::Debug,
        got: &dyn std::fmt::Debug,
    ) {
        self.found
            .push(format!("{path:?} {what}: wanted {want:?}, got {got:?}"));
    }

    fn compare(&mut self, want: &Path, got: &Path, path: &Path) {
        if self.found.len() > ENOUGH {
            return;
        }
        let (one, other) = match (fs::symlink_metadata(want), fs::symlink_metadata(got)) {
            (Ok(one), Ok(other)) => (one, other),
            (one, other) => return self.note(path, "presence", &one.err(), &other.err()),
        };
        let (seen, found) = (attributes(&one), attributes(&other));
        for (what, value) in &seen {
            if found[what] != *value {
                self.note(path, what, value, &found[what]);
            }
        }
        if one.nlink() > 1
            && !one.is_dir()
            && *self.links.entry(one.ino()).or_insert(other.ino()) != other.ino()
        {
            self.note(path, "hard links", &"shared", &"not shared");
        }
        if one.file_type() != other.file_type() {
            return;
        }
        let (xattrs, others) = (xattrs(want, &one), self::xattrs(got, &other));
        if xattrs != others {
            self.note(path, "extended attributes", &xattrs, &others);
        }
        if one.is_file() && fs::read(want).expect("read") != fs::read(got).unwrap_or_default() {
            self.note(path, "content", &"the same", &"other bytes, or an error");
        }
        if one.is_symlink() && fs::read_link(want).ok() != fs::read_link(got).ok() {
            self.note(path, "target", &fs::read_link(want), &fs::read_link(got));
        }
        if one.is_dir() {
            self.compare_entries(want, got, path);
        }
    }

    fn compare_entries(&mut self, want: &Path, got: &Path, path: &Path) {
        let (names, others) = (names(want), self::names(got));
        if names != others {
            self.note(path, "entries", &names, &others);
        }
        for name in names {
            self.compare(&want.join(&name), &got.join(&name), &path.join(&name));
        }
    }
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("readdir");
    let mut names: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").file_name().into())
        .collect();
    names.sort();
    names
}

fn attributes(of: &Metadata) -> BTreeMap<&'static str, i64> {
    let kind = of.file_type();
    let mut seen = BTreeMap::from([
        ("mode", i64::from(of.mode())),
        ("owner", of.uid().into()),
        ("group", of.gid().into()),
        ("mtime", of.mtime()),
        ("mtime (ns)", of.mtime_nsec()),
    ]);
    if !kind.is_dir() {
        seen.insert("size", of.size() as i64);
        seen.insert("links", of.nlink() as i64);
    }
    if kind.is_block_device() || kind.is_char_device() {
        seen.insert("device", of.rdev() as i64);
    }
    seen
}

/// All of them, POSIX ACLs included.
fn xattrs(path: &Path, of: &Metadata) -> BTreeMap<Vec<u8>, Vec<u8>> {
    if !of.is_file() && !of.is_dir() {
        return BTreeMap::new();
    }
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).expect("listxattr");
    let names = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..]);
        value.truncate(length.expect("getxattr"));
        (name.to_vec(), value)
    };
    names.map(value).collect()
}
