//! Power cuts: every write and flush of the image is recorded; then the image is made as a power cut may leave it, after
//! every write, with any of the writes since the last flush lost, and the last one torn. It always mounts, everything that
//! was fsynced is there, and check finds nothing.
use super::{ME, Seen, bytes, look, put};
use crate::kinds::ImageVolume;
use crate::model::rng::Rng;
use cryptfs::fs::{FileSystem, ROOT, Rename, SetAttr};
use cryptfs::image::device::{Op, Recorder};
use cryptfs::image::{Image, Options, layout};
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

/// What was done to an image between opening it and a crash.
struct Session {
    begun: Vec<u8>,
    steps: Vec<Step>,
}

/// A new image.
fn fresh(dir: &Path) {
    ImageVolume.format(dir, MIB << 20);
    let file = ImageVolume.fd(dir);
    file.set_len(FILE_MIB << 20).expect("grow the file");
}

/// Random work on few names, with syncs; what is there at each sync is promised, and so is what is there at first.
fn work(dir: &Path, seed: u64, rounds: u64) -> Session {
    let begun = std::fs::read(dir.join(ImageVolume::NAME)).expect("read");
    let tape = Arc::new(Tape::default());
    let options = Options {
        recorder: Some(tape.clone()),
        ..Options::default()
    };
    let image = ImageVolume.open_on(dir, &options).expect("open");
    let promise = || {
        let promised = Step::Promised(look(&image).0);
        tape.0.lock().expect("no panic").push(promised);
    };
    promise();
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
        promise();
    }
    drop(image);
    let steps = std::mem::take(&mut *tape.0.lock().expect("no panic"));
    Session { begun, steps }
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

#[derive(Clone, Copy, Default)]
struct Count {
    states: u64,
    /// Writes to the log.
    records: u64,
    /// Second sessions.
    again: u64,
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |one, other| Self {
            states: one.states + other.states,
            records: one.records + other.records,
            again: one.again + other.again,
        })
    }
}

struct Replay<'a> {
    dir: &'a Path,
    file: std::fs::File,
    count: Count,
}

impl Replay<'_> {
    /// `base` is durable, `open` may be lost in any part: mounts, shows what was promised or the commit after it, checks.
    fn judge(&mut self, base: &[u8], open: &[&Op], wanted: &[&Look]) {
        let mut bytes = base.to_vec();
        open.iter().for_each(|op| apply(&mut bytes, op));
        self.file.write_all_at(&bytes, 0).expect("write");
        self.count.states += 1;
        let image = ImageVolume
            .open_on(self.dir, &Options::default())
            .expect("the image mounts");
        let (seen, lost) = look(&image);
        assert!(lost.is_empty(), "lost: {lost:?}");
        let known = wanted.iter().any(|want| **want == seen);
        assert!(known, "neither what was promised nor the commit after it");
        super::sound(&image);
    }

    /// Works on the image that the last crash has left, and has that crash too.
    fn crash_again(&mut self, rng: &mut Rng) {
        let second = tempfile::tempdir().expect("a directory");
        let left = self.dir.join(ImageVolume::NAME);
        std::fs::copy(left, second.path().join(ImageVolume::NAME)).expect("copy");
        let (seed, samples) = (rng.next(), 1);
        let session = work(second.path(), seed, 2);
        let count = replay(second.path(), session, seed, samples, 0);
        self.count = [self.count, count].into_iter().sum();
        self.count.again += 1;
    }
}

/// Whether this writes to the log.
fn is_record(op: &Op) -> bool {
    let log = layout::LOG..layout::LOG + layout::log(MIB << 8);
    matches!(op, Op::Write { offset, .. } if log.contains(&(offset / layout::PAGE as u64)))
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

/// Replays a session: after each write all of them and some of them. The image lies in `dir`. After every `again`th state
/// the image that was left is worked on and crashes once more (0: never).
fn replay(dir: &Path, session: Session, seed: u64, samples: u64, again: u64) -> Count {
    let mut replay = Replay {
        dir,
        file: ImageVolume.fd(dir),
        count: Count::default(),
    };
    let promised: Vec<(usize, &Look)> = session
        .steps
        .iter()
        .enumerate()
        .filter_map(|(at, step)| match step {
            Step::Promised(look) => Some((at, look)),
            Step::Op(_) => None,
        })
        .collect();
    let mut rng = Rng::new(seed ^ 0x5eed);
    let (mut base, mut open): (_, Vec<Op>) = (session.begun, Vec::new());
    for (at, step) in session.steps.iter().enumerate() {
        match step {
            Step::Op(Op::Flush) => {
                open.drain(..).for_each(|op| apply(&mut base, &op));
            }
            Step::Op(op) => open.push(op.clone()),
            Step::Promised(_) => continue,
        }
        replay.count.records += u64::from(matches!(step, Step::Op(op) if is_record(op)));
        let next = promised.partition_point(|(place, _)| *place < at);
        let before = promised[next.saturating_sub(1)].1;
        let after = promised.get(next).map_or(before, |(_, look)| *look);
        let all: Vec<&Op> = open.iter().collect();
        replay.judge(&base, &all, &[before, after]);
        for _ in 0..samples {
            let some = some(&open, &mut rng);
            replay.judge(&base, &some.iter().collect::<Vec<_>>(), &[before, after]);
            if again > 0 && replay.count.states % again < samples + 1 {
                replay.crash_again(&mut rng);
            }
        }
    }
    replay.count
}

/// `CRYPTFS_CRASH=n` runs n times as many works; with 4 and more, longer ones: 9 700 states. In memory (`TMPDIR=/dev/shm`)
/// that takes a fifth of the time.
#[test]
fn a_power_cut_loses_nothing_that_was_promised() {
    let times = std::env::var("CRYPTFS_CRASH").ok();
    let times = times.and_then(|times| times.parse().ok()).unwrap_or(1);
    let (rounds, samples) = if times >= 4 { (30, 2) } else { (12, 1) };
    let works = 1..=4 * times;
    let count: Count = works
        .map(|seed| {
            let home = tempfile::tempdir().expect("a directory");
            fresh(home.path());
            let session = work(home.path(), seed, rounds);
            replay(home.path(), session, seed, samples, 40)
        })
        .sum();
    let Count {
        states,
        records,
        again,
    } = count;
    eprintln!(
        "images after power cuts: {states} states, {records} writes to the log, {again} second crashes"
    );
    assert!(states > if times >= 4 { 5_000 } else { 400 });
    assert!(records > states / 20 && again > states / 200);
}
