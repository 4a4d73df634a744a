//! Snapshots keep what was, cost what changed, and give it back.
use super::{bytes, fresh, look, open, put, sound};
use crate::kinds::ImageVolume;
use cryptfs::fs::{Error, FileSystem, ROOT};
use cryptfs::image::Options;
use std::ffi::OsStr;

fn change(image: &cryptfs::image::Image, round: u64) {
    for number in 0..20 {
        if (number + round).is_multiple_of(3) {
            let length = [10, 1000, 9000, 100_000][(number % 4) as usize];
            put(
                image,
                &format!("/{number}"),
                &bytes(round * 32 + number + 1, length),
            )
            .expect("put");
        }
    }
    let _ = image.unlink(ROOT, OsStr::new(&(round % 20).to_string()));
}

#[test]
fn each_snapshot_shows_what_was() {
    let home = tempfile::tempdir().expect("a directory");
    let mut image = fresh(home.path(), 32);
    let mut shown = Vec::new();
    for round in 0..9 {
        change(&image, round);
        if round % 2 == 0 {
            image
                .create_snapshot(format!("s{round}").as_bytes())
                .expect("create");
            shown.push((format!("s{round}"), look(&image)));
        }
        if round == 4 {
            image.close().expect("close");
            drop(image);
            image = open(home.path());
        }
    }
    assert!(matches!(image.create_snapshot(b"s2"), Err(Error::Exists)));
    // In an order that takes the first, the last and those between.
    for name in ["s4", "s0", "s8", "s2", "s6"] {
        for (name, want) in &shown {
            let options = Options {
                snapshot: Some(name.as_bytes().to_vec()),
                ..Options::default()
            };
            let old = ImageVolume
                .open_on(home.path(), &options)
                .expect("open a snapshot");
            assert_eq!(&look(&old), want);
            let refused = old.unlink(ROOT, OsStr::new("1"));
            assert!(matches!(refused, Err(Error::ReadOnly)));
        }
        sound(&image);
        image.delete_snapshot(name.as_bytes()).expect("delete");
        shown.retain(|(other, _)| other != name);
        change(&image, 30);
        image.sync().expect("sync");
    }
    sound(&image);
    assert!(image.snapshots().expect("snapshots").is_empty());
}

/// A copy made while the volume is in use is the volume of one moment; the next one costs what changed.
#[test]
fn a_backup_is_one_moment() {
    use cryptfs::fs::Progress;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
    #[derive(Default)]
    struct Count(AtomicU64);
    impl Progress for Count {
        fn total(&self, _: u64) {}
        fn done(&self, units: u64) {
            self.0.fetch_add(units, Relaxed);
        }
    }
    let home = tempfile::tempdir().expect("a directory");
    let other = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 32);
    (0..6).for_each(|round| change(&image, round));
    image.create_snapshot(b"old").expect("create");
    let target = other.path().join(ImageVolume::NAME);
    let file = std::fs::File::create_new(&target).expect("make the target");
    file.set_len(32 << 20).expect("set its size");
    let (mut after, mut copied) = (0, Vec::new());
    for round in 0..3 {
        let want = look(&image);
        let done = AtomicBool::new(false);
        let count = Count::default();
        std::thread::scope(|scope| {
            // Changes a file of its own, made before.
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    put(&image, "/busy", &bytes(round + 1, 50_000)).expect("put");
                    image.sync().expect("sync");
                }
            });
            let fd = ImageVolume.fd(other.path());
            let made = image.backup(fd.into(), after, &count);
            done.store(true, Relaxed);
            after = made.expect("backup");
        });
        copied.push(count.0.load(Relaxed));
        let copy = open(other.path());
        sound(&copy);
        let without = |all: &std::collections::BTreeMap<Vec<u8>, super::Seen>| {
            let mut all = all.clone();
            all.remove(&b"/busy"[..]);
            all
        };
        assert_eq!(without(&look(&copy).0), without(&want.0));
        assert_eq!(copy.snapshots().expect("snapshots").len(), 1);
        drop(copy);
        put(&image, "/1", &bytes(round + 77, 9000)).expect("put");
    }
    assert!(copied[1] * 4 < copied[0], "{copied:?}");
    sound(&image);
}
