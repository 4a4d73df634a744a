//! A store whose SEEK_HOLE always answers 0, as a cluster file system was seen to do after a heal.
use super::refused::answer;
use crate::directory::{me, open};
use cryptfs::directory::backing;
use cryptfs::directory::check::check;
use cryptfs::fs::*;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::Duration;

/// Far more than any of this takes; what hangs is told so.
const BOUND: Duration = Duration::from_secs(60);

/// From now on SEEK_HOLE answers 0 on this thread.
fn stand_still() {
    let whence = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        libc::SEEK_HOLE as u64,
    );
    let rule = SeccompRule::new(vec![whence.expect("a condition")]);
    let rules = vec![rule.expect("a rule")];
    answer(BTreeMap::from([(libc::SYS_lseek, rules)]), 0);
}

/// Runs on a thread on which SEEK_HOLE stands still; fails where it does not come to an end.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || {
        stand_still();
        done.send(work())
    });
    result.recv_timeout(BOUND).expect("it does not hang")
}

const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

#[test]
fn a_volume_is_checked_and_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    let made = tree.create(ROOT, OsStr::new("a"), 0o644, WRITE, &me());
    let (entry, handle) = made.expect("create");
    tree.write(entry.node, handle, 0, b"front", false)
        .expect("write");
    tree.write(entry.node, handle, 1 << 20, b"tail", false)
        .expect("write");
    tree.sync().expect("sync");
    drop(tree); // the power goes: the next opening looks where data lies
    let size = (1 << 20) + 4;
    let path = dir.path().to_owned();
    let (found, told) = bounded(move || {
        let tree = open(&path);
        let summary = check(&tree, false, &(), &mut |_| {}).expect("check");
        let entry = tree.lookup(ROOT, OsStr::new("a")).expect("lookup");
        let handle = tree.open(entry.node, OpenFlags::default()).expect("open");
        let mut data = vec![0xaa; size];
        let read = tree.read(entry.node, handle, 0, &mut data).expect("read");
        assert_eq!(
            (read, &data[..5], &data[1 << 20..]),
            (size, &b"front"[..], &b"tail"[..])
        );
        let hole = tree
            .lseek(entry.node, handle, 0, Whence::Hole)
            .expect("seek");
        (summary.findings, hole)
    });
    assert_eq!((found, told), (0, size as u64));
}

#[test]
fn what_cannot_be_told_is_data() {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(b"x", 9 * 4096).expect("write");
    file.set_len(20 * 4096).expect("set the length");
    let told = |file: &std::fs::File| backing::data(file.as_fd(), 20, 4096).expect("seek");
    let (data, whole) = (9..10, 0..20);
    assert_eq!(told(&file), [data]);
    // What else such a store says is not believed either.
    assert_eq!(bounded(move || told(&file)), [whole]);
}
