//! What the door itself adds: caches that must not be seen, and operations that fuser's own loop does not know.
use super::served::Served;
use crate::kinds::{DirectoryVolume, VolumeKind};
use crate::needs;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, StatxFlags};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use tempfile::TempDir;

/// An empty volume.
fn volume() -> TempDir {
    let home = tempfile::tempdir().expect("a directory");
    for name in ["volume", "mount"] {
        fs::create_dir(home.path().join(name)).expect("a directory");
    }
    DirectoryVolume.create(&home.path().join("volume"));
    home
}

fn mount(home: &TempDir, options: &str) -> Served {
    let fs = DirectoryVolume
        .open(&home.path().join("volume"), false)
        .expect("open");
    Served::new(fs, &home.path().join("mount"), options)
}

fn read_write(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .expect("open")
}

#[test]
fn data_that_the_kernel_still_holds_is_no_hole() {
    if !needs::fuse() {
        return;
    }
    // One worker: it must not wait for the writes that it has to serve itself.
    for threads in ["threads=1", "threads=2"] {
        let home = volume();
        let served = mount(&home, threads);
        let file = read_write(&served.point().join("f"));
        file.set_len(4 << 20).expect("truncate");
        file.write_all_at(&[7; 4096], 1 << 20).expect("write");
        let seek = |from| rustix::fs::seek(&file, from).expect("seek");
        assert!(
            (1..=1 << 20).contains(&seek(SeekFrom::Data(0))),
            "{threads}"
        );
        assert!(
            (1 << 20..2 << 20).contains(&seek(SeekFrom::Hole(1 << 20))),
            "{threads}"
        );
        // Many at once, while pages become dirty again.
        std::thread::scope(|scope| {
            for place in 0..8u64 {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..50 {
                        let at = (place << 18) + round * 4096;
                        file.write_all_at(&[9; 100], at).expect("write");
                        let seen = rustix::fs::seek(file, SeekFrom::Data(at)).expect("seek");
                        assert_eq!(seen, at);
                    }
                });
            }
        });
        drop(file);
        served.unmount();
    }
}

#[test]
fn a_time_of_modification_survives_the_kernels_cache() {
    if !needs::fuse() {
        return;
    }
    let home = volume();
    let served = mount(&home, "");
    let times: Vec<_> = (0..100)
        .map(|number| {
            let path = served.point().join(number.to_string());
            let file = read_write(&path);
            file.write_all_at(b"first", 0).expect("write");
            file.sync_data().expect("sync");
            // In the same tick of the kernel's clock, often: it then does not tell the time again.
            file.write_all_at(b"second", 9000).expect("write");
            let seen = file.metadata().expect("stat");
            drop(file);
            (path, seen.modified().expect("a time"))
        })
        .collect();
    served.unmount();
    let served = mount(&home, "");
    for (path, time) in times {
        assert_eq!(
            fs::metadata(path)
                .expect("stat")
                .modified()
                .expect("a time"),
            time
        );
    }
    served.unmount();
}

#[test]
fn operations_that_are_newer_than_fuser() {
    if !needs::fuse() {
        return;
    }
    let home = volume();
    let served = mount(&home, "");
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let nameless = rustix::fs::open(served.point(), flags, Mode::RUSR | Mode::WUSR);
    let mut nameless = File::from(nameless.expect("O_TMPFILE"));
    nameless.write_all(b"content").expect("write");
    assert_eq!(nameless.metadata().expect("stat").nlink(), 0);
    let named = served.point().join("named");
    rustix::fs::linkat(&nameless, "", CWD, &named, AtFlags::EMPTY_PATH)
        .or_else(|_| {
            let link = format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&nameless)
            );
            rustix::fs::linkat(CWD, link, CWD, &named, AtFlags::SYMLINK_FOLLOW)
        })
        .expect("give it a name");
    assert_eq!(fs::read(&named).expect("read"), b"content");

    let btime = |path: &Path| {
        let what = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let seen = rustix::fs::statx(CWD, path, AtFlags::empty(), what).expect("statx");
        StatxFlags::from_bits_retain(seen.stx_mask).contains(StatxFlags::BTIME)
    };
    assert_eq!(
        btime(&named),
        btime(home.path()),
        "where the backing store keeps it"
    );

    let copy = read_write(&served.point().join("copy"));
    let copied = rustix::fs::copy_file_range(&nameless, Some(&mut 0), &copy, Some(&mut 0), 7);
    assert_eq!(copied, Ok(7));
    rustix::fs::syncfs(&copy).expect("syncfs");
    drop((nameless, copy));
    served.unmount();
}

#[test]
fn threads_do_not_meet_in_the_door() {
    if !needs::fuse() {
        return;
    }
    let home = volume();
    let served = mount(&home, "threads=4");
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let directory = served.point().join(thread.to_string());
            scope.spawn(move || busy(&directory, thread));
        }
    });
    let names = served.point().read_dir().expect("readdir").count();
    assert_eq!(names, 8);
    served.unmount();
}

fn busy(directory: &Path, seed: u8) {
    fs::create_dir(directory).expect("mkdir");
    let data: Vec<u8> = (0..300_000u32).map(|i| (i % 253) as u8 ^ seed).collect();
    for round in 0..20 {
        let (old, new) = (directory.join("old"), directory.join(format!("new{round}")));
        let mut file = read_write(&old);
        file.write_all(&data).expect("write");
        file.rewind().expect("seek");
        let mut back = Vec::new();
        file.read_to_end(&mut back).expect("read");
        assert!(back == data, "thread {seed}, round {round}");
        fs::rename(&old, &new).expect("rename");
        assert!(
            fs::read(&new).expect("read") == data,
            "thread {seed}, round {round}"
        );
    }
    for round in 0..20 {
        fs::remove_file(directory.join(format!("new{round}"))).expect("unlink");
    }
    assert_eq!(directory.read_dir().expect("readdir").count(), 0);
}
