//! The cases: the oracle against the kernel's own file system, and every kind of volume against the oracle.
use super::{Case, Direct, Mounted, Profile, Rules, Subject, check};
use crate::kinds::{ALL, VolumeKind};
use crate::needs;
use rustix::fs::FallocateFlags;
use std::path::Path;
use tempfile::TempDir;

fn case(seed: u64, profile: Profile, rules: Rules) -> Case {
    Case {
        seed,
        steps: 400,
        every: 5,
        profile,
        rules,
    }
}

/// Seeds to run: few in everyday runs, `CRYPTFS_MODEL_SEEDS=from..to` for a long one.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("CRYPTFS_MODEL_SEEDS") else {
        return 0..few;
    };
    let (from, to) = asked
        .split_once("..")
        .expect("CRYPTFS_MODEL_SEEDS=from..to");
    let number = |text: &str| text.parse().expect("a number");
    number(from)..number(to)
}

/// A fresh directory that any user may enter.
fn fresh(home: &TempDir) -> std::path::PathBuf {
    let root = tempfile::tempdir_in(home).expect("a directory").keep();
    rustix::fs::chmod(&root, 0o755.into()).expect("chmod");
    root
}

#[test]
fn the_oracle_agrees_with_the_kernel() {
    let home = tempfile::tempdir().expect("a directory");
    if !zeroes_ranges(&home) {
        return needs::say("the temporary directory's file system has no FALLOC_FL_ZERO_RANGE");
    }
    needs::root("changes of owner, devices and set-ID bits: this part");
    for seed in seeds(40) {
        let make = || -> Box<dyn Subject> { Box::new(Mounted::new(&fresh(&home), None)) };
        check(
            "kernel",
            &case(seed, Profile::mounted(), Rules::default()),
            &make,
        );
    }
}

/// Whether the kernel's file system is a whole one: tmpfs is not.
fn zeroes_ranges(home: &TempDir) -> bool {
    let file = tempfile::tempfile_in(home).expect("a file");
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, 1).is_ok()
}

#[test]
fn every_kind_agrees_with_the_oracle() {
    let home = tempfile::tempdir().expect("a directory");
    for kind in ALL {
        for seed in seeds(40) {
            let make = || volume(kind, &fresh(&home));
            check(
                kind.name(),
                &case(seed, Profile::direct(), kind.rules()),
                &make,
            );
        }
    }
}

/// A fresh volume, driven through the trait.
fn volume(kind: &'static dyn VolumeKind, dir: &Path) -> Box<dyn Subject> {
    kind.create(dir);
    let dir = dir.to_owned();
    let reopen = Box::new(move || kind.open(&dir, false).expect("open the volume"));
    let profile = Profile::direct();
    Box::new(Direct::new(reopen, &profile.callers, profile.umask))
}
