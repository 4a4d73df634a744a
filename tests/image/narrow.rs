//! A disk below that fills up in the middle of a commit: what fails says so, what is acknowledged afterwards is there after a
//! crash, and nothing else is harmed.
use super::{bytes, find, fresh, look, open, put, sound};
use crate::kinds::ImageVolume;
use crate::programs::machine::Disk;
use cryptfs::fs::{FileSystem, SetAttr};
use cryptfs::image::device::{Op, Recorder};
use cryptfs::image::{Image, Options, layout};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

const PAGE: u64 = layout::PAGE as u64;

/// Fills the disk after so many flushes.
struct Filling {
    dir: PathBuf,
    flushes: AtomicI64,
}

impl Filling {
    fn fill(&self) {
        let ballast = self.dir.join("ballast");
        let file = File::options().append(true).create(true).open(ballast);
        let mut file = file.expect("ballast");
        for size in [4096, 1024] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.dir.join("ballast")).expect("remove");
    }
}

impl Recorder for Filling {
    fn record(&self, op: Op) {
        if op == Op::Flush && self.flushes.fetch_sub(1, SeqCst) == 1 {
            self.fill();
        }
    }
}

/// An image with some content on a small disk, which has space for what is used of it alone, and lets nothing go.
fn image_on(disk: &Disk) -> (Image, Arc<Filling>) {
    let dir = disk.path();
    let image = fresh(&dir, 12);
    for number in 0..20 {
        put(&image, &format!("/{number}"), b"content").expect("put");
    }
    put(&image, "/large", &bytes(1, 400_000)).expect("put");
    image.close().expect("close");
    let (file, used) = (ImageVolume.fd(&dir), image.used());
    drop(image);
    let starts = std::iter::once(0).chain(used.iter().map(|range| range.end));
    for (start, range) in starts.zip(&used) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if range.start > start {
            fallocate(&file, flags, start * PAGE, (range.start - start) * PAGE).expect("punch");
        }
    }
    let filling = Arc::new(Filling {
        dir: dir.clone(),
        flushes: AtomicI64::new(0),
    });
    let options = Options {
        keep_space: true,
        recorder: Some(filling.clone()),
        ..Options::default()
    };
    let image = ImageVolume.open_on(&dir, &options).expect("open");
    (image, filling)
}

fn chmod(image: &Image, path: &str, mode: u32) {
    let set = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    let node = find(image, path).expect("find");
    image.setattr(node, &set).expect("chmod");
    image.forget(node, 1);
}

/// Shows the same after a crash.
fn assert_kept(image: Image, dir: &Path) {
    let want = look(&image).0;
    drop(image);
    for _ in 0..2 {
        let image = open(dir);
        assert!(look(&image).0 == want);
        sound(&image);
    }
}

#[test]
fn a_commit_that_fails_is_no_generation() {
    let Some(disk) = Disk::new(20 << 20) else {
        return;
    };
    // Whatever slot of the ring the next superblock would have.
    for records in [0, 1, 12, 13, 14, 15] {
        let (image, filling) = image_on(&disk);
        for record in 0..records {
            chmod(&image, "/3", 0o600 + record);
            image.sync().expect("sync");
        }
        chmod(&image, "/3", 0o777);
        filling.fill();
        let failed = image.close().is_err();
        let synced = image.sync().is_ok();
        assert!(
            failed && (synced || records == 0),
            "after {records} records"
        );
        filling.empty();
        if !synced {
            image.sync().expect("sync");
        }
        assert_kept(image, &disk.path());
        std::fs::remove_file(disk.path().join(ImageVolume::NAME)).expect("remove");
    }
}

#[test]
fn a_snapshot_that_fails_stands_in_no_record() {
    let Some(disk) = Disk::new(20 << 20) else {
        return;
    };
    let (image, filling) = image_on(&disk);
    put(&image, "/b", b"small").expect("put");
    filling.flushes.store(2, SeqCst); // between its two commits
    assert!(image.create_snapshot(b"snapshot").is_err());
    filling.empty();
    image.sync().expect("sync");
    drop(image);
    let image = open(&disk.path());
    for round in 0..6 {
        put(&image, "/large", &bytes(round + 2, 400_000)).expect("put");
        image.close().expect("close");
    }
    assert_kept(image, &disk.path());
}
