//! A full disk, through a real mount: what fsync acknowledged is there, the volume can always be emptied, and takes as much
//! again afterwards.
use crate::model::rng::Rng;
use crate::needs;
use crate::programs::machine::{Disk, KINDS, Machine, run};
use cryptfs::directory::check::check;
use cryptfs::fs::{FileSystem, OpenFlags, ROOT, SetAttr};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

const ROUNDS: usize = 20;
const SIZES: [usize; 4] = [100, 1500, 70_000, 300_000];

fn content(number: usize) -> Vec<u8> {
    Rng::bytes(number as u64 + 1, SIZES[number % SIZES.len()])
}

/// Makes files until there is no room. How many were acknowledged. The one that found no room is removed, as programs do
/// that were told: what is left of it would make unmounting say that something was lost.
fn fill(point: &Path) -> usize {
    for number in 0.. {
        let path = point.join(number.to_string());
        let made = File::create(&path).and_then(|mut file| {
            file.write_all(&content(number))
                .and_then(|()| file.sync_all())
        });
        if let Err(error) = made {
            let full = matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            );
            assert!(full, "file {number}: {error}");
            if path.exists() {
                fs::remove_file(path).expect("a file can be removed from a full volume");
            }
            return number;
        }
    }
    unreachable!()
}

fn has(point: &Path, files: usize) {
    for number in 0..files {
        let read = fs::read(point.join(number.to_string()));
        let read = read.unwrap_or_else(|error| panic!("file {number} of {files}: LOST: {error}"));
        assert!(read == content(number), "file {number} of {files}");
    }
}

fn torture(machine: &Machine) {
    let point = machine.mount();
    let mut filled = Vec::new();
    for round in 0..ROUNDS {
        let files = fill(&point);
        has(&point, files);
        if round % 5 == 4 {
            machine.remount();
            has(&point, files);
        }
        filled.push(files);
        for entry in fs::read_dir(&point).expect("readdir") {
            let path = entry.expect("an entry").path();
            fs::remove_file(path).expect("a file can be removed from a full volume");
        }
        File::open(&point)
            .and_then(|dir| dir.sync_all())
            .expect("fsync");
    }
    machine.umount();
    let (least, most) = (filled.iter().min(), filled.iter().max());
    assert!(least > Some(&40), "{filled:?}");
    assert!(least.unwrap() * 10 >= most.unwrap() * 9, "{filled:?}");
    let mut check = machine.cryptfs(&["check"]);
    let said = check.arg(machine.volume()).output().expect("cryptfs");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

/// Takes what space is left on the disk below, to the last block.
fn stuff(disk: &Disk) {
    for size in [1 << 20, 4096, 1] {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(disk.path().join("other"))
            .expect("open");
        let block = vec![1; size];
        while file
            .write_all(&block)
            .and_then(|()| file.sync_data())
            .is_ok()
        {}
    }
}

/// A volume whose disk somebody else has filled is checked, repaired, mounted and emptied.
#[test]
fn a_directory_volume_on_a_full_disk_is_mounted_and_emptied() {
    let disks = [
        ("mkfs.ext4", &["-q", "-m0"][..], "ext4", 32 << 20),
        ("mkfs.xfs", &["-q"][..], "xfs", 320 << 20),
        ("mkfs.btrfs", &["-q", "--mixed"][..], "btrfs", 120 << 20),
    ];
    for (mkfs, how, kind, bytes) in disks {
        if needs::fuse()
            && let Some(disk) = Disk::of(bytes, mkfs, how, kind)
        {
            let machine = Machine::on(&disk, &[]);
            let point = machine.mount();
            for number in 0..4 {
                fs::write(point.join(number.to_string()), content(number)).expect("write");
            }
            machine.umount();
            stuff(&disk);
            run(machine.cryptfs(&["check"]).arg(machine.volume()));
            run(machine
                .cryptfs(&["check", "--repair"])
                .arg(machine.volume()));
            let point = machine.mount();
            has(&point, 4);
            machine.kill_daemon();
            unmount_dead(&point);
            run(machine
                .cryptfs(&["check", "--repair"])
                .arg(machine.volume()));
            let point = machine.mount();
            has(&point, 4);
            fs::remove_file(point.join("3")).expect("remove");
            machine.umount();
            let point = machine.mount();
            has(&point, 3);
            machine.umount();
        }
    }
}

/// Takes a mount away whose daemon is gone.
fn unmount_dead(point: &Path) {
    run(std::process::Command::new("umount").arg("-l").arg(point));
}

/// On a file system with small blocks the space may end inside a unit: what was a hole stays one.
#[test]
fn a_unit_that_came_in_part_is_a_hole_again() {
    if !needs::fuse() {
        return;
    }
    let Some(disk) = Disk::of(24 << 20, "mkfs.ext4", &["-q", "-m0", "-b1024"], "ext4") else {
        return;
    };
    let home = disk.path().join("tree");
    fs::create_dir(&home).expect("mkdir");
    let tree = crate::directory::open(&home);
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let made = tree.create(ROOT, OsStr::new("a"), 0o644, flags, &crate::directory::me());
    let (entry, handle) = made.expect("create");
    let size = 4 << 20;
    let set = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    tree.setattr(entry.node, &set).expect("grow");
    tree.sync().expect("sync");
    let mut torn = 0;
    for spare in 1..4 {
        let reserve = disk.path().join("reserve");
        let other = File::create(&reserve).expect("create");
        let length = spare * 1024 + 8192;
        rustix::fs::fallocate(&other, rustix::fs::FallocateFlags::empty(), 0, length)
            .expect("reserve");
        stuff(&disk);
        fs::remove_file(&reserve).expect("remove");
        for at in (spare * 1_000_000..).step_by(4064).take(100) {
            match tree.write(entry.node, handle, at, &[7; 4064], false) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.errno(), rustix::io::Errno::NOSPC.raw_os_error());
                    torn += 1;
                    break;
                }
            }
        }
        fs::remove_file(disk.path().join("other")).expect("remove");
    }
    assert!(torn > 0);
    let checked = check(&tree, false, &(), &mut |finding| panic!("{finding:?}"));
    assert_eq!(checked.expect("check").findings, 0);
}

#[test]
fn a_full_image_is_emptied_and_filled_again() {
    if needs::fuse() {
        torture(&Machine::new(&["--image", "--size", "32M"]));
    }
}

#[test]
fn a_full_disk_below_is_emptied_and_filled_again() {
    for kind in KINDS {
        if needs::fuse()
            && let Some(disk) = Disk::new(32 << 20)
        {
            torture(&Machine::on(&disk, kind));
        }
    }
}
