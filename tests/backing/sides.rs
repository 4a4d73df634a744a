//! A long name that cannot be made, as on a full disk: its side file does not stay behind.
use super::refused::refuse;
use crate::directory::{me, open};
use cryptfs::directory::check::{Problem, check};
use cryptfs::fs::*;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::Path;

const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

fn sides(home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(home).expect("readdir");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| name.ends_with('+')).collect()
}

#[test]
fn what_could_not_be_made_leaves_no_side_file() {
    let refusals: [&[i64]; 4] = [
        &[libc::SYS_pwrite64],
        &[libc::SYS_fsync],
        &[libc::SYS_renameat2],
        &[
            libc::SYS_mkdirat,
            libc::SYS_symlinkat,
            libc::SYS_linkat,
            libc::SYS_mknodat,
        ],
    ];
    let long = "n".repeat(250);
    for calls in refusals {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = open(dir.path());
        let made = tree.create(ROOT, OsStr::new("short"), 0o644, WRITE, &me());
        let (short, _) = made.expect("create");
        let long = OsStr::new(&long);
        let failed = std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                refuse(calls, Errno::NOSPC);
                [
                    tree.mkdir(ROOT, long, 0o755, &me()).map(drop),
                    tree.symlink(ROOT, long, OsStr::new("target"), &me())
                        .map(drop),
                    tree.link(short.node, ROOT, long).map(drop),
                    tree.mknod(ROOT, long, 0o010_644, 0, &me()).map(drop),
                ]
            });
            filtered.join().expect("no panic")
        });
        assert!(failed.iter().all(Result::is_err), "{calls:?}: {failed:?}");
        assert_eq!(sides(dir.path()), [""; 0], "{calls:?}");
        tree.mkdir(ROOT, long, 0o755, &me()).expect("mkdir");
    }
}

/// What a power cut leaves of a side file is called what it is, and is no damage.
#[test]
fn an_unfinished_side_file_is_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = open(dir.path());
    let rest = format!("~{}++", "A".repeat(43));
    std::fs::write(dir.path().join(&rest), b"").expect("write");
    for repair in [false, true] {
        let mut problems = Vec::new();
        let found = check(&tree, repair, &(), &mut |finding| {
            problems.push(finding.problem.clone());
        });
        assert_eq!(found.expect("check").findings, 0);
        assert_eq!(problems, [Problem::Unfinished(rest.clone().into())]);
    }
    assert_eq!(sides(dir.path()), [""; 0]);
}
