//! Several threads at once: nothing waits for ever, everyone reads what he wrote, and the image is whole afterwards.
use super::{ME, bytes, find, fresh, look, put, sound};
use crate::model::rng::Rng;
use cryptfs::fs::{FileSystem, ROOT, Rename};
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
fn work(image: &cryptfs::image::Image, worker: u64) {
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
