//! What `check` finds: deep trees, copies that share a file id; and the new id of a file that is replaced.
use super::rules::{READ, WRITE, backing_file, edit, pattern, read_file, write_file};
use super::{me, open};
use cryptfs::directory::check::{Problem, check};
use cryptfs::fs::*;
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Deeper than the stack of a thread with this size, should each level take some of it.
const DEPTH: u64 = 2000;
const STACK: usize = 128 << 10;

#[test]
fn a_tree_deeper_than_the_stack_is_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    let mut node = ROOT;
    for _ in 0..DEPTH {
        let made = tree.mkdir(node, OsStr::new("d"), 0o755, &me());
        node = made.expect("mkdir").node;
    }
    let path = dir.path().to_owned();
    let deep = move || {
        let tree = open(&path);
        let checked = check(&tree, false, &(), &mut |finding| panic!("{finding:?}"));
        drop(tree);
        checked.expect("check").directories
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(deep);
    assert_eq!(
        thread.expect("a thread").join().expect("no panic"),
        DEPTH + 1
    );
    // A handle of the deepest is found again from the root.
    let entry = tree.mkdir(node, OsStr::new("last"), 0o755, &me());
    tree.getattr(entry.expect("mkdir").node).expect("getattr");
    drop(tree);
    let removed = Command::new("rm").arg("-rf").arg(dir.path()).status();
    assert!(removed.expect("rm").success()); // TempDir would recurse
}

/// The bytes of a file id, as they stand in its first unit.
fn file_id(home: &Path, name: &str) -> [u8; 12] {
    let mut id = [0; 12];
    edit(&backing_file(home, name))
        .read_exact_at(&mut id, 16)
        .expect("read");
    id
}

#[test]
fn two_files_with_one_id_are_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    write_file(&tree, "private", &pattern(9000));
    write_file(&tree, "public", &pattern(100));
    tree.close().expect("close");
    let (private, public) = (
        backing_file(dir.path(), "private"),
        backing_file(dir.path(), "public"),
    );
    std::fs::copy(private, public).expect("copy");
    let tree = open(dir.path());
    let mut problems = Vec::new();
    let found = check(&tree, false, &(), &mut |finding| {
        problems.push((finding.path.clone(), finding.problem.clone()));
    });
    assert_eq!(found.expect("check").findings, 1);
    let names: [&[u8]; 2] = [b"/private", b"/public"];
    let [(path, Problem::Twin(other))] = &problems[..] else {
        panic!("{problems:?}");
    };
    assert!(names.contains(&&path[..]) && names.contains(&&other[..]) && path != other);
    // Two names of one file are no copy.
    drop(tree);
    std::fs::remove_file(backing_file(dir.path(), "public")).expect("remove");
    let tree = open(dir.path());
    let entry = tree.lookup(ROOT, OsStr::new("private")).expect("lookup");
    tree.link(entry.node, ROOT, OsStr::new("public"))
        .expect("link");
    let found = check(&tree, false, &(), &mut |finding| panic!("{finding:?}"));
    assert_eq!(found.expect("check").findings, 0);
}

#[test]
fn a_file_that_is_written_as_a_whole_gets_a_new_id() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    let node = write_file(&tree, "a", &pattern(3000));
    let mut ids = vec![file_id(dir.path(), "a")];
    let handle = tree.open(node, WRITE).expect("open");
    let mut write = |offset, data: &[u8]| {
        tree.write(node, handle, offset, data, false)
            .expect("write");
        ids.push(file_id(dir.path(), "a"));
    };
    write(0, &pattern(3000)); // all of it
    write(0, &pattern(3500)); // all, and more
    write(100, b"a part");
    write(0, &pattern(10)); // a part
    write(3500, &pattern(9000)); // an append; it has several units now
    write(0, &pattern(12_500)); // all of several units
    let new: Vec<bool> = ids.windows(2).map(|pair| pair[0] != pair[1]).collect();
    assert_eq!(new, [true, true, false, false, false, false]);
    tree.release(node, handle).expect("release");
    assert_eq!(read_file(&tree, "a").expect("read"), pattern(12_500));
    tree.close().expect("close");
    assert_eq!(
        read_file(&open(dir.path()), "a").expect("read"),
        pattern(12_500)
    );
}

/// Data that was written in blocks of 4096 bytes is told in such blocks, and what is told as a hole is one.
#[test]
fn data_and_holes_are_told_in_blocks() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    let node = write_file(&tree, "a", b"");
    let handle = tree.open(node, WRITE).expect("open");
    const BLOCK: u64 = 4096;
    let blocks = [1, 2, 5, 64, 65, 66, 300];
    for block in blocks {
        tree.write(node, handle, block * BLOCK, &[7; BLOCK as usize], false)
            .expect("write");
    }
    let size = 400 * BLOCK;
    let set = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    tree.setattr(node, &set).expect("grow");
    tree.release(node, handle).expect("release");
    let handle = tree.open(node, READ).expect("open");
    let seek = |at, whence| tree.lseek(node, handle, at, whence);
    let mut told = Vec::new();
    let mut at = 0;
    while let Ok(data) = seek(at, Whence::Data) {
        at = seek(data, Whence::Hole).expect("seek");
        told.push((data / BLOCK, at / BLOCK, data % BLOCK + at % BLOCK));
    }
    assert_eq!(told, [(1, 3, 0), (5, 6, 0), (64, 67, 0), (300, 301, 0)]);
    // From anywhere the answers agree with that.
    for at in (0..size).step_by(777) {
        let within = told
            .iter()
            .find(|(from, to, _)| (from * BLOCK..to * BLOCK).contains(&at));
        let next = told.iter().find(|(from, _, _)| from * BLOCK > at);
        let (data, hole) = (seek(at, Whence::Data).ok(), seek(at, Whence::Hole).ok());
        match within {
            Some((_, to, _)) => assert_eq!((data, hole), (Some(at), Some(to * BLOCK))),
            None => assert_eq!(
                (data, hole),
                (next.map(|(from, _, _)| from * BLOCK), Some(at))
            ),
        }
    }
}
