//! What lies below is changed behind a mounted volume's back: an error there and nowhere else, and the daemon lives.
use crate::model::rng::Rng;
use crate::needs;
use crate::programs::machine::{Disk, KINDS, Machine, run};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const SIZE: usize = 60_000;

fn content(file: u64) -> Vec<u8> {
    Rng::bytes(file + 1, SIZE)
}

/// A mounted volume with files 0 to 9, none of which the kernel or the daemon remembers.
fn ten(machine: &Machine) -> PathBuf {
    let point = machine.mount();
    for file in 0..10 {
        fs::write(point.join(file.to_string()), content(file)).expect("write");
    }
    fs::create_dir(point.join("dir")).expect("mkdir");
    fs::write(point.join("dir/below"), content(10)).expect("write");
    machine.remount();
    point
}

/// Backing files by inode number, which the mount shows too.
fn backing(volume: &Path) -> BTreeMap<u64, PathBuf> {
    let mut found = BTreeMap::new();
    let mut left = vec![volume.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).expect("readdir") {
            let path = entry.expect("an entry").path();
            let stat = fs::symlink_metadata(&path).expect("stat");
            if stat.is_dir() {
                left.push(path.clone());
            }
            found.insert(stat.ino(), path);
        }
    }
    found
}

/// Reads a file past the kernel's cache: what can be read is what was written.
fn read(path: &Path, file: u64) -> io::Result<()> {
    let mut data = Vec::new();
    File::open(path)?.read_to_end(&mut data)?;
    match content(file).starts_with(&data) {
        true if data.len() == SIZE => Ok(()),
        true => panic!("{}: {} bytes and no error", path.display(), data.len()),
        false => panic!("{}: other bytes", path.display()),
    }
}

/// The error of something that must fail.
#[track_caller]
fn fails<T>(done: io::Result<T>, with: &[Errno]) {
    let code = done.err().and_then(|error| error.raw_os_error());
    let with: Vec<_> = with
        .iter()
        .map(|errno| Some(errno.raw_os_error()))
        .collect();
    assert!(with.contains(&code), "{code:?} instead of {with:?}");
}

#[test]
fn files_that_are_cut_replaced_or_removed_are_errors_alone() {
    if !needs::fuse() {
        return;
    }
    let machine = Machine::new(KINDS[0]);
    let point = ten(&machine);
    let below = backing(&machine.volume());
    let of = |file: &str| {
        let ino = fs::metadata(point.join(file)).expect("stat").ino();
        below[&ino].clone()
    };
    let held = File::open(point.join("1")).expect("open");
    let cut = of("0");
    let [removed, replaced, flipped] = ["1", "2", "3"].map(of);
    File::options()
        .write(true)
        .open(&cut)
        .and_then(|file| file.set_len(20_000))
        .expect("cut");
    fs::remove_file(&removed).expect("remove");
    fs::write(&replaced, vec![7; 70_000]).expect("replace");
    let file = File::options().write(true).open(&flipped).expect("open");
    file.write_all_at(&[0x5a; 64], 30_000).expect("flip");

    fails(read(&point.join("0"), 0), &[Errno::IO]);
    // That it is open nobody told us.
    fails(held.read_exact_at(&mut [0; SIZE], 0), &[Errno::STALE]);
    fails(read(&point.join("2"), 2), &[Errno::IO]);
    fails(read(&point.join("3"), 3), &[Errno::IO]);
    // Other pages of a damaged file can be read and written.
    let file = File::options()
        .read(true)
        .write(true)
        .open(point.join("3"))
        .expect("open");
    let mut head = vec![0; 8000];
    file.read_exact_at(&mut head, 0).expect("read");
    assert!(content(3).starts_with(&head));
    for file in 4..10 {
        read(&point.join(file.to_string()), file).expect("the others are as they were");
    }
    drop((held, file));

    fs::remove_dir_all(of("dir")).expect("remove");
    fails(
        read(&point.join("dir/below"), 10),
        &[Errno::NOENT, Errno::IO, Errno::STALE],
    );
    fails(
        fs::write(point.join("dir/new"), "x"),
        &[Errno::NOENT, Errno::IO, Errno::STALE],
    );
    fs::write(point.join("new"), "all the same").expect("the rest takes files");
    machine.remount();
    // Its inode may have the number of one that was removed: nothing of that one shows in it.
    let new = fs::read(point.join("new")).expect("read");
    assert_eq!(String::from_utf8_lossy(&new), "all the same");
    assert!(!point.join("1").exists());
    read(&point.join("9"), 9).expect("read");
    machine.umount();
}

#[test]
fn a_volume_removed_below_its_mount_leaves_a_daemon_that_answers() {
    for kind in KINDS {
        if !needs::fuse() {
            return;
        }
        let machine = Machine::new(kind);
        let point = ten(&machine);
        let volume = machine.volume();
        if volume.is_dir() {
            fs::remove_dir_all(&volume).expect("remove");
            fails(
                read(&point.join("0"), 0),
                &[Errno::NOENT, Errno::IO, Errno::STALE],
            );
            fails(
                fs::write(point.join("new"), "x"),
                &[Errno::NOENT, Errno::IO, Errno::STALE],
            );
        } else {
            fs::remove_file(&volume).expect("remove");
            // The daemon has it open: all is there until it ends.
            read(&point.join("0"), 0).expect("read");
        }
        assert!(fs::metadata(&point).is_ok());
        end(&machine, &point);
    }
}

/// Unmounts, which may say that not all could be written.
fn end(machine: &Machine, point: &Path) {
    let ended = machine.cryptfs(&["umount"]).arg(point).output();
    let said = String::from_utf8(ended.expect("cryptfs").stderr).expect("UTF-8");
    assert!(
        said.is_empty() || said.contains("not everything was written"),
        "{said}"
    );
    let left = fs::read_dir(point).expect("the bare mount point");
    assert_eq!(left.count(), 0, "still mounted");
}

#[test]
fn an_image_cut_below_its_mount_gives_errors_and_no_other_bytes() {
    if !needs::fuse() {
        return;
    }
    let machine = Machine::new(KINDS[1]);
    let point = ten(&machine);
    let image = File::options()
        .write(true)
        .open(machine.volume())
        .expect("open");
    let length = image.metadata().expect("stat").len();
    image.set_len(100 << 12).expect("cut");
    image.set_len(length).expect("grow");
    let failed = (0..10).filter_map(|file| read(&point.join(file.to_string()), file).err());
    let failed: Vec<_> = failed.collect();
    assert!(!failed.is_empty(), "nothing lay behind the cut");
    for error in failed {
        fails::<()>(Err(error), &[Errno::IO]);
    }
    assert!(fs::metadata(&point).is_ok());
    end(&machine, &point);
}

#[test]
fn a_lost_disk_is_an_error_until_it_is_unmounted() {
    for kind in KINDS {
        let Some(disk) = needs::fuse().then(|| Disk::new(64 << 20)).flatten() else {
            return;
        };
        let machine = Machine::on(&disk, kind);
        let point = ten(&machine);
        read(&point.join("0"), 0).expect("read");
        disk.lose();
        // What is in a cache may still be read.
        let failed = (1..10).filter_map(|file| read(&point.join(file.to_string()), file).err());
        let failed: Vec<_> = failed.collect();
        assert!(!failed.is_empty(), "the lost disk was still read");
        for error in failed {
            fails::<()>(Err(error), &[Errno::IO]);
        }
        let written = File::create(point.join("new")).and_then(|file| {
            file.write_all_at(b"x", 0)?;
            file.sync_all()
        });
        fails(written, &[Errno::IO, Errno::ROFS]);
        assert!(fs::metadata(&point).is_ok(), "the daemon lives");
        end(&machine, &point);
    }
}

#[test]
fn a_read_only_disk_takes_no_writer_and_serves_readers() {
    for kind in KINDS {
        let Some(disk) = needs::fuse().then(|| Disk::new(64 << 20)).flatten() else {
            return;
        };
        let machine = Machine::on(&disk, kind);
        let point = ten(&machine);
        machine.umount();
        disk.remount("ro");
        let volume = machine.volume();
        for command in [&["mount"][..], &["check", "--repair"]] {
            let mut writer = machine.cryptfs(command);
            writer.arg(&volume);
            if command == ["mount"] {
                writer.arg(&point);
            }
            let output = writer.output().expect("cryptfs");
            let said = String::from_utf8_lossy(&output.stderr);
            let code = if command == ["mount"] { 1 } else { 8 };
            assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
            assert!(said.contains("cannot be written to"), "{command:?}: {said}");
        }
        let mut mount = machine.cryptfs(&["mount", "-o", "ro"]);
        run(mount.arg(&volume).arg(&point));
        for file in 0..10 {
            read(&point.join(file.to_string()), file).expect("read");
        }
        fails(fs::write(point.join("new"), "x"), &[Errno::ROFS]);
        machine.umount();
        run(machine.cryptfs(&["check"]).arg(&volume));
    }
}

#[test]
fn a_directory_replaced_below_its_mount_shows_what_is_its_own() {
    if !needs::fuse() {
        return;
    }
    let machine = Machine::new(KINDS[0]);
    let point = ten(&machine);
    fs::create_dir(point.join("other")).expect("mkdir");
    fs::write(point.join("other/theirs"), content(11)).expect("write");
    let below = backing(&machine.volume());
    let of = |name: &str| below[&fs::metadata(point.join(name)).expect("stat").ino()].clone();
    let (dir, other) = (of("dir"), of("other"));
    let away = machine.home().join("away");
    fs::rename(&dir, &away).expect("rename");
    fs::rename(&other, &dir).expect("rename");
    // Its names do not open under the id of the directory that was here.
    fails(
        read(&point.join("dir/below"), 10),
        &[Errno::NOENT, Errno::IO, Errno::STALE],
    );
    assert!(!point.join("dir/theirs").exists(), "a name of another one");
    for file in 0..10 {
        read(&point.join(file.to_string()), file).expect("the others are as they were");
    }
    fs::rename(&dir, &other).expect("rename");
    fs::rename(&away, &dir).expect("rename");
    machine.remount();
    read(&point.join("dir/below"), 10).expect("put back");
    read(&point.join("other/theirs"), 11).expect("put back");
    machine.umount();
}
