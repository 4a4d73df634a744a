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
