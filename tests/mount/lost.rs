//! What a program was told is written, and is lost all the same: unmounting fails, and the log has the reason.
use crate::needs;
use crate::programs::machine::{Disk, KINDS, Machine};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// A mounted volume whose daemon writes a log.
struct Mounted {
    machine: Machine,
    point: PathBuf,
}

impl Mounted {
    fn new(machine: Machine) -> Self {
        let log = machine.home().join("log");
        let mut mount = machine.cryptfs(&["mount", "--log"]);
        let point = machine.home().join("mnt");
        let done = mount.arg(log).arg(machine.volume()).arg(&point).status();
        assert!(done.expect("mount").success());
        Self { machine, point }
    }

    /// The exit code of `cryptfs umount`, and the log afterwards.
    fn umount(&self) -> (Option<i32>, String) {
        let mut umount = self.machine.cryptfs(&["umount"]);
        let done = umount.arg(&self.point).output().expect("umount");
        let log = fs::read_to_string(self.machine.home().join("log"));
        (done.status.code(), log.expect("the log"))
    }
}

#[test]
fn an_image_that_cannot_be_written_any_more_says_so_at_the_end() {
    if !needs::fuse() {
        return;
    }
    let Some(disk) = Disk::failing(64 << 20, 24 << 20) else {
        return;
    };
    let mounted = Mounted::new(Machine::on(&disk, &["--image", "--size", "16M"]));
    fs::write(mounted.point.join("old"), "old").expect("write");
    let dir = File::open(&mounted.point).expect("open");
    dir.sync_all().expect("fsync");
    disk.wear_out();
    fs::write(mounted.point.join("acknowledged"), vec![1; 1 << 20]).expect("write");
    assert!(dir.sync_all().is_err());
    assert!(fs::write(mounted.point.join("more"), "x").is_err());
    drop(dir);
    disk.mend();
    let (code, log) = mounted.umount();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the last changes are lost"), "{log}");
}

/// Another program's sync(1) has been told of the failure already.
#[test]
fn a_directory_volume_whose_disk_lost_something_says_so_at_the_end() {
    if !needs::fuse() {
        return;
    }
    let Some(disk) = Disk::failing(64 << 20, 24 << 20) else {
        return;
    };
    let mounted = Mounted::new(Machine::on(&disk, &[]));
    disk.wear_out();
    fs::write(mounted.point.join("acknowledged"), vec![1; 4 << 20]).expect("write");
    let mut sync = Command::new("sync");
    let synced = sync.arg("-f").arg(disk.path()).output().expect("sync");
    assert!(!synced.status.success(), "the disk does not fail");
    disk.mend();
    let (code, log) = mounted.umount();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot close the volume"), "{log}");
}

/// A program that is killed never learns that the pages which it wrote were refused.
#[test]
fn pages_that_a_full_volume_refused_are_lost_unless_their_file_is_gone() {
    if !needs::fuse() {
        return;
    }
    for kind in KINDS {
        for removed in [false, true] {
            let Some(disk) = Disk::new(40 << 20) else {
                return;
            };
            let kind: Vec<_> = kind.iter().map(|word| word.replace("1G", "16M")).collect();
            let kind: Vec<_> = kind.iter().map(String::as_str).collect();
            let mounted = Mounted::new(Machine::on(&disk, &kind));
            let script = "exec 3>\"$0\"; head -c 60000000 /dev/zero >&3; kill -9 $$";
            let mut shell = Command::new("sh");
            let file = mounted.point.join("large");
            let _ = shell.args(["-c", script]).arg(&file).output();
            if removed {
                fs::remove_file(&file).expect("remove");
            }
            let (code, log) = mounted.umount();
            assert!(log.contains("could not be stored"), "{log}");
            assert_eq!(code, Some(i32::from(!removed)), "{log}");
        }
    }
}
