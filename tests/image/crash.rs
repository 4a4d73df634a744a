//! Power cuts: every write and flush of the image is recorded; then the image is made as a power cut may leave it, after
//! every write, with any of the writes since the last flush lost, and the last one torn. It always mounts, everything that
//! was fsynced is there, and check finds nothing.
use super::{ME, Seen, bytes, look, put};
use crate::kinds::ImageVolume;
use crate::model::rng::Rng;
use cryptfs::fs::{FileSystem, ROOT, Rename, SetAttr};
use cryptfs::image::device::{Op, Recorder};
use cryptfs::image::{Image, Options};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Of the volume, and of the file, which is longer so that the volume can grow.
const MIB: u64 = 10;
const FILE_MIB: u64 = 12;

/// What was there, by path.
type Look = BTreeMap<Vec<u8>, Seen>;

enum Step {
    Op(Op),
    /// A sync has returned: this is promised.
    Promised(Look),
}

#[derive(Default)]
struct Tape(Mutex<Vec<Step>>);

impl Recorder for Tape {
    fn record(&self, op: Op) {
        self.0.lock().expect("no panic").push(Step::Op(op));
    }
}

/// Random work on few names, with syncs; what is there at each sync is promised.
fn work(dir: &Path, seed: u64, rounds: u64) -> (Vec<u8>, Vec<Step>) {
    ImageVolume.format(dir, MIB << 20);
    let file = ImageVolume.fd(dir);
    file.set_len(FILE_MIB << 20).expect("grow the file");
    let begun = std::fs::read(dir.join(ImageVolume::NAME)).expect("read");
    let tape = Arc::new(Tape::default());
    let options = Options {
        recorder: Some(tape.clone()),
        ..Options::default()
    };
    let image = ImageVolume.open_on(dir, &options).expect("open");
    let mut rng = Rng::new(seed);
    for round in 0..rounds {
        for _ in 0..1 + rng.below(8) {
            change(&image, &mut rng);
        }
        if round % 5 == 3 && seed.is_multiple_of(2) {
            // What does not fit is refused; the answer is part of the work.
            let _ = image.resize(rng.pick(&[8, 9, 10, 12]) << 20, &());
        }
        if round % 7 == 6 && !seed.is_multiple_of(2) {
            image
                .create_snapshot(round.to_string().as_bytes())
                .expect("snapshot");
        }
        image.sync().expect("sync");
        let promised = Step::Promised(look(&image).0);
        tape.0.lock().expect("no panic").push(promised);
    }
    drop(image);
    let steps = std::mem::take(&mut *tape.0.lock().expect("no panic"));
    (begun, steps)
}

fn change(image: &Image, rng: &mut Rng) {
    let name = |rng: &mut Rng| format!("/{}", rng.below(12));
    let (one, other) = (name(rng), name(rng));
    // Errors (no such file, no space) are part of the work.
    let _ = match rng.below(10) {
        0..5 => {
            let length = rng.pick(&[0, 100, 1600, 4096, 20_000, 150_000]);
            put(image, &one, &bytes(rng.next() | 1, length))
        }
        5 => image.unlink(ROOT, OsStr::new(&one[1..])),
        6 => {
            let (from, to) = (OsStr::new(&one[1..]), OsStr::new(&other[1..]));
            image.rename((ROOT, from), (ROOT, to), Rename::Replace)
        }
        7 => image
            .lookup(ROOT, OsStr::new(&one[1..]))
            .and_then(|entry| image.link(entry.node, ROOT, OsStr::new(&other[1..])))
            .map(drop),
        8 => image
            .mkdir(ROOT, OsStr::new(&one[1..]), 0o700, &ME)
            .map(drop),
        _ => image.lookup(ROOT, OsStr::new(&one[1..])).and_then(|entry| {
            let set = SetAttr {
                size: Some(rng.below(30_000)),
                ..SetAttr::default()
            };
            image.setattr(entry.node, &set).map(drop)
        }),
    };
}

struct Replay<'a> {
    dir: &'a Path,
    file: std::fs::File,
    states: u64,
}

impl Replay<'_> {
    /// `base` is durable, `open` may be lost in any part: mounts, shows what was promised or the commit after it, checks.
    fn judge(&mut self, base: &[u8], open: &[&Op], wanted: &[&Look]) {
        let mut bytes = base.to_vec();
        open.iter().for_each(|op| apply(&mut bytes, op));
        self.file.write_all_at(&bytes, 0).expect("write");
        self.states += 1;
        let image = ImageVolume
            .open_on(self.dir, &Options::default())
            .expect("the image mounts");
        let (seen, lost) = look(&image);
        assert!(lost.is_empty(), "lost: {lost:?}");
        let known = wanted.iter().any(|want| **want == seen);
        assert!(known, "neither what was promised nor the commit after it");
        super::sound(&image);
    }
}

fn apply(bytes: &mut [u8], op: &Op) {
    match op {
        Op::Write { offset, data } => {
            bytes[*offset as usize..][..data.len()].copy_from_slice(data);
        }
        Op::Punch { offset, length } => bytes[*offset as usize..][..*length as usize].fill(0),
        Op::Flush => {}
    }
}

/// Some of the writes, each whole, lost, or torn at a sector.
fn some(open: &[Op], rng: &mut Rng) -> Vec<Op> {
    let mut kept = Vec::new();
    for op in open {
        match (rng.below(5), op) {
            (0 | 1, _) => {}
            (2, Op::Write { offset, data }) => {
                let cut = rng.below(data.len() as u64 / 512 + 1) as usize * 512;
                let (from, part) = match rng.once(2) {
                    true => (0, &data[..cut]),
                    false => (cut, &data[cut..]),
                };
                kept.push(Op::Write {
                    offset: offset + from as u64,
                    data: part.to_vec(),
                });
            }
            _ => kept.push(op.clone()),
        }
    }
    kept
}

/// Replays one piece of work: after each write all of them and some of them.
fn replay(seed: u64, rounds: u64, samples: u64) -> u64 {
    let home = tempfile::tempdir().expect("a directory");
    let (mut base, steps) = work(home.path(), seed, rounds);
    let (file, dir) = (ImageVolume.fd(home.path()), home.path());
    let mut replay = Replay {
        dir,
        file,
        states: 0,
    };
    let promised: Vec<(usize, &Look)> = steps
        .iter()
        .enumerate()
        .filter_map(|(at, step)| match step {
            Step::Promised(look) => Some((at, look)),
            Step::Op(_) => None,
        })
        .collect();
    let empty = BTreeMap::from([(
        Vec::new(),
        Seen {
            attr: Ok((cryptfs::fs::Kind::Directory, 0o755, 2, 4096)),
            content: Ok(Vec::new()),
            xattrs: Ok(Vec::new()),
        },
    )]);
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut open: Vec<Op> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Op(Op::Flush) => {
                open.drain(..).for_each(|op| apply(&mut base, &op));
            }
            Step::Op(op) => open.push(op.clone()),
            Step::Promised(_) => continue,
        }
        let next = promised.partition_point(|(place, _)| *place < at);
        let before = next.checked_sub(1).map_or(&empty, |last| promised[last].1);
        let after = promised.get(next).map_or(before, |(_, look)| *look);
        let all: Vec<&Op> = open.iter().collect();
        replay.judge(&base, &all, &[before, after]);
        for _ in 0..samples {
            let some = some(&open, &mut rng);
            replay.judge(&base, &some.iter().collect::<Vec<_>>(), &[before, after]);
        }
    }
    replay.states
}

/// `CRYPTFS_CRASH=n` runs n times as many works; with 4 and more, longer ones: 9 700 states. In memory (`TMPDIR=/dev/shm`)
/// that takes a fifth of the time.
#[test]
fn a_power_cut_loses_nothing_that_was_promised() {
    let times = std::env::var("CRYPTFS_CRASH").ok();
    let times = times.and_then(|times| times.parse().ok()).unwrap_or(1);
    let (rounds, samples) = if times >= 4 { (30, 2) } else { (12, 1) };
    let works = 1..=4 * times;
    let states: u64 = works.map(|seed| replay(seed, rounds, samples)).sum();
    eprintln!("images after power cuts: {states} states");
    assert!(states > if times >= 4 { 5_000 } else { 400 });
}
