//! A listing that goes on while entries come and go: what was there all the time is seen once, nothing twice.
use super::rng::Rng;
use crate::kinds::ALL;
use cryptfs::fs::{Caller, FileSystem, Handle, ROOT, Rename};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};

/// Makes something; its name never comes again.
fn make(fs: &dyn FileSystem, rng: &mut Rng, number: &mut u64, prefix: &str) -> OsString {
    *number += 1;
    let long = if rng.once(8) {
        "x".repeat(180)
    } else {
        String::new()
    };
    let name = OsString::from(format!("{prefix}{number}{long}"));
    let caller = Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..CALLER
    };
    let entry = match rng.below(3) {
        0 => fs.mkdir(ROOT, &name, 0o755, &caller),
        1 => fs.symlink(ROOT, &name, OsStr::new("t"), &caller),
        _ => fs.mknod(ROOT, &name, 0o100644, 0, &caller),
    };
    fs.forget(entry.expect("make").node, 1);
    name
}

fn remove(fs: &dyn FileSystem, name: &OsStr) {
    if fs.unlink(ROOT, name).is_err() {
        fs.rmdir(ROOT, name).expect("rmdir");
    }
}

/// Lists a few entries from an offset; gives where to go on.
fn part(
    fs: &dyn FileSystem,
    handle: Handle,
    offset: u64,
    room: u64,
    seen: &mut HashMap<OsString, u32>,
) -> Option<u64> {
    let (mut next, mut left) = (None, room);
    let listed = fs.readdir(ROOT, handle, offset, &mut |entry| {
        if left == 0 {
            return true;
        }
        left -= 1;
        next = Some(entry.next);
        *seen.entry(entry.name.to_owned()).or_default() += 1;
        false
    });
    listed.expect("readdir");
    next
}

#[test]
fn a_listing_survives_changes() {
    for kind in ALL {
        let home = tempfile::tempdir().expect("a directory");
        kind.create(home.path());
        let fs = kind.open(home.path(), false).expect("open the volume");
        let (mut rng, mut number) = (Rng::new(5), 0);
        let stable: Vec<OsString> = (0..150)
            .map(|_| make(&*fs, &mut rng, &mut number, "stable"))
            .collect();
        let mut fleeting: Vec<OsString> = (0..150)
            .map(|_| make(&*fs, &mut rng, &mut number, "f"))
            .collect();
        for _ in 0..10 {
            let handle = fs.opendir(ROOT).expect("opendir");
            let (mut seen, mut offset) = (HashMap::new(), 0);
            while let Some(next) = part(&*fs, handle, offset, 1 + rng.below(9), &mut seen) {
                offset = next;
                let which = rng.below(fleeting.len() as u64) as usize;
                match rng.below(3) {
                    0 => fleeting.push(make(&*fs, &mut rng, &mut number, "f")),
                    1 if fleeting.len() > 10 => remove(&*fs, &fleeting.swap_remove(which)),
                    _ => {
                        number += 1;
                        let new = OsString::from(format!("renamed{number}"));
                        let old = std::mem::replace(&mut fleeting[which], new.clone());
                        fs.rename((ROOT, &old), (ROOT, &new), Rename::NoReplace)
                            .expect("rename");
                    }
                }
            }
            fs.releasedir(ROOT, handle);
            for name in &stable {
                let times = seen.get(name).copied().unwrap_or(0);
                assert_eq!(
                    times,
                    1,
                    "{}: {name:?} was listed {times} times",
                    kind.name()
                );
            }
            let twice = seen.iter().find(|(_, times)| **times > 1);
            assert_eq!(twice, None, "{}", kind.name());
            let odd = seen.keys().find(|name| !is_ours(name));
            assert_eq!(odd, None, "{}", kind.name());
        }
        fs.close().expect("close");
    }
}

/// Renames every entry as soon as it is listed, under a name that comes behind all others where the store has it so; twice, so that
/// its first name is there again.
#[test]
fn a_walk_that_renames_what_it_finds_ends() {
    const COUNT: usize = 400;
    for kind in ALL {
        let home = tempfile::tempdir().expect("a directory");
        kind.create(home.path());
        let fs = kind.open(home.path(), false).expect("open the volume");
        let (mut rng, mut number) = (Rng::new(9), 0);
        let stable: Vec<OsString> = (0..COUNT)
            .map(|_| make(&*fs, &mut rng, &mut number, "stable"))
            .collect();
        (0..COUNT).for_each(|_| drop(make(&*fs, &mut rng, &mut number, "f")));
        let handle = fs.opendir(ROOT).expect("opendir");
        for _ in 0..2 {
            let (mut seen, mut offset, mut steps) = (HashMap::new(), 0, 0);
            loop {
                let mut now = HashMap::new();
                let Some(next) = part(&*fs, handle, offset, 1, &mut now) else {
                    break;
                };
                offset = next;
                steps += 1;
                assert!(steps < 20 * COUNT, "{}: the walk does not end", kind.name());
                for name in now.into_keys() {
                    if name.as_bytes().starts_with(b"f") {
                        let rename = |from: &OsStr, to: &OsStr| {
                            let renamed = fs.rename((ROOT, from), (ROOT, to), Rename::NoReplace);
                            renamed.expect("rename");
                        };
                        rename(&name, OsStr::new("temporary"));
                        rename(OsStr::new("temporary"), &name);
                    }
                    *seen.entry(name).or_default() += 1;
                }
            }
            for name in &stable {
                assert_eq!(seen.get(name), Some(&1), "{}: {name:?}", kind.name());
            }
        }
        fs.releasedir(ROOT, handle);
        fs.close().expect("close");
    }
}

/// A place in a listing means the same after a remount.
#[test]
fn a_listing_goes_on_after_a_remount() {
    for kind in ALL {
        let home = tempfile::tempdir().expect("a directory");
        kind.create(home.path());
        let fs = kind.open(home.path(), false).expect("open the volume");
        let (mut rng, mut number) = (Rng::new(3), 0);
        let stable: Vec<OsString> = (0..300)
            .map(|_| make(&*fs, &mut rng, &mut number, "stable"))
            .collect();
        let handle = fs.opendir(ROOT).expect("opendir");
        let mut seen = HashMap::new();
        let mut offset = part(&*fs, handle, 0, 100, &mut seen).expect("a part");
        fs.close().expect("close");
        drop(fs);
        let fs = kind.open(home.path(), false).expect("open the volume");
        let handle = fs.opendir(ROOT).expect("opendir");
        while let Some(next) = part(&*fs, handle, offset, 7, &mut seen) {
            offset = next;
            let name = make(&*fs, &mut rng, &mut number, "f");
            remove(&*fs, &name);
        }
        let once = |name: &OsString| seen.get(name) == Some(&1);
        assert!(stable.iter().all(once), "{}", kind.name());
        fs.close().expect("close");
    }
}

fn is_ours(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name == b"."
        || name == b".."
        || [&b"f"[..], b"stable", b"renamed"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
