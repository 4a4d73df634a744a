//! The rules of the format, each with what goes wrong without it. A crash is a tree that was never closed.
use super::{keys, me, open, open_with};
use cryptfs::directory::Directory;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::check;
use cryptfs::directory::name::{DirId, NameEncoding, Names};
use cryptfs::directory::record::{Op, Recorder};
use cryptfs::fs::*;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};
pub const READ: OpenFlags = OpenFlags {
    write: false,
    ..WRITE
};
const EIO: i32 = 5;

pub fn write_file(tree: &Directory, name: &str, data: &[u8]) -> NodeId {
    let (entry, handle) = tree
        .create(ROOT, OsStr::new(name), 0o644, WRITE, &me())
        .expect("create");
    tree.write(entry.node, handle, 0, data, false)
        .expect("write");
    tree.release(entry.node, handle).expect("release");
    entry.node
}

pub fn read_file(tree: &Directory, name: &str) -> Result<Vec<u8>> {
    let entry = tree.lookup(ROOT, OsStr::new(name))?;
    let handle = tree.open(entry.node, READ)?;
    let mut data = vec![0; entry.attr.size as usize + 1];
    let result = tree.read(entry.node, handle, 0, &mut data);
    tree.release(entry.node, handle)?;
    data.truncate(result?);
    Ok(data)
}

/// The backing file of a name in the root.
pub fn backing_file(path: &Path, name: &str) -> PathBuf {
    let names = Names::new(keys(), NameEncoding::Base64Url);
    let sealed = names.file(DirId([5; 12]), name.as_bytes());
    path.join(OsStr::from_bytes(sealed.entry.as_bytes()))
}

pub fn edit(path: &Path) -> std::fs::File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("open the backing file")
}

pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 + 1).collect()
}

#[test]
fn a_unit_of_another_file_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(20_000));
    write_file(&tree, "b", &pattern(20_000));
    tree.close().expect("close");
    let mut unit = [0; 4096];
    edit(&backing_file(dir.path(), "a"))
        .read_exact_at(&mut unit, 2 * 4096)
        .expect("read");
    edit(&backing_file(dir.path(), "b"))
        .write_all_at(&unit, 2 * 4096)
        .expect("write");
    let error = read_file(&open(dir.path()), "b").expect_err("spliced unit was accepted");
    assert!(matches!(error, Error::Damaged(Damage::Foreign)), "{error}");
}

#[test]
fn content_rewritten_after_truncation_shares_nothing_with_the_old() {
    for held in [false, true] {
        let dir = tempfile::tempdir().expect("tempdir");
        let tree = open(dir.path());
        let node = write_file(&tree, "a", &pattern(20_000));
        let path = backing_file(dir.path(), "a");
        let unit = || {
            let mut unit = [0; 4096];
            edit(&path).read_exact_at(&mut unit, 4096).expect("read");
            unit
        };
        let old = unit();
        let other = held.then(|| tree.open(node, READ).expect("open"));
        let cut = OpenFlags {
            truncate: true,
            ..WRITE
        };
        let handle = tree.open(node, cut).expect("O_TRUNC");
        tree.write(node, handle, 0, &pattern(20_000), false)
            .expect("write");
        tree.release(node, handle).expect("release");
        if let Some(other) = other {
            tree.release(node, other).expect("release");
        }
        tree.close().expect("close");
        assert_ne!(old[32..], unit()[32..], "same content, same key");
        edit(&path).write_all_at(&old, 4096).expect("write");
        let error = read_file(&open(dir.path()), "a").expect_err("old unit was accepted");
        assert_eq!(error.errno(), EIO);
    }
}

#[test]
fn a_rename_or_a_close_does_not_touch_mtime() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let (entry, handle) = tree
        .create(ROOT, OsStr::new("a"), 0o644, WRITE, &me())
        .expect("create");
    // The second one makes the length in unit 0 stale: closing writes it.
    for at in [0, 30_000] {
        tree.write(entry.node, handle, at, &pattern(30_000), false)
            .expect("write");
    }
    let time = Time {
        sec: 1_000_000_000,
        nsec: 5,
    };
    let set = SetAttr {
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    };
    tree.setattr(entry.node, &set).expect("utimes");
    tree.release(entry.node, handle).expect("release");
    tree.rename(
        (ROOT, OsStr::new("a")),
        (ROOT, OsStr::new("b")),
        Rename::Replace,
    )
    .expect("rename");
    assert_eq!(tree.getattr(entry.node).expect("getattr").mtime, time);
}

#[test]
fn the_size_stands_in_the_backing_length_and_no_old_unit_in_the_slack() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let node = write_file(&tree, "a", &pattern(30_000));
    let path = backing_file(dir.path(), "a");
    assert_eq!(
        path.metadata().expect("stat").len(),
        8 * 4096 + (8 * 4064 - 64 - 30_000)
    );
    tree.setattr(
        node,
        &SetAttr {
            size: Some(9000),
            ..SetAttr::default()
        },
    )
    .expect("truncate");
    let length = path.metadata().expect("stat").len();
    assert_eq!(length, 3 * 4096 + (3 * 4064 - 64 - 9000));
    let mut slack = vec![0xff; length as usize - 3 * 4096];
    edit(&path)
        .read_exact_at(&mut slack, 3 * 4096)
        .expect("read");
    assert!(
        slack.iter().all(|b| *b == 0),
        "the head of an old unit stays in the slack"
    );
    tree.close().expect("close");
    assert_eq!(
        read_file(&open(dir.path()), "a").expect("read"),
        pattern(9000)
    );
}

#[test]
fn after_a_crash_lookup_tells_the_size_that_the_data_proves() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(5000));
    tree.sync().expect("sync");
    drop(tree); // the power goes
    let file = edit(&backing_file(dir.path(), "a"));
    file.set_len(2 * 4096 + 100).expect("grow"); // an append moved the length, its data never came
    let tree = open(dir.path());
    assert!(tree.after_crash());
    assert_eq!(
        tree.lookup(ROOT, OsStr::new("a"))
            .expect("lookup")
            .attr
            .size,
        5000
    );
    assert_eq!(read_file(&tree, "a").expect("read"), pattern(5000));
}

#[test]
fn after_a_crash_none_of_several_lookups_tells_a_wrong_size() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let names: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    for name in &names {
        write_file(&tree, name, &pattern(5000));
    }
    tree.sync().expect("sync");
    drop(tree);
    for name in &names {
        let file = edit(&backing_file(dir.path(), name));
        file.set_len(2 * 4096 + 100).expect("grow");
    }
    let tree = open(dir.path());
    let start = std::sync::Barrier::new(4);
    let look = || {
        let sizes = names.iter().map(|name| {
            start.wait();
            let found = tree.lookup(ROOT, OsStr::new(name)).ok()?;
            Some(found.attr.size)
        });
        sizes.filter(|size| *size != Some(5000)).collect()
    };
    let wrong: Vec<Vec<_>> = std::thread::scope(|scope| {
        let looking = [0; 4].map(|_| scope.spawn(look));
        looking.map(|thread| thread.join().expect("join")).to_vec()
    });
    assert_eq!(wrong, [(); 4].map(|()| Vec::new()));
}

#[test]
fn a_size_that_a_crash_left_wrong_is_not_given_out_in_a_later_session_either() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(5000));
    drop(tree);
    open(dir.path()).close().expect("close"); // a session that does not look at the file
    edit(&backing_file(dir.path(), "a"))
        .set_len(2 * 4096 + 100)
        .expect("grow");
    let tree = open(dir.path());
    let found = tree.lookup(ROOT, OsStr::new("a")).expect("lookup");
    assert_eq!(found.attr.size, 5000);
    assert_eq!(read_file(&tree, "a").expect("read"), pattern(5000));
}

#[test]
fn a_short_unit_in_the_middle_reads_as_zeros_after_its_end() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let node = write_file(&tree, "a", &pattern(5000));
    let handle = tree.open(node, WRITE).expect("open");
    tree.write(node, handle, 8064, b"next unit", false)
        .expect("write");
    tree.release(node, handle).expect("release");
    tree.close().expect("close");
    let want = [&pattern(5000)[..], &[0; 8064 - 5000], b"next unit"].concat();
    assert_eq!(read_file(&open(dir.path()), "a").expect("read"), want);
}

#[test]
fn pages_of_zeros_at_the_end_were_never_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(5000));
    drop(tree);
    edit(&backing_file(dir.path(), "a"))
        .set_len(6 * 4096)
        .expect("grow");
    assert_eq!(
        read_file(&open(dir.path()), "a").expect("read"),
        pattern(5000)
    );
}

#[test]
fn a_page_of_zeros_inside_is_an_error_there_and_only_there() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(30_000));
    tree.close().expect("close");
    edit(&backing_file(dir.path(), "a"))
        .write_all_at(&[0; 4096], 3 * 4096)
        .expect("write");
    let tree = open(dir.path());
    let node = tree.lookup(ROOT, OsStr::new("a")).expect("lookup").node;
    let handle = tree.open(node, READ).expect("open");
    let (start, end) = (3 * 4064 - 64, 4 * 4064 - 64);
    for at in (0..30_000u64).step_by(500) {
        let mut buf = [0; 500];
        let hit = at + 500 > start && at < end;
        match tree.read(node, handle, at, &mut buf) {
            Ok(n) => {
                assert!(!hit, "zeros at {at} without an error");
                assert_eq!(buf[..n], pattern(30_000)[at as usize..at as usize + n]);
            }
            Err(error) => assert!(hit && error.errno() == EIO, "{error} at {at}"),
        }
    }
}

#[test]
fn what_is_not_right_is_never_signed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let node = write_file(&tree, "a", &pattern(30_000));
    let file = edit(&backing_file(dir.path(), "a"));
    for damaged in [[0; 4096], [0x5a; 4096]] {
        file.write_all_at(&damaged, 3 * 4096).expect("damage");
        let handle = tree.open(node, WRITE).expect("open");
        let start = 3 * 4064 - 64;
        for (at, length) in [(start, 16), (start + 100, 33), (start - 50, 4000)] {
            let written = tree.write(node, handle, at, &vec![7; length], false);
            assert_eq!(written.expect_err("signed").errno(), EIO);
        }
        let punched = tree.fallocate(node, handle, Allocate::Zero { keep_size: true }, start, 9);
        assert_eq!(punched.expect_err("signed").errno(), EIO);
        let mut unit = [1; 4096];
        file.read_exact_at(&mut unit, 3 * 4096).expect("read");
        assert_eq!(unit, damaged);
        // A unit that is written whole needs nothing of what was there.
        tree.write(node, handle, start, &[7; 4064], false)
            .expect("write");
        tree.release(node, handle).expect("release");
        let data = read_file(&tree, "a").expect("read");
        assert!(data[start as usize..][..4064] == [7; 4064]);
    }
}

#[test]
fn a_cut_into_a_hole_keeps_the_size_when_its_last_unit_did_not_come() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let node = write_file(&tree, "a", &pattern(5000));
    tree.setattr(
        node,
        &SetAttr {
            size: Some(40_000),
            ..SetAttr::default()
        },
    )
    .expect("grow");
    tree.sync().expect("sync");
    drop(tree);
    let length = 5 * 4096 + (5 * 4064 - 64 - 20_000); // truncate(20000) moved the length, unit 4 stayed a hole
    edit(&backing_file(dir.path(), "a"))
        .set_len(5 * 4096)
        .expect("cut");
    edit(&backing_file(dir.path(), "a"))
        .set_len(length)
        .expect("slack");
    let mut want = pattern(5000);
    want.resize(20_000, 0);
    assert_eq!(read_file(&open(dir.path()), "a").expect("read"), want);
}

#[derive(Default)]
struct Log(Mutex<Vec<Op>>);

impl Recorder for Log {
    fn record(&self, op: Op) {
        self.0.lock().expect("no panic while recording").push(op);
    }
}

#[test]
fn a_file_says_durably_that_it_is_sparse_before_it_has_a_hole() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = Arc::new(Log::default());
    let tree = open_with(dir.path(), false, Backing::recorded(log.clone()));
    let node = write_file(&tree, "a", &pattern(100));
    let handle = tree.open(node, WRITE).expect("open");
    log.0.lock().expect("log").clear();
    tree.write(node, handle, 1 << 20, b"far", false)
        .expect("write");
    let ops = log.0.lock().expect("log").clone();
    let header = ops
        .iter()
        .position(|op| matches!(op, Op::Write { offset: 0, .. }))
        .expect("unit 0 is written");
    let sync = ops
        .iter()
        .position(|op| matches!(op, Op::Sync { .. }))
        .expect("and synced");
    let far = ops
        .iter()
        .position(|op| matches!(op, Op::Write { offset, .. } if *offset > 4096))
        .expect("before the far unit");
    assert!(header < sync && sync < far, "{ops:?}");
    tree.release(node, handle).expect("release");
    tree.close().expect("close");
    let data = read_file(&open(dir.path()), "a").expect("read");
    assert_eq!(data.len(), (1 << 20) + 3);
    assert!(data[100..1 << 20].iter().all(|b| *b == 0));
}

#[test]
fn a_file_cut_or_grown_outside_is_an_error_after_a_clean_end() {
    for units in [7, 9] {
        let dir = tempfile::tempdir().expect("tempdir");
        let tree = open(dir.path());
        write_file(&tree, "a", &pattern(30_000));
        tree.close().expect("close");
        edit(&backing_file(dir.path(), "a"))
            .set_len(units * 4096)
            .expect("set length");
        let error = read_file(&open(dir.path()), "a").expect_err("another length was accepted");
        assert!(matches!(error, Error::Damaged(Damage::Length)), "{error}");
    }
}

#[test]
fn after_a_crash_lengths_prove_nothing_until_check_has_repaired_all() {
    let dir = tempfile::tempdir().expect("tempdir");
    let cut_and_read = |name| {
        edit(&backing_file(dir.path(), name))
            .set_len(7 * 4096)
            .expect("cut");
        let tree = open(dir.path());
        let read = read_file(&tree, name);
        tree.close().expect("close");
        read
    };
    let tree = open(dir.path());
    write_file(&tree, "a", &pattern(60_000));
    write_file(&tree, "b", &pattern(60_000));
    drop(tree);
    let tree = open(dir.path());
    assert!(tree.after_crash());
    tree.close().expect("close");
    let read = cut_and_read("a").expect("what a crash may leave");
    assert_eq!(read.len(), 7 * 4064 - 64);

    let tree = open(dir.path());
    let repaired = check::check(&tree, true, &(), &mut |_| {}).expect("check");
    assert_eq!(repaired.findings, repaired.repaired);
    tree.close().expect("close");
    let error = cut_and_read("b").expect_err("the crash is over");
    assert!(matches!(error, Error::Damaged(Damage::Length)), "{error}");
}
