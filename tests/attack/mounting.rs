//! Mounting: on the directory that was checked, and not fooled by the mounts of others.
use super::home::{Home, KINDS, NOBODY, can_attack, open_to_all};
use crate::mount::served::options;
use cryptfs::fuse::{Point, Session, Unmounter};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Somebody who may rename in the parent directory puts another directory in the place of the one that was checked.
#[test]
fn a_directory_put_in_place_of_the_mount_point_is_not_covered() {
    if !crate::needs::fuse() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let [point, moved] = ["point", "moved"].map(|name| dir.path().join(name));
    fs::create_dir(&point).expect("mkdir");
    let options = options("");
    let checked = Point::check(&point, Path::new("/nonexistent"), &options).expect("fit");
    fs::rename(&point, &moved).expect("rename");
    fs::create_dir(&point).expect("mkdir");
    fs::write(point.join("victim"), "seen").expect("write");
    let mounted = Session::mount(&checked, &options, Arc::new(Unmounter::here()));
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let covered = |path: &Path| {
        table
            .lines()
            .any(|line| line.split(' ').nth(4) == path.to_str())
    };
    assert!(!covered(&point), "{table}");
    // fusermount3 takes paths only: then the mount is refused.
    assert_eq!(covered(&moved), mounted.is_ok(), "{table}");
    assert!(mounted.is_ok() || !rustix::process::geteuid().is_root());
    assert_eq!(
        fs::read_to_string(point.join("victim")).expect("read"),
        "seen"
    );
    if mounted.is_err() {
        let _ = std::process::Command::new("fusermount3")
            .arg("-uz")
            .arg(&moved)
            .status();
    }
}

/// A mount that only calls itself by the image's name must not get the request.
#[test]
fn a_snapshot_is_not_asked_of_another_users_mount() {
    if !can_attack("another user") {
        return;
    }
    let (victim, attacker) = (Home::new(KINDS[1]), Home::of(NOBODY, KINDS[1]));
    open_to_all(&victim.path(""));
    let image = victim.path("volume");
    attacker.mount(&format!("fsname={}", image.to_str().expect("UTF-8")));
    for options in ["", "fsname=shown,subtype=special"] {
        victim.mount(options);
        let name = format!("before{}", options.len());
        victim.succeeds(&["snapshot", "create", "volume", &name]);
        victim
            .succeeds(&["snapshot", "list", "volume"])
            .says(&[&name]);
        victim.succeeds(&["backup", "volume", &format!("copy{}", options.len())]);
        victim.succeeds(&["snapshot", "delete", "volume", &name]);
        victim.succeeds(&["umount", "mount"]);
    }
    let listed = attacker.succeeds(&["snapshot", "list", "volume"]);
    assert_eq!(listed.out, "", "the attacker's image got the snapshot");
    attacker.succeeds(&["umount", "mount"]);
}

/// `mount -f` of mount(8): everything but the mount.
#[test]
fn a_fake_mount_mounts_nothing() {
    if !crate::needs::fuse() {
        return;
    }
    let home = Home::new(KINDS[0]);
    let (volume, point) = (home.path("volume"), home.point());
    let [volume, point] = [&volume, &point].map(|path| path.to_str().expect("UTF-8"));
    for flags in [&["-f"][..], &["-sfnv"], &["--fake"]] {
        let arguments = [&[volume, point], flags, &["-o", "rw,nofail"]].concat();
        home.succeeds(&arguments);
        assert!(!home.is_mounted());
    }
    home.run(&[volume, point, "-f", "-o", "colour"])
        .fails(64, &["colour"]);
    home.run(&[volume, "/nonexistent", "-f"])
        .fails(16, &["does not exist"]);
    fs::remove_dir_all(home.path("keys")).expect("remove");
    home.run(&[volume, point, "-f"]).fails(11, &["keys"]);
}

/// mount(8) with `user` in fstab gives its helper root's HOME, and services have none at all.
#[test]
fn the_home_of_another_user_is_not_where_the_keystore_is() {
    if !can_attack("another user") {
        return;
    }
    let home = Home::of(NOBODY, KINDS[0]);
    let database = fs::read_to_string("/etc/passwd").expect("a user database");
    let line = database
        .lines()
        .find(|line| line.split(':').nth(2) == Some("65534"));
    let directory = line
        .and_then(|line| line.split(':').nth(5))
        .expect("nobody");
    for said in [Some("/root"), None] {
        let mut command = home.command(env!("CARGO_BIN_EXE_cryptfs"));
        command
            .env_remove("CRYPTFS_KEYSTORE")
            .env_remove("XDG_DATA_HOME")
            .env_remove("HOME");
        command.envs(said.map(|said| ("HOME", said)));
        let said = command
            .args(["mount", "volume", "mount"])
            .output()
            .expect("run")
            .into();
        crate::transcripts::Said::fails(&said, 11, &[directory]);
    }
}
