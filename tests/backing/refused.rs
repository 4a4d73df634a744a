//! The kernel refuses system calls of one kind, as a disk does that is full, over quota, broken or read-only.
//!
//! A seccomp filter does it: on the one thread that works on the volume, without any privilege. Another thread, which is
//! not filtered, then looks at the same file system: the disk works again.
use crate::hostile::known::{self, Found};
use crate::kinds::{ALL, VolumeKind};
use cryptfs::fs::{
    Allocate, Caller, Error, FileSystem, NodeId, OpenFlags, ROOT, Rename, Result, SetAttr, SetXattr,
};
use rustix::io::Errno;
use seccompiler::{SeccompAction, SeccompFilter, SeccompRule};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

/// Kinds of system calls, and what a disk may answer them.
const REFUSALS: [(&str, &[i64], &[Errno]); 10] = [
    (
        "write",
        &[libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2],
        &[Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS],
    ),
    (
        "read",
        &[libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2],
        &[Errno::IO],
    ),
    (
        "sync",
        &[libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_syncfs],
        &[Errno::IO, Errno::NOSPC, Errno::DQUOT],
    ),
    (
        "truncate",
        &[libc::SYS_ftruncate],
        &[Errno::NOSPC, Errno::IO, Errno::ROFS],
    ),
    (
        "allocate",
        &[libc::SYS_fallocate],
        &[Errno::NOSPC, Errno::DQUOT, Errno::IO],
    ),
    (
        "open",
        &[libc::SYS_openat, libc::SYS_openat2],
        &[
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::IO,
            Errno::ROFS,
            Errno::MFILE,
        ],
    ),
    (
        "make a name",
        &[
            libc::SYS_mkdirat,
            libc::SYS_mknodat,
            libc::SYS_symlinkat,
            libc::SYS_linkat,
        ],
        &[Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS],
    ),
    (
        "move or remove a name",
        &[libc::SYS_renameat2, libc::SYS_unlinkat],
        &[Errno::NOSPC, Errno::IO, Errno::ROFS],
    ),
    (
        "set an attribute",
        &[
            libc::SYS_fsetxattr,
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_utimensat,
            libc::SYS_fchmod,
        ],
        &[Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS],
    ),
    (
        "list and look",
        &[libc::SYS_getdents64, libc::SYS_statx],
        &[Errno::IO],
    ),
];

const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

/// Bytes of each file that is worked on, and of each write.
const SIZE: usize = 30_000;
const STEP: usize = 1000;

fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0o022,
    }
}

fn name(name: &str) -> &OsStr {
    OsStr::new(name)
}

/// Writes all of a file and waits for the disk.
fn fill(fs: &dyn FileSystem, node: NodeId, byte: u8) -> Result<()> {
    let handle = fs.open(node, WRITE)?;
    let written = (0..SIZE).step_by(STEP).try_for_each(|at| {
        fs.write(node, handle, at as u64, &[byte; STEP], false)
            .map(drop)
    });
    let synced = fs.fsync(node, handle, false);
    let released = fs.release(node, handle);
    written.and(synced).and(released)
}

fn make(fs: &dyn FileSystem, file: &str, byte: u8) -> Result<NodeId> {
    let (entry, handle) = fs.create(ROOT, name(file), 0o644, WRITE, &me())?;
    fs.release(entry.node, handle)?;
    fill(fs, entry.node, byte)?;
    Ok(entry.node)
}

fn read(fs: &dyn FileSystem, file: &str) -> Result<Vec<u8>> {
    let node = fs.lookup(ROOT, name(file))?.node;
    let handle = fs.open(node, OpenFlags::default())?;
    let mut data = vec![0xaa; SIZE + 1];
    let length = fs.read(node, handle, 0, &mut data);
    let released = fs.release(node, handle);
    data.truncate(length?);
    released.map(|()| data)
}

/// What was there before; all durable.
fn prepare(fs: &dyn FileSystem) {
    for file in ["over", "cut", "gone", "moved", "replaced", "marked"] {
        make(fs, file, 1).expect("prepare");
    }
    fs.mkdir(ROOT, name("empty"), 0o755, &me()).expect("mkdir");
    fs.sync().expect("sync");
}

/// One of everything.
fn work(fs: &dyn FileSystem, round: &str) -> Vec<(&'static str, Result<()>)> {
    let node = |file: &str| fs.lookup(ROOT, name(file)).map(|entry| entry.node);
    let new = |what: &str| format!("{what} {round}");
    let size = |size| SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    let punch = || {
        let node = node("over")?;
        let handle = fs.open(node, WRITE)?;
        let punched = fs.fallocate(node, handle, Allocate::Punch, 5000, 9000);
        fs.release(node, handle).and(punched)
    };
    vec![
        ("create", make(fs, &new("file"), 2).map(drop)),
        ("overwrite", node("over").and_then(|node| fill(fs, node, 2))),
        (
            "truncate",
            node("cut").and_then(|node| fs.setattr(node, &size(12_345)).map(drop)),
        ),
        ("punch", punch()),
        (
            "mkdir",
            fs.mkdir(ROOT, name(&new("dir")), 0o755, &me()).map(drop),
        ),
        ("long name", make(fs, &new(&"n".repeat(230)), 2).map(drop)),
        (
            "symlink",
            fs.symlink(ROOT, name(&new("link")), name("to"), &me())
                .map(drop),
        ),
        (
            "link",
            node("marked").and_then(|node| fs.link(node, ROOT, name(&new("second"))).map(drop)),
        ),
        (
            "rename",
            fs.rename(
                (ROOT, name("moved")),
                (ROOT, name("replaced")),
                Rename::Replace,
            ),
        ),
        ("unlink", fs.unlink(ROOT, name("gone"))),
        (
            "setxattr",
            node("marked")
                .and_then(|node| fs.setxattr(node, name("user.a"), b"v", SetXattr::Either)),
        ),
        (
            "chmod",
            node("marked").and_then(|node| {
                let set = SetAttr {
                    mode: Some(0o600),
                    ..SetAttr::default()
                };
                fs.setattr(node, &set).map(drop)
            }),
        ),
        ("read", read(fs, "marked").map(drop)),
        ("list", list(fs).map(drop)),
        ("sync", fs.sync()),
    ]
}

fn is_missing(error: &Error) -> bool {
    error.errno() == Errno::NOENT.raw_os_error()
}

fn list(fs: &dyn FileSystem) -> Result<usize> {
    let handle = fs.opendir(ROOT)?;
    let mut count = 0;
    let listed = fs.readdir(ROOT, handle, 0, &mut |_| {
        count += 1;
        true
    });
    fs.releasedir(ROOT, handle);
    listed.map(|()| count)
}

/// From now on this thread gets `errno` for these system calls.
pub fn refuse(calls: &[i64], errno: Errno) {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    answer(rules, errno.raw_os_error() as u32);
}

/// From now on this thread gets `-errno` for the system calls that the rules describe, and nothing else happens.
pub fn answer(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: u32) {
    let refusal = SeccompAction::Errno(errno);
    let machine = std::env::consts::ARCH.try_into().expect("a known machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, machine);
    let program: seccompiler::BpfProgram = filter.expect("a filter").try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("apply the filter");
}

/// Old or new, page by page; nothing else.
fn is_one_of(file: &str, read: Result<Vec<u8>>, bytes: &[u8], lengths: &[usize]) -> Option<String> {
    match read {
        Ok(data) if !lengths.contains(&data.len()) => {
            Some(format!("{file} has {} bytes", data.len()))
        }
        Ok(data) => {
            let odd = data.iter().position(|byte| !bytes.contains(byte))?;
            Some(format!("{file} has {} at {odd}", data[odd]))
        }
        Err(error) => Some(format!("{file}: {error}")),
    }
}

/// What is wrong with the volume after what was refused.
fn look(fs: &dyn FileSystem, tree: &known::Tree, replaced: bool) -> Vec<String> {
    let mut wrong: Vec<String> = tree
        .iter()
        .filter(|(path, known)| !matches!(known::examine(fs, path, known), Found::Right))
        .map(|(path, _)| format!("{} is not as it was", path.escape_ascii()))
        .collect();
    let whole = &[SIZE];
    wrong.extend(is_one_of("over", read(fs, "over"), &[0, 1, 2], whole));
    wrong.extend(is_one_of("cut", read(fs, "cut"), &[1], &[SIZE, 12_345]));
    wrong.extend(is_one_of("marked", read(fs, "marked"), &[1], whole));
    wrong.extend(is_one_of("replaced", read(fs, "replaced"), &[1], whole));
    for (file, gone) in [("gone", true), ("moved", replaced)] {
        match read(fs, file) {
            Err(error) if is_missing(&error) && gone => {}
            read => wrong.extend(is_one_of(file, read, &[1], whole)),
        }
    }
    wrong
}

#[test]
fn what_the_disk_refuses_is_an_error_and_no_loss() {
    let mut failures = Vec::new();
    for kind in ALL {
        let mut refused = 0;
        for (what, calls, errnos) in REFUSALS {
            for errno in errnos {
                let case = format!("{}: {what} answers {errno:?}", kind.name());
                match one(kind, calls, *errno) {
                    Ok(count) => refused += count,
                    Err(wrong) => failures.push(format!("{case}: {}", wrong.join("; "))),
                }
            }
        }
        eprintln!("{}: {refused} operations were refused", kind.name());
        if refused < 50 {
            failures.push(format!("{}: only {refused} operations failed", kind.name()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How many operations failed.
fn one(
    kind: &dyn VolumeKind,
    calls: &[i64],
    errno: Errno,
) -> std::result::Result<usize, Vec<String>> {
    let home = tempfile::tempdir().expect("a directory");
    kind.create(home.path());
    let fs: Arc<dyn FileSystem> = kind.open(home.path(), false).expect("open the volume");
    let tree = known::make(&*fs);
    prepare(&*fs);
    let results = std::thread::scope(|scope| {
        let filtered = scope.spawn(|| {
            refuse(calls, errno);
            work(&*fs, "refused")
        });
        filtered.join().map_err(|_| vec!["panic".to_owned()])
    })?;
    // EROFS: after a flush that failed an image takes nothing more before the next mount.
    let shut = if kind.blind().one_file_for_all {
        Errno::ROFS
    } else {
        errno
    };
    let allowed = [errno, Errno::IO, shut].map(Errno::raw_os_error);
    let mut wrong: Vec<String> = results
        .iter()
        .filter_map(|(what, result)| {
            let error = result.as_ref().err()?;
            (!allowed.contains(&error.errno())).then(|| format!("{what} failed with {error}"))
        })
        .collect();
    let failed = results.iter().filter(|(_, result)| result.is_err());
    let failed = failed.count();
    let replaced = results
        .iter()
        .any(|(what, result)| *what == "rename" && result.is_ok());
    // The disk works again, for the same daemon.
    wrong.extend(look(&*fs, &tree, replaced));
    drop(fs.close());
    drop(fs);
    // And after the next mount.
    let fs = kind
        .open(home.path(), false)
        .map_err(|error| vec![format!("reopen: {error}")])?;
    let again = look(&*fs, &tree, replaced);
    wrong.extend(again.into_iter().map(|what| format!("reopened: {what}")));
    let unfinished: Vec<_> = work(&*fs, "again")
        .into_iter()
        .filter_map(|(what, result)| Some((what, result.err()?)))
        .filter(|(what, error)| !(["rename", "unlink"].contains(what) && is_missing(error)))
        .collect();
    wrong.extend(
        unfinished
            .iter()
            .map(|(what, error)| format!("{what} again: {error}")),
    );
    if let Err(error) = fs.close() {
        wrong.push(format!("close: {error}"));
    }
    if wrong.is_empty() {
        Ok(failed)
    } else {
        Err(wrong)
    }
}
