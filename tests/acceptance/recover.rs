//! `recover VOLUME MOUNTPOINT`: by a person's password alone, from whatever medium.
use crate::needs;
use crate::transcripts::Bench;
use std::path::PathBuf;
use std::process::Command;

/// Something that is mounted over itself for reading only, until this is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn of(path: PathBuf) -> Self {
        let mount = |how: &[&str]| {
            let mut command = Command::new("mount");
            assert!(
                command
                    .args(how)
                    .arg(&path)
                    .status()
                    .expect("mount")
                    .success()
            );
        };
        let path_text = path.to_str().expect("a plain path");
        mount(&["--bind", path_text]);
        mount(&["-o", "remount,bind,ro"]);
        Self(path)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const KINDS: [&[&str]; 2] = [&["volume"], &["--image", "--size", "16M", "volume"]];

/// A volume with one file; its recovery password.
fn volume(kind: &[&str]) -> (Bench, String) {
    let bench = Bench::empty();
    let said = bench.init(kind);
    std::fs::create_dir(bench.path("point")).expect("made");
    bench.cryptfs(&["mount", "volume", "point"], "").says(&[]);
    std::fs::write(bench.path("point/file"), "content").expect("written");
    bench.cryptfs(&["umount", "point"], "").says(&[]);
    (bench, said.field("Recovery password:"))
}

fn is_there(bench: &Bench) {
    let content = std::fs::read(bench.path("point/file"));
    assert_eq!(content.expect("read"), b"content");
    bench.cryptfs(&["umount", "point"], "").says(&[]);
}

/// A write-protected disk and the sheet, on a computer that has never seen the volume.
#[test]
fn a_read_only_medium_and_the_sheet_are_enough() {
    if !needs::fuse() || !needs::root("a medium that is read-only") {
        return;
    }
    for kind in KINDS {
        let (bench, password) = volume(kind);
        std::fs::remove_dir_all(bench.path("keys")).expect("removed");
        let _medium = ReadOnly::of(bench.path("volume"));
        let said = bench.cryptfs(&["recover", "-o", "ro", "volume", "point"], &password);
        said.says(&[]);
        assert!(!bench.path("keys").exists(), "a keystore was made");
        is_there(&bench);
    }
}

/// The medium can be written, and is to stay as it is.
#[test]
fn recovered_for_reading_a_volume_stays_as_it_is() {
    if !needs::fuse() {
        return;
    }
    for kind in KINDS {
        let (bench, password) = volume(kind);
        std::fs::remove_dir_all(bench.path("keys")).expect("removed");
        let before = bench.snapshot();
        let said = bench.cryptfs(&["recover", "-o", "ro", "volume", "point"], &password);
        said.says(&[]);
        is_there(&bench);
        assert!(before == bench.snapshot(), "something was written");
    }
}

/// No keyfile can be made, and the data is there.
#[test]
fn without_a_keystore_a_recovered_volume_is_mounted_all_the_same() {
    if !needs::fuse() {
        return;
    }
    for kind in KINDS {
        let (bench, password) = volume(kind);
        std::fs::remove_dir_all(bench.path("keys")).expect("removed");
        std::fs::write(bench.path("keys"), "no directory").expect("written");
        let said = bench.cryptfs(&["recover", "volume", "point"], &password);
        said.says(&[]);
        assert!(
            said.err.contains("will not unlock the volume by itself"),
            "{}",
            said.err
        );
        is_there(&bench);
    }
}

#[test]
fn a_password_that_was_used_is_due_once() {
    if !needs::fuse() {
        return;
    }
    let (bench, password) = volume(KINDS[0]);
    let said = bench.cryptfs(&["recover", "volume", "point"], &password);
    said.says(&[]);
    assert_eq!(said.err.matches("key rotate").count(), 1, "{}", said.err);
    is_there(&bench);
}
