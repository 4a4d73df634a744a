//! What only a directory volume has to lose: names, link targets and attributes that lie in the backing directory itself.
use super::known::{self, Found, Thing, Tree};
use crate::kinds::{DirectoryVolume, VolumeKind};
use cryptfs::fs::FileSystem;
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A volume, its tree, and where each inode lies on the backing store.
struct Victim {
    home: TempDir,
    tree: Tree,
    places: BTreeMap<u64, PathBuf>,
}

fn walk(below: &Path, found: &mut BTreeMap<u64, PathBuf>) {
    for entry in fs::read_dir(below).expect("readdir") {
        let path = entry.expect("an entry").path();
        let seen = fs::symlink_metadata(&path).expect("stat");
        if seen.is_dir() {
            walk(&path, found);
        }
        found.insert(seen.ino(), path);
    }
}

impl Victim {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        DirectoryVolume.create(home.path());
        let fs = DirectoryVolume
            .open(home.path(), false)
            .expect("open the volume");
        let tree = known::make(&*fs);
        fs.close().expect("close");
        let mut places = BTreeMap::new();
        walk(home.path(), &mut places);
        Self { home, tree, places }
    }

    /// The backing path of a place.
    fn backing(&self, path: &[u8]) -> &Path {
        &self.places[&self.tree[path].ino]
    }

    fn open(&self) -> Arc<dyn FileSystem> {
        DirectoryVolume
            .open(self.home.path(), true)
            .expect("open the volume")
    }

    fn look(&self, path: &[u8]) -> Found {
        known::examine(&*self.open(), path, &self.tree[path])
    }

    /// Everything but what lies at or below these places is as it was, and no other name appears.
    fn rest_is_right(&self, but: &[&[u8]], after: &str) {
        let fs = self.open();
        for (path, known) in &self.tree {
            let spared = but
                .iter()
                .any(|but| path == but || path.starts_with(&[but, &b"/"[..]].concat()));
            if !spared {
                let found = known::examine(&*fs, path, known);
                assert!(
                    matches!(found, Found::Right),
                    "{} after {after}",
                    path.escape_ascii()
                );
            }
        }
        let strangers = known::strangers(&*fs, &self.tree);
        assert!(strangers.is_empty(), "after {after} appeared {strangers:?}");
    }
}

/// An error or nothing there: never something else.
fn harmless(found: &Found) -> bool {
    match found {
        Found::Error(errno) => *errno == rustix::io::Errno::IO.raw_os_error(),
        Found::Gone => true,
        Found::Right | Found::Wrong(_) => false,
    }
}

fn replace_link(path: &Path, target: &[u8]) {
    fs::remove_file(path).expect("unlink");
    symlink(OsString::from_vec(target.to_vec()), path).expect("symlink");
}

#[test]
fn changed_link_targets_are_errors() {
    let victim = Victim::new();
    let links: Vec<_> = victim
        .tree
        .iter()
        .filter(|(_, known)| matches!(known.thing, Thing::Link(_)))
        .collect();
    for (path, _) in links {
        let backing = victim.backing(path);
        let stored = fs::read_link(backing)
            .expect("readlink")
            .into_os_string()
            .into_vec();
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            replace_link(backing, &changed);
            let found = victim.look(path);
            assert!(
                matches!(found, Found::Error(5)),
                "byte {at} of a target of {} changed",
                stored.len()
            );
        }
        for target in [&b"/etc/passwd"[..], b"a", &stored[..stored.len() - 1]] {
            replace_link(backing, target);
            assert!(
                matches!(victim.look(path), Found::Error(5)),
                "target {}",
                target.escape_ascii()
            );
        }
        replace_link(backing, &stored);
        victim.rest_is_right(&[], "links were put back");
    }
}

#[test]
fn changed_and_moved_attributes_are_errors() {
    let victim = Victim::new();
    let owners: Vec<_> = victim
        .tree
        .iter()
        .filter(|(_, known)| !known.xattrs.is_empty())
        .collect();
    let mut stored = Vec::new();
    for (path, _) in &owners {
        let backing = victim.backing(path);
        let mut list = vec![0; 65_536];
        let length = rustix::fs::llistxattr(backing, &mut list[..]).expect("listxattr");
        for name in list[..length]
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(b"user."))
        {
            let name = OsString::from_vec(name.to_vec());
            let mut value = vec![0; 65_536];
            let length = rustix::fs::lgetxattr(backing, &name, &mut value[..]).expect("getxattr");
            value.truncate(length);
            stored.push((*path, name, value));
        }
    }
    let set = |path: &[u8], name: &OsString, value: &[u8]| {
        rustix::fs::lsetxattr(victim.backing(path), name, value, XattrFlags::empty())
            .expect("setxattr");
    };
    for (path, name, value) in &stored {
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            set(path, name, &changed);
            assert!(
                matches!(victim.look(path), Found::Error(5)),
                "byte {at} of {} changed",
                value.len()
            );
        }
        set(path, name, &[]);
        assert!(matches!(victim.look(path), Found::Error(5)), "emptied");
        for (_, _, other) in stored.iter().filter(|(.., other)| other != value) {
            set(path, name, other);
            assert!(
                matches!(victim.look(path), Found::Error(5)),
                "another attribute's value"
            );
        }
        set(path, name, value);
    }
    victim.rest_is_right(&[], "attributes were put back");
}

#[test]
fn changed_names_show_nothing() {
    let victim = Victim::new();
    for (path, known) in &victim.tree {
        let backing = victim.backing(path);
        let name = backing.file_name().expect("a name").as_bytes();
        let step = (name.len() / 12).max(1);
        for at in (0..name.len()).step_by(step) {
            let mut changed = name.to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let elsewhere = backing.with_file_name(OsString::from_vec(changed));
            fs::rename(backing, &elsewhere).expect("rename");
            let after = format!("byte {at} of the name of {} changed", path.escape_ascii());
            let found = victim.look(path);
            assert!(harmless(&found), "{after}");
            victim.rest_is_right(&[path], &after);
            fs::rename(&elsewhere, backing).expect("rename back");
        }
        assert!(matches!(
            known::examine(&*victim.open(), path, known),
            Found::Right
        ));
    }
}

#[test]
fn entries_moved_to_another_directory_show_nothing() {
    let victim = Victim::new();
    let dir = victim.backing(b"dir").to_owned();
    for path in [&b"size 63"[..], b"size 100000", b"short link", &[b'l'; 200]] {
        let backing = victim.backing(path);
        let elsewhere = dir.join(backing.file_name().expect("a name"));
        fs::rename(backing, &elsewhere).expect("rename");
        assert!(matches!(victim.look(path), Found::Gone));
        victim.rest_is_right(&[path], "an entry was moved");
        fs::rename(&elsewhere, backing).expect("rename back");
    }
}

#[test]
fn a_file_in_the_place_of_its_namesake_is_that_file_or_an_error() {
    let victim = Victim::new();
    let (one, other) = (victim.backing(b"size 8064"), victim.backing(b"size 4064"));
    fs::rename(one, other).expect("rename");
    // FORMAT: whole files may be exchanged inside a volume; what is read is then all of the other.
    let mut moved = victim.tree[&b"size 8064"[..]].clone();
    moved.ino = 0;
    let found = known::examine(&*victim.open(), b"size 4064", &moved);
    assert!(matches!(found, Found::Right | Found::Error(5)));
    victim.rest_is_right(&[b"size 8064", b"size 4064"], "a file was put over another");
}

#[test]
fn exchanged_directory_ids_show_nothing() {
    let victim = Victim::new();
    let one = victim.backing(b"dir");
    let name = one.file_name().expect("a name").as_bytes();
    let dot = name
        .iter()
        .rposition(|byte| *byte == b'.')
        .expect("a suffix");
    let mut other = name.to_vec();
    let last = other.len() - 2;
    other[last] = if other[last] == b'A' { b'B' } else { b'A' };
    assert!(last > dot);
    fs::rename(one, one.with_file_name(OsString::from_vec(other))).expect("rename");
    assert!(harmless(&victim.look(b"dir")));
    victim.rest_is_right(&[b"dir"], "a directory's id was changed");
}

#[test]
fn planted_links_and_special_files_are_not_followed() {
    let victim = Victim::new();
    let secret = victim.home.path().join("outside");
    fs::write(&secret, vec![b's'; 8192]).expect("write");
    let path = &b"size 8064"[..];
    let backing = victim.backing(path);
    let kept = fs::read(backing).expect("read");
    fs::remove_file(backing).expect("unlink");
    symlink(&secret, backing).expect("symlink");
    assert!(!matches!(victim.look(path), Found::Right));
    let fs_ = victim.open();
    let entry = fs_.lookup(cryptfs::fs::ROOT, "size 8064".as_ref());
    if let Ok(entry) = entry {
        let opened = fs_.open(entry.node, cryptfs::fs::OpenFlags::default());
        assert!(opened.is_err(), "a planted link was opened");
        assert!(
            fs_.readlink(entry.node).is_err(),
            "a planted link has a target"
        );
    }
    fs::remove_file(backing).expect("unlink");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        backing,
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .expect("mkfifo");
    assert!(
        !matches!(victim.look(path), Found::Right),
        "and it did not wait for a writer"
    );
    fs::remove_file(backing).expect("unlink");
    fs::create_dir(backing).expect("mkdir");
    assert!(!matches!(victim.look(path), Found::Right));
    fs::remove_dir(backing).expect("rmdir");
    fs::write(backing, kept).expect("put back");
    fs::remove_file(&secret).expect("unlink");
    victim.rest_is_right(&[], "all was put back");
}

#[test]
fn lost_side_files_lose_names_and_nothing_else() {
    let victim = Victim::new();
    let sides: Vec<_> = victim
        .places
        .values()
        .filter(|path| path.as_os_str().as_bytes().ends_with(b"+"))
        .collect();
    assert!(sides.len() >= 3, "{sides:?}");
    for side in sides {
        let content = fs::read(side).expect("read");
        fs::remove_file(side).expect("unlink");
        let long: Vec<&[u8]> = victim
            .tree
            .keys()
            .map(Vec::as_slice)
            .filter(|path| super::has_long(path))
            .collect();
        victim.rest_is_right(&long, "a side file was removed");
        for path in &long {
            let found = victim.look(path);
            assert!(matches!(found, Found::Right) || harmless(&found));
        }
        fs::write(side, content).expect("put back");
    }
    victim.rest_is_right(&[], "side files were put back");
}
