//! Times and names of attributes that must not depend on what the kernel has in its caches.
use crate::needs;
use crate::programs::machine::{KINDS, Machine};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Seconds and nanoseconds of the last changes of content and of attributes.
fn times(path: &Path) -> [i64; 4] {
    let seen = fs::metadata(path).expect("metadata");
    [
        seen.mtime(),
        seen.mtime_nsec(),
        seen.ctime(),
        seen.ctime_nsec(),
    ]
}

fn git(dir: &Path, arguments: &[&str]) -> bool {
    let mut git = Command::new("git");
    git.env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    git.args([
        "-c",
        "user.name=n",
        "-c",
        "user.email=e@x",
        "-c",
        "safe.directory=*",
        "-C",
    ]);
    let done = git.arg(dir).args(arguments).output().expect("git");
    done.status.success()
}

/// Works on files in ways that change their times, each in its own order.
fn work(dir: &Path) {
    for number in 0..40 {
        let path = dir.join(number.to_string());
        fs::write(&path, vec![1; 100 * number]).expect("write");
        match number % 5 {
            0 => fs::set_permissions(&path, mode(0o600)).expect("chmod"),
            1 => fs::rename(&path, dir.join(format!("renamed{number}"))).expect("rename"),
            2 => fs::hard_link(&path, dir.join(format!("link{number}"))).expect("link"),
            3 => File::options()
                .write(true)
                .open(&path)
                .expect("open")
                .set_len(50)
                .expect("cut"),
            _ => drop(fs::read(&path).expect("read")),
        }
    }
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

#[test]
fn files_that_nobody_changed_are_not_changed_after_a_remount() {
    if !needs::fuse() || !needs::program("git") {
        return;
    }
    let machine = Machine::new(KINDS[1]); // a directory volume cannot store it
    let dir = machine.mount();
    work(&dir);
    assert!(git(&dir, &["init", "-q"]) && git(&dir, &["add", "-A"]));
    assert!(git(&dir, &["commit", "-qm", "all"]));
    assert!(git(&dir, &["diff-files", "--quiet"]));
    let names: Vec<_> = fs::read_dir(&dir)
        .expect("list")
        .flatten()
        .map(|e| e.path())
        .collect();
    let files: Vec<_> = names.into_iter().filter(|path| path.is_file()).collect();
    let before: Vec<_> = files.iter().map(|path| times(path)).collect();
    machine.remount();
    let after: Vec<_> = files.iter().map(|path| times(path)).collect();
    assert_eq!(before, after);
    assert!(git(&dir, &["diff-files", "--quiet"]), "git sees changes");
    machine.umount();
}

#[test]
fn what_is_made_in_a_touched_directory_is_not_older_than_the_touch() {
    if !needs::fuse() {
        return;
    }
    for kind in KINDS {
        let machine = Machine::new(kind);
        let dir = machine.mount();
        for round in 0..50 {
            let inside = dir.join(format!("d{round}"));
            fs::create_dir(&inside).expect("mkdir");
            let opened = File::open(&inside).expect("open");
            let now = rustix::fs::Timestamps {
                last_access: now(),
                last_modification: now(),
            };
            rustix::fs::futimens(&opened, &now).expect("touch");
            let touched = fs::metadata(&inside)
                .expect("metadata")
                .modified()
                .expect("a time");
            fs::write(dir.join(format!("f{round}")), "x").expect("write");
            let made = fs::metadata(dir.join(format!("f{round}"))).expect("metadata");
            let made = made.modified().expect("a time");
            assert!(
                made >= touched,
                "{kind:?}: {:?}",
                touched.duration_since(made)
            );
        }
        machine.umount();
    }
}

fn now() -> rustix::fs::Timespec {
    rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    }
}

#[test]
fn only_root_learns_the_names_of_trusted_attributes() {
    if !needs::fuse() || !needs::root("another user") || !needs::program("getfattr") {
        return;
    }
    for kind in KINDS {
        let machine = Machine::new(kind);
        let home = mode(0o755);
        fs::set_permissions(machine.home(), home).expect("chmod");
        let dir = machine.mount_for_others();
        fs::set_permissions(&dir, mode(0o755)).expect("chmod");
        let file = dir.join("f");
        fs::write(&file, "x").expect("write");
        fs::set_permissions(&file, mode(0o644)).expect("chmod");
        for name in ["trusted.secret", "user.plain"] {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&file, name, b"1", flags).expect("setxattr");
        }
        let names = |command: &mut Command| {
            let said = command
                .args(["-m", "-", "--absolute-names"])
                .arg(&file)
                .output();
            String::from_utf8(said.expect("getfattr").stdout).expect("UTF-8")
        };
        let root = names(&mut Command::new("getfattr"));
        assert!(root.contains("trusted.secret"), "{root}");
        let mut other = Command::new("setpriv");
        other.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "getfattr",
        ]);
        let other = names(&mut other);
        assert!(
            other.contains("user.plain") && !other.contains("trusted"),
            "{other}"
        );
        machine.umount();
    }
}
