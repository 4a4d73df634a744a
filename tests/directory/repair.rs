//! A repair after a crash: what was readable before it is readable after it, in every later session.
use super::rules::{WRITE, backing_file, edit, pattern, read_file, write_file};
use super::{open, open_with};
use crate::backing::clock;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::check::{Summary, check};
use cryptfs::fs::*;
use std::path::Path;
use std::time::SystemTime;

/// The sizes of a file before the change that the crash interrupts, and after it.
const CHANGES: [(usize, usize); 6] = [
    (5000, 10_000),
    (0, 100),
    (100, 4000),
    (30_000, 9000),
    (9000, 100),
    (100, 60_000),
];

/// Makes a volume whose files' lengths are durable but not recorded, and lets the power go.
fn crashed(home: &Path) {
    let tree = open(home);
    for (number, (before, after)) in CHANGES.into_iter().enumerate() {
        let node = write_file(&tree, &number.to_string(), &pattern(before));
        let handle = tree.open(node, WRITE).expect("open");
        if after < before {
            let size = Some(after as u64);
            let set = SetAttr {
                size,
                ..SetAttr::default()
            };
            tree.setattr(node, &set).expect("cut");
        } else {
            let (whole, offset) = (pattern(after), before as u64);
            tree.write(node, handle, offset, &whole[before..], false)
                .expect("append");
        }
        tree.fsync(node, handle, false).expect("fsync");
    }
}

fn checked(home: &Path, repair: bool) -> Summary {
    let tree = open_with(home, !repair, Backing::default());
    let summary = check(&tree, repair, &(), &mut |finding| panic!("{finding:?}"));
    tree.close().expect("close");
    summary.expect("check")
}

fn all_readable(home: &Path) {
    let tree = open_with(home, true, Backing::default());
    for (number, (_, after)) in CHANGES.into_iter().enumerate() {
        let read = read_file(&tree, &number.to_string());
        let read = read.unwrap_or_else(|error| panic!("file {number}: {error}"));
        assert_eq!(read.len(), after, "file {number}");
        assert!(read == pattern(after), "file {number}");
    }
}

#[test]
fn a_repair_after_a_crash_makes_nothing_unreadable() {
    let dir = tempfile::tempdir().expect("a directory");
    crashed(dir.path());
    checked(dir.path(), false);
    let mtime = |number: &str| {
        let seen = backing_file(dir.path(), number).metadata().expect("stat");
        seen.modified().expect("a time stamp")
    };
    let before = mtime("0");
    checked(dir.path(), true);
    checked(dir.path(), false);
    assert_eq!(mtime("0"), before);
    all_readable(dir.path());
    open(dir.path()).close().expect("close");
    all_readable(dir.path());
}

#[test]
fn two_crashes_and_a_repair_make_nothing_unreadable() {
    let dir = tempfile::tempdir().expect("a directory");
    crashed(dir.path());
    drop(open(dir.path()));
    drop(open(dir.path()));
    checked(dir.path(), true);
    all_readable(dir.path());
}

/// cryptfs 0.1.0 declared a volume clean without recording the lengths that a crash had left.
#[test]
fn what_an_earlier_repair_left_unrecorded_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    crashed(dir.path());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    clock::ended(dir.path(), now.expect("after 1970").as_secs() + 1);
    all_readable(dir.path());
    checked(dir.path(), false);

    // A file that is cut at the end of a unit is an error there too.
    let tree = open(dir.path());
    write_file(&tree, "cut", &pattern(30_000));
    tree.close().expect("close");
    edit(&backing_file(dir.path(), "cut"))
        .set_len(3 * 4096)
        .expect("cut");
    let error = read_file(&open(dir.path()), "cut").expect_err("a cut file was accepted");
    assert!(matches!(error, Error::Damaged(Damage::Length)), "{error}");
}

/// After a repair the lengths are exact again, so that a cut at any unit is an error.
#[test]
fn a_repair_ends_what_is_accepted_from_an_earlier_one() {
    let dir = tempfile::tempdir().expect("a directory");
    crashed(dir.path());
    checked(dir.path(), true);
    let tree = open(dir.path());
    let node = write_file(&tree, "short", &pattern(100));
    let handle = tree.open(node, WRITE).expect("open");
    tree.write(node, handle, 5000, b"the next unit", false)
        .expect("write");
    tree.release(node, handle).expect("release");
    tree.close().expect("close");
    let cut = 4096 + 4064 - 64 - 100; // what a file of 100 bytes has
    edit(&backing_file(dir.path(), "short"))
        .set_len(cut)
        .expect("cut");
    let error = read_file(&open(dir.path()), "short").expect_err("a cut file was accepted");
    assert!(matches!(error, Error::Damaged(Damage::Length)), "{error}");
}

/// A file whose pages never came is empty after the crash, and in later sessions.
#[test]
fn a_file_of_which_nothing_came_is_empty_in_later_sessions_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(100));
    drop(tree);
    let backing = edit(&backing_file(dir.path(), "a"));
    let length = backing.metadata().expect("stat").len();
    backing.set_len(0).expect("cut");
    backing.set_len(length).expect("grow");
    open(dir.path()).close().expect("close"); // a session that does not look at it
    assert_eq!(read_file(&open(dir.path()), "a").expect("read"), b"");
}
