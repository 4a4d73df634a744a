//! One file and one directory in many hands, through the kernel: O_TRUNC against write, rename against lookup, unlink
//! against read, listings while entries come and go. A checker reads along.
use crate::model::rng::Rng;
use crate::needs;
use crate::programs::machine::{KINDS, Machine, run};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

const WORDS: u64 = 4000;
const STAYING: usize = 150;

fn rounds() -> u64 {
    let rounds = std::env::var("CRYPTFS_THREADS").ok();
    100 * rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// Words from one on, each of which says where it belongs.
fn words(first: u64, count: u64, seed: u64) -> Vec<u8> {
    let word = |index: u64| (index << 32 | seed & 0xffff_ffff | 1).to_le_bytes();
    (first..first + count).flat_map(word).collect()
}

/// Each word is of its place, whoever wrote it, or zero: the file may have been cut and have grown again.
fn judge(first: u64, bytes: &[u8]) {
    for (index, word) in (first..).zip(bytes.as_chunks().0) {
        let word = u64::from_le_bytes(*word);
        assert!(
            word == 0 || word >> 32 == index,
            "word {index} is {word:#x}"
        );
    }
}

/// Done, or not because of what the others do.
fn race<T>(done: io::Result<T>) -> Option<T> {
    let fine = [Errno::NOENT, Errno::STALE].map(|errno| Some(errno.raw_os_error()));
    done.map_err(|error| assert!(fine.contains(&error.raw_os_error()), "{error}"))
        .ok()
}

/// The file is under one of two names.
fn open(dir: &Path, how: &OpenOptions) -> File {
    let names = ["file", "other"].into_iter().cycle().take(10_000);
    names
        .filter_map(|name| race(how.open(dir.join(name))))
        .next()
        .expect("the file has one of its names")
}

fn rewrite(dir: &Path, rng: &mut Rng) {
    let file = open(dir, OpenOptions::new().write(true).truncate(true));
    let mut at = 0;
    while at < WORDS {
        let count = (1 + rng.below(1500)).min(WORDS - at);
        let data = words(at, count, rng.next());
        file.write_all_at(&data, at * 8).expect("write");
        at += count;
    }
}

fn change(dir: &Path, rng: &mut Rng) {
    let file = open(dir, OpenOptions::new().write(true));
    let at = rng.below(WORDS);
    match rng.below(8) {
        0 => file.set_len(at * 8).expect("set the length"),
        1 => file.sync_data().expect("fsync"),
        _ => {
            let data = words(at, 1 + rng.below(WORDS - at), rng.next());
            file.write_all_at(&data, at * 8).expect("write");
        }
    }
}

fn read(dir: &Path, rng: &mut Rng) {
    let file = open(dir, OpenOptions::new().read(true));
    let at = rng.below(WORDS);
    let mut data = vec![0; 8 * WORDS as usize];
    let count = file.read_at(&mut data, at * 8).expect("read");
    judge(at, &data[..count]);
}

fn rename(dir: &Path, _: &mut Rng) {
    for (from, to) in [("file", "other"), ("other", "file")] {
        fs::rename(dir.join(from), dir.join(to)).expect("rename");
    }
}

/// What was unlinked can be read to its end by who has it open.
fn unlink(dir: &Path, rng: &mut Rng) {
    let path = dir.join("gone");
    let data = words(0, 1 + rng.below(WORDS), rng.next());
    fs::write(&path, &data).expect("write");
    let file = File::open(&path).expect("open");
    fs::remove_file(&path).expect("unlink");
    let mut left = vec![0; data.len() + 1];
    let count = file.read_at(&mut left, 0).expect("read");
    assert!(left[..count] == data, "an unlinked file changed");
}

fn come_and_go(dir: &Path, rng: &mut Rng) {
    let path = dir.join(format!("coming {}", rng.below(100)));
    match rng.below(2) {
        0 => drop(File::create(path).expect("create")),
        _ => drop(race(fs::remove_file(path))),
    }
}

fn list(dir: &Path, _: &mut Rng) {
    let mut seen = HashMap::new();
    for entry in fs::read_dir(dir).expect("readdir") {
        let name = entry.expect("an entry").file_name();
        *seen.entry(name).or_insert(0) += 1;
    }
    for number in 0..STAYING {
        let name = format!("staying {number}");
        let count = seen.get(std::ffi::OsStr::new(&name));
        assert_eq!(count, Some(&1), "{name} in a listing");
    }
}

#[test]
fn many_hands_do_no_damage() {
    let hands: [fn(&Path, &mut Rng); 10] = [
        rewrite,
        rewrite,
        change,
        change,
        read,
        read,
        rename,
        unlink,
        come_and_go,
        list,
    ];
    for kind in KINDS {
        if !needs::fuse() {
            return;
        }
        let machine = Machine::new(kind);
        let dir = machine.mount();
        fs::write(dir.join("file"), words(0, WORDS, 1)).expect("write");
        for number in 0..STAYING {
            File::create(dir.join(format!("staying {number}"))).expect("create");
        }
        thread::scope(|scope| {
            for (seed, hand) in (1..).zip(hands) {
                let (dir, mut rng) = (&dir, Rng::new(seed));
                scope.spawn(move || (0..rounds()).for_each(|_| hand(dir, &mut rng)));
            }
        });
        machine.remount();
        judge(0, &fs::read(dir.join("file")).expect("read"));
        list(&dir, &mut Rng::new(0));
        machine.umount();
        run(machine.cryptfs(&["check"]).arg(machine.volume()));
    }
}
