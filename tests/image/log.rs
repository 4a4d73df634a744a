//! The log: what an fsync costs, and what becomes of an image that crashed with records in it.
use super::{ME, Seen, bytes, find, fresh, look, open, put, sound};
use crate::kinds::ImageVolume;
use cryptfs::fs::{Error, FileSystem, ROOT, Rename, Result};
use cryptfs::image::device::{Op, Recorder};
use cryptfs::image::{Image, OpenError, Options, check, layout};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

const PAGE: usize = layout::PAGE;
const MIB: u64 = 16;

/// Where each record begins, and how many pages it has.
#[derive(Default)]
struct Tape(Mutex<Vec<Op>>);

impl Recorder for Tape {
    fn record(&self, op: Op) {
        self.0.lock().expect("no panic").push(op);
    }
}

fn recorded(dir: &Path, tape: &Arc<Tape>) -> Image {
    let options = Options {
        recorder: Some(tape.clone()),
        ..Options::default()
    };
    ImageVolume.open_on(dir, &options).expect("open")
}

fn in_log(page: u64) -> bool {
    (layout::LOG..layout::LOG + layout::log(MIB << 8)).contains(&page)
}

/// Whether a page is the tree's, or content.
fn is_trees(page: u64) -> bool {
    let fixed = layout::fixed(MIB << 8, layout::log(MIB << 8));
    !fixed.iter().any(|range| range.contains(&page))
}

/// First page and pages of each write.
fn writes(ops: &[Op]) -> Vec<(u64, u64)> {
    ops.iter()
        .filter_map(|op| match op {
            Op::Write { offset, data } => Some((offset / PAGE as u64, (data.len() / PAGE) as u64)),
            Op::Punch { .. } | Op::Flush => None,
        })
        .collect()
}

#[test]
fn an_fsync_writes_a_page_and_flushes_once() {
    let home = tempfile::tempdir().expect("a directory");
    fresh(home.path(), MIB).close().expect("close");
    let tape = Arc::new(Tape::default());
    let image = recorded(home.path(), &tape);
    put(&image, "/a", &bytes(1, 40_000)).expect("put");
    image.sync().expect("sync");
    tape.0.lock().expect("no panic").clear();
    let node = find(&image, "/a").expect("find");
    image
        .write(node, 0, 8192, &bytes(2, PAGE), false)
        .expect("write");
    image.sync().expect("sync");
    let ops = tape.0.lock().expect("no panic");
    let [(data, 1), (record, 1)] = writes(&ops)[..] else {
        panic!("the page and the record are written, and nothing else");
    };
    assert!(!in_log(data) && in_log(record));
    assert_eq!(ops.len(), 3);
    assert_eq!(ops.last(), Some(&Op::Flush));
}

/// An image that crashed: its bytes, what was there after each of its records, and where these are.
struct Crashed {
    bytes: Vec<u8>,
    generation: u64,
    looks: Vec<BTreeMap<Vec<u8>, Seen>>,
    records: Vec<(u64, u64)>,
    /// Where the content that each of them refers to was written.
    contents: Vec<Vec<(u64, u64)>>,
}

/// Some records, of one page and of more, with content of their own and without. `before`: logs that were there before.
fn crashed(dir: &Path, before: u64) -> Crashed {
    let image = fresh(dir, MIB);
    for round in 0..before {
        put(&image, "/earlier", &bytes(round + 50, 9000)).expect("put");
        image.sync().expect("sync");
    }
    put(&image, "/old", &bytes(9, 50_000)).expect("put");
    image.close().expect("close");
    drop(image);
    let tape = Arc::new(Tape::default());
    let image = recorded(dir, &tape);
    let mut crashed = Crashed {
        bytes: Vec::new(),
        generation: 0,
        looks: vec![look(&image).0],
        records: Vec::new(),
        contents: Vec::new(),
    };
    for round in 1..6_u64 {
        tape.0.lock().expect("no panic").clear();
        for number in 0..2 * round {
            let length = [1500, 9000, 30][(number % 3) as usize];
            put(
                &image,
                &format!("/{round}-{number}"),
                &bytes(round * 16 + number, length),
            )
            .expect("put");
        }
        put(&image, "/old", &bytes(round, 50_000)).expect("put");
        image.sync().expect("sync");
        let writes = writes(&tape.0.lock().expect("no panic"));
        let (records, content): (Vec<_>, Vec<_>) = writes.iter().partition(|(at, _)| in_log(*at));
        assert_eq!(records.len(), 1, "a sync is a record: {writes:?}");
        crashed.records.extend(records);
        crashed.contents.push(content);
        crashed.looks.push(look(&image).0);
    }
    crashed.generation = image.generation();
    drop(image); // without close
    crashed.bytes = std::fs::read(dir.join(ImageVolume::NAME)).expect("read");
    crashed
}

/// Read-only or not, an image shows what its records say, again and again; a commit makes it the tree's.
#[test]
fn what_the_log_says_is_there() {
    let home = tempfile::tempdir().expect("a directory");
    let crashed = crashed(home.path(), 3);
    let last = crashed.looks.last().expect("looks");
    for _ in 0..2 {
        let image = ImageVolume.open_on(home.path(), &to_read()).expect("open");
        assert!(look(&image).0 == *last);
        sound(&image);
    }
    let image = open(home.path());
    assert!(look(&image).0 == *last);
    sound(&image);
    let generation = image.generation();
    drop(image); // nothing was changed
    let image = open(home.path());
    assert_eq!(image.generation(), generation);
    put(&image, "/new", b"new").expect("put");
    image.sync().expect("sync");
    let now = look(&image).0;
    drop(image);
    let image = open(home.path());
    assert!(look(&image).0 == now && image.generation() > generation);
    sound(&image);
}

/// Every page of the log damaged in turn: without the last record the image is as it was before that, which nobody can
/// tell from a power cut; where one before it is missing the image is refused, and put right without it.
#[test]
fn a_log_with_a_hole_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let crashed = crashed(home.path(), 3);
    let file = ImageVolume.fd(home.path());
    let page_at = |page: u64| crashed.bytes[page as usize * PAGE..][..PAGE].to_vec();
    let last = crashed.records.len() - 1;
    for (index, (first, count)) in crashed.records.iter().enumerate() {
        for page in *first..first + count {
            let mut flipped = page_at(page);
            flipped[(page as usize * 101) % PAGE] ^= 4;
            let log = layout::LOG..layout::LOG + layout::log(MIB << 8);
            let others = log.filter(|other| *other != page).map(page_at);
            for forged in [vec![0; PAGE], flipped].into_iter().chain(others) {
                file.write_all_at(&crashed.bytes, 0).expect("write");
                file.write_all_at(&forged, page * PAGE as u64)
                    .expect("write");
                match ImageVolume.open_on(home.path(), &to_read()) {
                    Ok(image) => {
                        assert_eq!(index, last, "page {page}");
                        assert!(look(&image).0 == crashed.looks[last]);
                    }
                    Err(OpenError::BrokenLog) => assert!(index < last, "page {page}"),
                    Err(error) => panic!("{error}"),
                }
            }
            if index < last {
                repaired(home.path(), &crashed.looks[index], crashed.generation);
            }
        }
    }
}

/// A check tells, a repair goes on with what was there before the missing record, also where what came after it was seen.
fn repaired(dir: &Path, want: &BTreeMap<Vec<u8>, Seen>, seen: u64) {
    for repair in [false, true] {
        let options = Options {
            read_only: !repair,
            accept_broken_log: true,
            expected_generation: seen,
            ..Options::default()
        };
        let image = ImageVolume.open_on(dir, &options).expect("open");
        let mut found = Vec::new();
        check::check(&image, repair, &(), &mut |finding| {
            found.push(finding.clone())
        })
        .expect("check");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0].problem, found[0].repaired),
            (&check::Problem::Log, repair)
        );
        assert!(look(&image).0 == *want);
    }
    let image = open(dir);
    assert!(look(&image).0 == *want);
    sound(&image);
}

/// Content of the last record that is not there: a power cut, and the record never counted. Of an earlier one, which was
/// durable: an error at its place, also where of the record after it there is only a part.
#[test]
fn a_record_without_its_content() {
    let home = tempfile::tempdir().expect("a directory");
    let crashed = crashed(home.path(), 0);
    let file = ImageVolume.fd(home.path());
    let write = |bytes: &[u8], page: u64| {
        let written = file.write_all_at(bytes, page * PAGE as u64);
        written.expect("write");
    };
    let last = crashed.records.len() - 1;
    let (cut, pages) = crashed.records[last];
    assert!(pages > 1);
    let mut errors = 0;
    for (record, part_of_last) in [(last, false), (last - 1, false), (last - 1, true)] {
        let contents = crashed.contents[record].iter();
        for page in contents.flat_map(|(first, count)| *first..first + count) {
            write(&crashed.bytes, 0);
            write(&[0; PAGE], page);
            if part_of_last {
                write(&[0; PAGE], cut);
            }
            let image = open(home.path());
            let (seen, lost) = look(&image);
            assert!(lost.is_empty());
            let want = &crashed.looks[if record == last || part_of_last {
                last
            } else {
                last + 1
            }];
            if record == last {
                assert!(seen == *want, "page {page}");
                sound(&image);
                continue;
            }
            assert!(seen.keys().eq(want.keys()));
            for (path, seen) in &seen {
                match seen.content {
                    Err(_) => errors += 1,
                    Ok(_) => assert!(*seen == want[path], "page {page}: {path:?}"),
                }
            }
        }
    }
    assert!(errors > 3, "{errors}");
}

/// Logs go round their area, through sessions that end well and that do not.
#[test]
fn a_log_goes_round() {
    let home = tempfile::tempdir().expect("a directory");
    drop(fresh(home.path(), MIB));
    let tape = Arc::new(Tape::default());
    let mut begun = std::collections::BTreeSet::new();
    for session in 0..30_u64 {
        let image = recorded(home.path(), &tape);
        for round in 0..1 + session * 3 {
            let name = format!("/{}", (session + round) % 7);
            put(&image, &name, &bytes(session * 64 + round, 3000)).expect("put");
            if round % 5 == 4 {
                let _ = image.unlink(ROOT, OsStr::new(&name[1..]));
            }
            image.sync().expect("sync");
        }
        let now = look(&image).0;
        if session % 3 == 0 {
            image.close().expect("close");
        }
        drop(image);
        let ops = std::mem::take(&mut *tape.0.lock().expect("no panic"));
        begun.extend(
            writes(&ops)
                .into_iter()
                .map(|(first, _)| first)
                .filter(|at| in_log(*at)),
        );
        let image = open(home.path());
        assert!(look(&image).0 == now, "session {session}");
        sound(&image);
    }
    assert!(begun.len() as u64 > layout::log(MIB << 8) / 2, "{begun:?}");
}

/// Writes zeros over a page.
fn zero(dir: &Path, page: u64) {
    let file = ImageVolume.fd(dir);
    file.write_all_at(&[0; PAGE], page * PAGE as u64)
        .expect("write");
}

/// A log is that of one superblock, and not of another of the same generation: what a lost superblock's log said does not come
/// to the one that took its place, nor does it tell anything of that one's log.
#[test]
fn a_log_belongs_to_its_superblock() {
    for stale in 1..4 {
        let home = tempfile::tempdir().expect("a directory");
        let image = fresh(home.path(), MIB);
        put(&image, "/f", &bytes(7, 40_000)).expect("put");
        image.close().expect("close");
        drop(image);
        let image = open(home.path());
        put(&image, "/x", b"x").expect("put");
        image.close().expect("close");
        let lost = image.generation();
        drop(image);
        let image = open(home.path());
        for number in 0..stale {
            put(&image, "/y", &bytes(number, 9)).expect("put");
            image.sync().expect("sync");
        }
        drop(image);
        zero(home.path(), layout::slot(lost));
        let image = open(home.path());
        put(&image, "/z", b"zzz").expect("put");
        image.close().expect("close");
        let now = look(&image).0;
        assert_eq!(image.generation(), lost);
        drop(image);
        // A power cut in an fsync: the record is there, the content is not.
        let tape = Arc::new(Tape::default());
        let image = recorded(home.path(), &tape);
        assert!(look(&image).0 == now, "{stale} stale records");
        tape.0.lock().expect("no panic").clear();
        let node = find(&image, "/f").expect("find");
        image
            .write(node, 0, 0, &bytes(8, 36_864), false)
            .expect("write");
        image.sync().expect("sync");
        drop(image);
        let writes = writes(&tape.0.lock().expect("no panic"));
        for page in writes
            .iter()
            .flat_map(|(first, count)| *first..first + count)
        {
            if !in_log(page) {
                zero(home.path(), page);
            }
        }
        let image = open(home.path());
        assert!(look(&image).0 == now, "{stale} stale records");
        sound(&image);
    }
}

/// A node that is damaged costs what is in it, also where the log would change it; the rest can be written.
#[test]
fn a_damaged_node_does_not_keep_the_log_from_the_rest() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), MIB);
    let name = |number: u64| format!("file {number:05}");
    for number in 0..600 {
        put(&image, &format!("/{}", name(number)), b"content").expect("put");
    }
    image.close().expect("close");
    drop(image);
    let image = open(home.path());
    let used = image.used();
    for number in 0..12 {
        put(&image, &format!("/{}", name(number * 50)), b"other content").expect("put");
        image.sync().expect("sync");
    }
    let want = look(&image).0;
    drop(image);
    let bytes = std::fs::read(home.path().join(ImageVolume::NAME)).expect("read");
    let file = ImageVolume.fd(home.path());
    let (mut damaged, mut refused) = (0, 0);
    for page in used.into_iter().flatten().filter(|page| is_trees(*page)) {
        file.write_all_at(&bytes, 0).expect("write");
        zero(home.path(), page);
        let Ok(image) = ImageVolume.open_on(home.path(), &Options::default()) else {
            refused += 1; // the root, a node above the map of used pages, and the map
            continue;
        };
        let (seen, lost) = look(&image);
        damaged += u64::from(!lost.is_empty());
        for (path, seen) in &seen {
            assert!(
                seen.content.is_err() || *seen == want[path],
                "page {page}: {path:?}"
            );
        }
        let _ = put(&image, "/new", b"new");
        image.close().expect("close");
    }
    assert!(
        refused <= 4 && damaged > 10,
        "{refused} refused, {damaged} damaged"
    );
}

/// What is fsynced lies in a leaf that is fine, beside one that is damaged: it does not go to that one.
#[test]
fn a_damaged_neighbour_takes_nothing_from_the_log() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), MIB);
    for number in 0..600 {
        put(&image, &format!("/file {number:05}"), b"content").expect("put");
    }
    image.close().expect("close");
    drop(image);
    let read_bytes = || std::fs::read(home.path().join(ImageVolume::NAME)).expect("read");
    let clean = read_bytes();
    let image = open(home.path());
    let used = image.used();
    // All that is in the last leaf of inodes goes, and others come there.
    for number in 560..600 {
        let unlinked = image.unlink(ROOT, OsStr::new(&format!("file {number:05}")));
        unlinked.expect("unlink");
    }
    let new: Vec<String> = (0..20).map(|number| format!("/new {number:02}")).collect();
    for name in &new {
        put(&image, name, b"new, and durable").expect("put");
    }
    image.sync().expect("sync");
    drop(image);
    let crashed = read_bytes();
    let file = ImageVolume.fd(home.path());
    let damaged = |bytes: &[u8], page: u64, read_only: bool| {
        file.write_all_at(bytes, 0).expect("write");
        zero(home.path(), page);
        let options = Options {
            read_only,
            ..Options::default()
        };
        ImageVolume.open_on(home.path(), &options).ok()
    };
    let last = |image: &Image| read(image, "/file 00599").is_ok();
    let mut tried = 0;
    for page in used.into_iter().flatten().filter(|page| is_trees(*page)) {
        let Some(image) = damaged(&clean, page, true) else {
            continue;
        };
        let missing = |name: &String| matches!(find(&image, name), Err(Error::NotFound));
        if last(&image) && new.iter().all(missing) {
            let Some(image) = damaged(&crashed, page, false) else {
                continue;
            };
            tried += 1;
            for name in &new {
                let found = read(&image, name).unwrap_or_else(|e| panic!("page {page}: {e}"));
                assert_eq!(found, b"new, and durable", "page {page}");
            }
        }
    }
    assert!(tried > 20, "{tried}");
}

fn read(image: &Image, path: &str) -> Result<Vec<u8>> {
    let node = find(image, path)?;
    let mut buf = vec![0; 100];
    let count = image.read(node, 0, 0, &mut buf)?;
    buf.truncate(count);
    Ok(buf)
}

/// To follow a log takes no more pages than the session had that wrote it.
#[test]
fn a_full_image_with_a_log_opens() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 64);
    let file = image
        .mknod(ROOT, OsStr::new("f"), 0o100644, 0, &ME)
        .expect("mknod");
    let name = |number: u64, tail: char| format!("n{number:06}{}{tail}", "p".repeat(52));
    let link = |name: String| {
        image
            .link(file.node, ROOT, OsStr::new(&name))
            .expect("link");
        image.forget(file.node, 1);
    };
    // Leaves that are full.
    const LINKS: u64 = 8000;
    (0..LINKS).for_each(|number| link(name(number, '5')));
    (0..LINKS)
        .filter(|number| number % 14 != 0)
        .for_each(|number| link(name(number, '7')));
    image.close().expect("close");
    put(&image, "/fill", b"").expect("put");
    let fill = find(&image, "/fill").expect("find");
    let chunk = bytes(9, 1 << 20);
    let left = || image.statfs().expect("statfs").bavail;
    for at in 0.. {
        const WANTED: u64 = 800;
        let count = left().saturating_sub(WANTED).min(256) as usize * PAGE;
        if count == 0 {
            break;
        }
        image
            .write(fill, 0, at << 20, &chunk[..count], false)
            .expect("write");
    }
    image.close().expect("close");
    drop(image);
    let image = open(home.path());
    for (step, number) in (0..LINKS).step_by(23).enumerate() {
        let (from, to) = (name(number, '5'), name(number, '1'));
        let renamed = image.rename(
            (ROOT, OsStr::new(&from)),
            (ROOT, OsStr::new(&to)),
            Rename::Replace,
        );
        renamed.expect("rename");
        if step % 50 == 49 {
            image.sync().expect("sync");
        }
    }
    image.sync().expect("sync");
    let want = look(&image).0;
    drop(image);
    for read_only in [true, false] {
        let options = Options {
            read_only,
            ..Options::default()
        };
        let image = ImageVolume.open_on(home.path(), &options).expect("open");
        assert!(look(&image).0 == want);
        sound(&image);
    }
}

fn to_read() -> Options {
    Options {
        read_only: true,
        ..Options::default()
    }
}
