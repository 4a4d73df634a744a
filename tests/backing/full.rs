//! A full disk, through a real mount: what fsync acknowledged is there, the volume can always be emptied, and takes as much
//! again afterwards.
use crate::model::rng::Rng;
use crate::needs;
use crate::programs::machine::{Disk, KINDS, Machine};
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
