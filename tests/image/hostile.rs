//! Every page of a small image replaced by an older authentic version of itself, exchanged, zeroed, flipped: an error
//! where that page is needed, and everything else as it was. Never other data, never a panic.
use super::{ME, bytes, fresh, look, put};
use crate::kinds::ImageVolume;
use cryptfs::fs::{FileSystem, ROOT, SetXattr};
use cryptfs::image::{Image, OpenError, Options, check, layout};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: usize = layout::PAGE;

/// A small volume with something of everything, changed over several commits; its bytes at each of them.
fn history(dir: &Path) -> Vec<Vec<u8>> {
    let image = fresh(dir, 8);
    let path = dir.join(ImageVolume::NAME);
    let mut states = Vec::new();
    let deep = image
        .mkdir(ROOT, OsStr::new("d"), 0o755, &ME)
        .expect("mkdir");
    image
        .symlink(deep.node, OsStr::new("link"), OsStr::new("../target"), &ME)
        .expect("symlink");
    for round in 0..8_u64 {
        for number in 0..30 {
            let length = [0, 20, 700, 1500, 3000, 9000][(number % 6) as usize];
            put(
                &image,
                &format!("/d/{number:040}"),
                &bytes(round * 64 + number + 1, length),
            )
            .expect("put");
        }
        put(&image, "/big", &bytes(round + 1, 300_000)).expect("put");
        image
            .setxattr(
                deep.node,
                OsStr::new("user.a"),
                &bytes(round + 1, 4000),
                SetXattr::Either,
            )
            .expect("setxattr");
        image.sync().expect("sync");
        states.push(std::fs::read(&path).expect("read the image"));
    }
    image.close().expect("close");
    drop(image);
    *states.last_mut().expect("states") = std::fs::read(&path).expect("read the image");
    states
}

fn options(generation: u64) -> Options {
    Options {
        read_only: true,
        expected_generation: generation,
        ..Options::default()
    }
}

/// Opens and looks. Whatever can be seen is what was there; true if anything could not be.
fn harmed(dir: &Path, generation: u64, want: &super::BTreeMap<Vec<u8>, super::Seen>) -> bool {
    let image = match ImageVolume.open_on(dir, &options(generation)) {
        Ok(image) => image,
        Err(OpenError::Fs(_) | OpenError::RolledBack { .. } | OpenError::NoSuperblock) => {
            return true;
        }
        Err(error) => panic!("{error}"),
    };
    let (seen, lost) = look(&image);
    let mut missing = !lost.is_empty();
    for (path, item) in &seen {
        let want = want.get(path).expect("a file that never was");
        let content_same = item.content.is_err() || item.content == want.content;
        let attr_same = item.attr.is_err() || item.attr == want.attr;
        let xattrs_same = item.xattrs.is_err() || item.xattrs == want.xattrs;
        assert!(
            content_same && attr_same && xattrs_same,
            "{path:?}: wrong data"
        );
        missing |= item.content.is_err() || item.attr.is_err() || item.xattrs.is_err();
    }
    assert!(
        missing || seen.len() == want.len(),
        "files are missing without an error"
    );
    missing
}

/// Pages that the newest generation refers to, and the slot of its superblock.
fn needed(image: &Image) -> BTreeSet<u64> {
    let mut pages: BTreeSet<u64> = image.used().into_iter().flatten().collect();
    let count = layout::pages(8 << 20);
    for page in layout::fixed(count, layout::log(count))
        .into_iter()
        .flatten()
    {
        pages.remove(&page);
    }
    pages.insert(layout::slot(image.generation()));
    pages
}

/// What reading does not need (the map of used pages) stops a mount for writing, and check finds it.
fn found(dir: &Path, generation: u64) -> bool {
    let Ok(image) = ImageVolume.open_on(dir, &options(generation)) else {
        return true;
    };
    let mut found = 0;
    check::check(&image, false, &(), &mut |_| found += 1).expect("check runs");
    found > 0
}

#[test]
fn every_page_is_proved() {
    let home = tempfile::tempdir().expect("a directory");
    let states = history(home.path());
    let now = states.last().expect("states").clone();
    let (want, generation, needed) = {
        let image = ImageVolume.open_on(home.path(), &options(0)).expect("open");
        (look(&image).0, image.generation(), needed(&image))
    };
    assert!(!harmed(home.path(), generation, &want));
    let file = ImageVolume.fd(home.path());
    let page_of = |state: &[u8], page: u64| state[page as usize * PAGE..][..PAGE].to_vec();
    let write = |bytes: &[u8], page: u64| {
        let written = file.write_all_at(bytes, page * PAGE as u64);
        written.expect("write");
    };
    let mut tried = [0; 4];
    // After a clean end no page of the log is needed, and none that is put back is heeded.
    let log = layout::LOG..layout::LOG + layout::log(layout::pages(8 << 20));
    for page in 0..layout::pages(8 << 20) {
        let (here, is_needed) = (page_of(&now, page), needed.contains(&page));
        let mut flipped = here.clone();
        flipped[(page as usize * 37) % PAGE] ^= 1 << (page % 8);
        let other = *needed.iter().find(|other| **other > page).unwrap_or(&32);
        let mut forgeries = vec![(0, vec![0; PAGE]), (1, flipped), (2, page_of(&now, other))];
        let older: BTreeSet<_> = states.iter().map(|state| page_of(state, page)).collect();
        forgeries.extend(older.into_iter().map(|old| (3, old)));
        if !is_needed {
            // To exchange it would harm the other one.
            forgeries.retain(|(way, _)| *way < 2 || *way == 3 && log.contains(&page));
        }
        for (way, forged) in forgeries.into_iter().filter(|(_, forged)| *forged != here) {
            write(&forged, page);
            if way == 2 {
                write(&here, other);
            }
            let harmed = harmed(home.path(), generation, &want);
            let noticed = harmed || found(home.path(), generation);
            assert_eq!(noticed, is_needed, "page {page}, way {way}");
            tried[way] += 1;
            write(&here, page);
            write(&page_of(&now, other), other);
        }
    }
    assert!(
        needed.len() > 100 && tried[3] > 100,
        "too little was tried: {tried:?}"
    );
    eprintln!("zeroed, flipped, exchanged, older: {tried:?}");
}

/// An image that lies as it did some commits ago opens only where that is accepted.
#[test]
fn an_older_image_is_refused_where_a_newer_was_seen() {
    let home = tempfile::tempdir().expect("a directory");
    let states = history(home.path());
    let generation = {
        let image = ImageVolume.open_on(home.path(), &options(0)).expect("open");
        image.generation()
    };
    let file = ImageVolume.fd(home.path());
    file.write_all_at(&states[3], 0).expect("write");
    let refused = ImageVolume.open_on(home.path(), &options(generation));
    assert!(matches!(refused, Err(OpenError::RolledBack { seen, .. }) if seen == generation));
    let accepted = Options {
        accept_rollback: true,
        ..options(generation)
    };
    let image = ImageVolume.open_on(home.path(), &accepted).expect("open");
    super::sound(&image);
}

/// An image cut anywhere is refused, or is an error where the missing pages are needed.
#[test]
fn a_cut_image_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    history(home.path());
    let file = ImageVolume.fd(home.path());
    for length in (0..8_u64 << 20).rev().step_by(200_001) {
        file.set_len(length).expect("cut");
        let opened = ImageVolume.open_on(home.path(), &options(0));
        assert!(matches!(
            opened,
            Err(OpenError::Cut { .. } | OpenError::NoSuperblock)
        ));
    }
}
