//! The model through system calls: what the kernel caches, delays and merges must not be seen.
use super::served::Served;
use crate::kinds::{ALL, VolumeKind};
use crate::model::tree::Tree;
use crate::model::{Case, Mounted, Profile, Rules, Subject, check};
use crate::needs;
use cryptfs::fs::FileSystem;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Seeds to run: few in everyday runs, `CRYPTFS_MOUNT_SEEDS=from..to` for a long one.
fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("CRYPTFS_MOUNT_SEEDS") else {
        return 0..8;
    };
    let (from, to) = asked
        .split_once("..")
        .expect("CRYPTFS_MOUNT_SEEDS=from..to");
    let number = |text: &str| text.parse().expect("a number");
    number(from)..number(to)
}

fn case(seed: u64, rules: Rules) -> Case {
    Case {
        seed,
        steps: 300,
        every: 10,
        profile: Profile::mounted(),
        // The write-back cache writes times back when it likes.
        rules: Rules {
            ctime: false,
            ..rules
        },
    }
}

/// A mount that is made again whenever the model asks for it.
fn subject(
    point: &Path,
    mut open: impl FnMut() -> Arc<dyn FileSystem> + 'static,
) -> Box<dyn Subject> {
    let at = point.to_owned();
    let mut served = Some(Served::new(open(), &at, ""));
    let remount = move || {
        served.take().expect("mounted").unmount();
        served = Some(Served::new(open(), &at, ""));
    };
    Box::new(Mounted::new(point, Some(Box::new(remount))))
}

/// A directory with the mode that the oracle gives its root, whatever the umask of this run is.
fn fresh(home: &TempDir) -> std::path::PathBuf {
    let made = tempfile::tempdir_in(home).expect("a directory").keep();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&made, mode).expect("chmod");
    made
}

#[test]
fn the_door_adds_nothing_to_the_oracle() {
    if !needs::fuse() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    for seed in seeds() {
        let make = || {
            let tree: Arc<dyn FileSystem> = Arc::new(Tree::new());
            subject(&fresh(&home), move || Arc::clone(&tree))
        };
        check("mounted tree", &case(seed, Rules::default()), &make);
    }
}

#[test]
fn every_kind_agrees_when_mounted() {
    if !needs::fuse() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    for kind in ALL {
        for seed in seeds() {
            let make = || volume(kind, &home);
            check(kind.name(), &case(seed, kind.rules()), &make);
        }
    }
}

fn volume(kind: &'static dyn VolumeKind, home: &TempDir) -> Box<dyn Subject> {
    let dir = fresh(home);
    kind.create(&dir);
    subject(&fresh(home), move || {
        kind.open(&dir, false).expect("open the volume")
    })
}
