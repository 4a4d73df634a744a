//! A full volume says so, can always be emptied, and is whole again afterwards.
use super::{bytes, find, fresh, put, sound};
use cryptfs::fs::{FileSystem, ROOT};
use cryptfs::image::layout;
use rustix::io::Errno;
use std::ffi::OsStr;

#[test]
fn fill_and_empty_again_and_again() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 16);
    let mut filled = Vec::new();
    for round in 0..12_u64 {
        let mut count = 0;
        loop {
            let length = [100, 1500, 5000, 70_000][(count + round) as usize % 4];
            match put(&image, &format!("/{count}"), &bytes(count + 1, length)) {
                Ok(()) => count += 1,
                Err(error) => {
                    assert_eq!(error.errno(), Errno::NOSPC.raw_os_error());
                    break;
                }
            }
        }
        let left = image.statfs().expect("statfs").bavail;
        assert!(left < 40, "{left} pages are left");
        filled.push(count);
        for number in 0..=count {
            let gone = image.unlink(ROOT, OsStr::new(&number.to_string()));
            assert!(
                gone.is_ok() || number == count,
                "unlink on a full volume: {gone:?}"
            );
        }
        if round % 4 == 3 {
            sound(&image);
        }
    }
    let (least, most) = (filled.iter().min(), filled.iter().max());
    assert!(
        most.unwrap() - least.unwrap() < most.unwrap() / 10,
        "{filled:?}"
    );
    image.close().expect("close");
}

#[test]
fn a_sparse_file_of_a_tebibyte_takes_next_to_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 16);
    put(&image, "/sparse", b"begin").expect("put");
    let node = find(&image, "/sparse").expect("find");
    for place in [1 << 40, 1 << 30, (1 << 40) + 5_000_000] {
        image.write(node, 0, place, b"data", false).expect("write");
    }
    let attr = image.getattr(node).expect("getattr");
    assert!(attr.size > 1 << 40 && attr.blocks <= 4 * 8, "{attr:?}");
    image.sync().expect("sync");
    let mut buf = [1; 8];
    assert_eq!(
        image.read(node, 0, (1 << 40) - 4, &mut buf).expect("read"),
        8
    );
    assert_eq!(&buf, b"\0\0\0\0data");
    sound(&image);
}

/// What is freed goes back to the file system below, if that can take it.
#[test]
fn freed_space_is_punched_out() {
    use std::os::unix::fs::MetadataExt;
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 64);
    let blocks = || {
        let path = home.path().join(crate::kinds::ImageVolume::NAME);
        std::fs::metadata(path).expect("metadata").blocks()
    };
    put(&image, "/a", &bytes(1, 20 << 20)).expect("put");
    image.sync().expect("sync");
    let before = blocks();
    let node = find(&image, "/a").expect("find");
    image.unlink(ROOT, OsStr::new("a")).expect("unlink");
    image.forget(node, u64::MAX);
    image.close().expect("close");
    assert!(
        blocks() < before - (15 << 11),
        "{before} blocks, then {}",
        blocks()
    );
}

/// Grows and shrinks with everything in it, also where pages have to move; what does not fit is refused.
#[test]
fn another_size() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 16);
    for number in 0..80 {
        put(&image, &format!("/{number}"), &bytes(number + 1, 100_000)).expect("put");
    }
    let file = crate::kinds::ImageVolume.fd(home.path());
    let want = super::look(&image).0;
    for mib in [48, 40, 16, 24, 12, 64] {
        file.set_len(64 << 20).expect("grow the file");
        image.resize(mib << 20, &()).expect("resize");
        let total = image.statfs().expect("statfs").blocks;
        assert!(total > (mib << 8) - 40 - layout::log(16 << 8) && total < mib << 8);
        // What is written goes to all places.
        for number in 80..(mib * 5).max(90) {
            let done = put(&image, &format!("/{number}"), &bytes(number + 1, 190_000));
            let _ = done.map_err(|error| assert_eq!(error.errno(), Errno::NOSPC.raw_os_error()));
        }
        sound(&image);
        let tight = image.resize(8 << 20, &());
        assert!(tight.is_err());
        for number in 80..(mib * 5).max(90) {
            if let Ok(entry) = image.lookup(ROOT, OsStr::new(&number.to_string())) {
                image
                    .unlink(ROOT, OsStr::new(&number.to_string()))
                    .expect("unlink");
                image.forget(entry.node, 2);
            }
        }
        image.sync().expect("sync");
        file.set_len(mib << 20).expect("cut the file");
        let again = super::look(&image).0;
        assert!(again == want, "after {mib} MiB");
        sound(&image);
    }
    image.close().expect("close");
    drop(image);
    assert!(super::look(&super::open(home.path())).0 == want);
}
