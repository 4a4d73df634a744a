//! What an image shows to someone without its keys: pages that are zeros, and pages that are noise.
use super::{bytes, find, fresh, put};
use crate::kinds::ImageVolume;
use cryptfs::fs::{FileSystem, SetXattr};
use cryptfs::image::layout::PAGE;
use std::collections::HashSet;
use std::ffi::OsStr;

/// The same contents, attributes and all but the same names, many times, then changed and removed.
fn repetitive(image: &dyn FileSystem) {
    for number in 0..200 {
        let path = format!("/{}{number}", "n".repeat(200));
        let length = [100, 1500, 20_000][number % 3];
        put(image, &path, &vec![0; length]).expect("put");
        let node = find(image, &path).expect("find");
        let name = OsStr::new("user.same");
        image
            .setxattr(node, name, &[7; 500], SetXattr::Either)
            .expect("setxattr");
        if number % 40 == 0 {
            put(image, "/changed", &bytes(1, 40_000)).expect("put");
            image.sync().expect("sync");
        }
    }
}

#[test]
fn pages_are_zeros_or_noise() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 16);
    repetitive(&image);
    image.close().expect("close");
    let stored = std::fs::read(home.path().join(ImageVolume::NAME)).expect("read");
    let (mut blocks, mut used) = (HashSet::new(), 0);
    for (page, bytes) in stored.chunks(PAGE).enumerate() {
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        used += 1;
        let new = bytes.chunks(16).all(|block| blocks.insert(block));
        assert!(new, "page {page}: 16 bytes that are there before");
        let mut counts = [0_i32; 256];
        bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
        let spread: i32 = counts.iter().map(|count| (count - 16).pow(2)).sum();
        // Chi squared with 255 degrees of freedom: 8 standard deviations.
        assert!(spread / 16 < 436, "page {page}: {}", spread / 16);
    }
    assert!(used > 400, "{used} pages");
}
