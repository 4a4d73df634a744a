//! Several threads at once: nothing waits for ever, everyone reads what he wrote, and the image is whole afterwards.
use super::{ME, bytes, find, fresh, look, put, sound};
use crate::kinds::ImageVolume;
use crate::model::rng::Rng;
use cryptfs::fs::{FileSystem, ROOT, Rename, SetAttr};
use cryptfs::image::device::{Op, Recorder};
use cryptfs::image::{Image, Options};
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn threads_do_not_see_each_other() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 64);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                let image = &image;
                scope.spawn(move || work(image, worker))
            })
            .collect();
        scope.spawn(|| {
            let mut rounds = 0_u64;
            while !done.load(Relaxed) {
                image.sync().expect("sync");
                let name = rounds.to_string();
                if rounds % 8 == 3 {
                    image.create_snapshot(name.as_bytes()).expect("create");
                }
                if rounds % 8 == 7 {
                    let name = (rounds - 4).to_string();
                    image.delete_snapshot(name.as_bytes()).expect("delete");
                }
                let (seen, _) = look(&image);
                assert!(
                    seen.values().all(|item| item.content != Err(5)),
                    "an I/O error"
                );
                rounds += 1;
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    sound(&image);
    image.close().expect("close");
}

/// Works in a directory of its own, and now and then renames in one that all share.
fn work(image: &Image, worker: u64) {
    let mut rng = Rng::new(worker + 1);
    let home = format!("d{worker}");
    image
        .mkdir(ROOT, OsStr::new(&home), 0o755, &ME)
        .expect("mkdir");
    let node = find(image, &home).expect("find");
    for round in 0..300_u64 {
        let number = rng.below(20);
        let path = format!("/{home}/{number}");
        let content = bytes(round + 1, rng.pick(&[10, 1500, 6000, 80_000]));
        put(image, &path, &content).expect("put");
        let file = find(image, &path).expect("find");
        let mut back = vec![0; content.len()];
        assert_eq!(
            image.read(file, 0, 0, &mut back).expect("read"),
            content.len()
        );
        assert!(back == content, "{path} in round {round}");
        image.forget(file, 1);
        if rng.once(4) {
            let from = OsStr::new(&path[home.len() + 2..]);
            let shared = rng.below(4).to_string();
            let to = (ROOT, OsStr::new(&shared));
            image
                .rename((node, from), to, Rename::Replace)
                .expect("rename");
        }
        if rng.once(20) {
            image.fsync(file, 0, false).expect("fsync");
        }
    }
}

/// Pages of one file are written over, read and cut off at once, on an image so full that a page which was replaced is
/// taken again at once: each page that is read is one that was written, whole.
#[test]
fn pages_replaced_while_they_are_read_are_whole() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 8);
    put(&image, "/f", &vec![0; PAGES as usize * PAGE]).expect("put");
    let node = find(&image, "/f").expect("find");
    fill(&image);
    let (done, writers) = (AtomicBool::new(false), 2);
    std::thread::scope(|scope| {
        let (image, done) = (&image, &done);
        let writing: Vec<_> = (0..writers)
            .map(|number| scope.spawn(move || write_over(image, node, number)))
            .collect();
        let mut others = vec![scope.spawn(move || {
            let mut rng = Rng::new(9);
            while !done.load(Relaxed) {
                cut(image, node, rng.below(PAGES));
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        })];
        for number in 0..2 {
            others.push(scope.spawn(move || {
                let mut rng = Rng::new(20 + number);
                while !done.load(Relaxed) {
                    read_whole(image, node, rng.below(PAGES), 1 + rng.below(PAGES));
                }
            }));
        }
        let mut ended: Vec<_> = writing.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Relaxed);
        ended.extend(others.into_iter().map(|thread| thread.join()));
        assert!(ended.iter().all(Result::is_ok));
    });
    sound(&image);
    image.close().expect("close");
}

const PAGE: usize = 4096;
/// Pages of the file above.
const PAGES: u64 = 48;

/// Leaves a few free pages.
fn fill(image: &Image) {
    put(image, "/rest", b"").expect("put");
    let rest = find(image, "/rest").expect("find");
    for page in 0..image
        .statfs()
        .expect("sizes")
        .bavail
        .saturating_sub(PAGES + 90)
    {
        let offset = page * PAGE as u64;
        let page = vec![1; PAGE];
        image.write(rest, 0, offset, &page, false).expect("write");
    }
}

/// Each page says which it is, and who wrote it when, in each of its words.
fn write_over(image: &Image, node: u64, number: u64) {
    let mut rng = Rng::new(number);
    for round in 1..6000_u64 {
        let first = rng.below(PAGES);
        let pages = first..(first + 1 + rng.below(3)).min(PAGES);
        let word = |page: u64| (page << 48 | (number + 1) << 40 | round).to_le_bytes();
        let data: Vec<u8> = pages.flat_map(|page| word(page).repeat(PAGE / 8)).collect();
        let written = image.write(node, 0, first * PAGE as u64, &data, false);
        written.expect("write");
    }
}

fn cut(image: &Image, node: u64, pages: u64) {
    let set = SetAttr {
        size: Some(pages * PAGE as u64),
        ..SetAttr::default()
    };
    image.setattr(node, &set).expect("truncate");
}

fn read_whole(image: &Image, node: u64, first: u64, count: u64) {
    let mut data = vec![0; count as usize * PAGE];
    let read = image.read(node, 0, first * PAGE as u64, &mut data);
    let read = read.expect("read");
    for (page, bytes) in (first..).zip(data[..read].chunks(PAGE)) {
        let (words, rest) = bytes.as_chunks();
        let word = u64::from_le_bytes(words[0]);
        assert!(rest.is_empty() && words.iter().all(|other| *other == words[0]));
        assert!(word == 0 || word >> 48 == page, "page {page} has {word:x}");
    }
}

/// How long the plainest work takes; not a benchmark, a guard against what grows with the number of files.
#[test]
fn a_hundred_thousand_files_are_no_burden() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 512);
    let begun = std::time::Instant::now();
    let dir = image
        .mkdir(ROOT, OsStr::new("d"), 0o755, &ME)
        .expect("mkdir")
        .node;
    for number in 0..100_000 {
        let name = format!("file-{number}");
        let entry = image
            .mknod(dir, OsStr::new(&name), 0o100644, 0, &ME)
            .expect("mknod");
        image
            .write(entry.node, 0, 0, b"some bytes", false)
            .expect("write");
        image.forget(entry.node, 1);
    }
    image.sync().expect("sync");
    let made = begun.elapsed();
    image.close().expect("close");
    drop(image);
    let begun = std::time::Instant::now();
    let image = super::open(home.path());
    let opened = begun.elapsed();
    let begun = std::time::Instant::now();
    let mut count = 0;
    image
        .readdirplus(dir, 0, 0, &mut |_, entry| {
            count += usize::from(entry.is_some());
            false
        })
        .expect("list");
    assert_eq!(count, 100_000);
    let listed = begun.elapsed();
    let begun = std::time::Instant::now();
    for number in 0..100_000 {
        let name = format!("file-{number}");
        image.unlink(dir, OsStr::new(&name)).expect("unlink");
    }
    eprintln!(
        "made {made:?}, opened {opened:?}, listed {listed:?}, unlinked {:?}",
        begun.elapsed()
    );
    assert!(opened.as_secs() < 2);
}

/// A disk below that takes its time to have space back.
struct Slow(AtomicBool);

impl Recorder for Slow {
    fn record(&self, op: Op) {
        if matches!(op, Op::Punch { .. }) && self.0.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Several writers on a full image from which something was just removed: all find room.
#[test]
fn writers_that_reclaim_space_wait_for_each_other() {
    let home = tempfile::tempdir().expect("a directory");
    fresh(home.path(), 64).close().expect("close");
    let slow = Arc::new(Slow(AtomicBool::new(false)));
    let options = Options {
        recorder: Some(slow.clone()),
        ..Options::default()
    };
    let image = ImageVolume.open_on(home.path(), &options).expect("open");
    let new = |name: &str| {
        let made = image.mknod(ROOT, OsStr::new(name), 0o100644, 0, &ME);
        made.expect("mknod").node
    };
    let (large, chunk) = (new("large"), bytes(1, 1 << 20));
    let full = (0..).find(|at| image.write(large, 0, at << 20, &chunk, false).is_err());
    assert!(full.is_some_and(|mib| mib > 40));
    let nodes = ["a", "b", "c", "d"].map(new);
    image.sync().expect("sync");
    slow.0.store(true, Relaxed);
    image.unlink(ROOT, OsStr::new("large")).expect("unlink");
    image.forget(large, 1);
    std::thread::scope(|scope| {
        for node in nodes {
            let (image, chunk) = (&image, &chunk);
            scope.spawn(move || {
                for at in 0..4 {
                    image
                        .write(node, 0, at << 20, chunk, false)
                        .expect("there is room");
                }
            });
        }
    });
    sound(&image);
}
