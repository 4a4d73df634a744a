//! Noise for everything that reads bytes from a disk or words from a person: it may refuse, it may not panic.
//!
//! Each target starts from inputs that are right, changes them at random, and keeps going for its share of
//! `CRYPTFS_FUZZ_SECONDS`. What once panicked stands in [`FOUND`] and is tried first, always.
//!
//! tests/fuzz/Cargo.toml runs the same [`targets`] under libFuzzer, which finds more: it follows the branches taken.
mod sealed;
mod targets;

use crate::model::rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use targets::Target;

/// Inputs that once made a target panic: its name, and the bytes.
const FOUND: [(&str, &[u8]); 4] = [
    // A part of the map of used pages, an extent, and a pointer that lie outside of the image; the last generation.
    ("image", include_bytes!("fuzz/found/map-index")),
    ("image", include_bytes!("fuzz/found/extent-group")),
    ("image", include_bytes!("fuzz/found/page-outside")),
    ("image", include_bytes!("fuzz/found/generation")),
];

/// Some changes of one of the inputs.
fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].clone();
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let length = (rng.below(40) as usize).min(bytes.len() - at);
        match rng.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, Rng::bytes(rng.next(), length + 1))),
            2 => drop(bytes.drain(at..at + length)),
            3 => bytes[at..at + length].fill(rng.pick(&[0, 0xff, 0x7f, 0x80, b'0', b'-'])),
            4 => {
                let copied = bytes[at..at + length].to_vec();
                let to = rng.below((bytes.len() - length) as u64 + 1) as usize;
                bytes[to..to + length].copy_from_slice(&copied);
            }
            5 => {
                let number = rng.pick(&[0_u64, 1, 0x7fff, 0xffff, u64::from(u32::MAX), u64::MAX]);
                for (to, from) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                    *to = from;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
    }
    bytes
}

impl Target {
    /// Noise for so long. How many inputs there were.
    fn noise(&self, time: Duration, rng: &mut Rng) -> u64 {
        let start = Instant::now();
        let mut count = 0;
        let found = FOUND.iter().filter(|(name, _)| *name == self.name);
        let first = found
            .map(|(_, bytes)| bytes.to_vec())
            .chain(self.seeds.clone());
        first.for_each(|input| self.try_one(&input));
        while start.elapsed() < time {
            for _ in 0..16 {
                self.try_one(&mutated(&self.seeds, rng));
                count += 1;
            }
        }
        count
    }

    fn try_one(&self, input: &[u8]) {
        let ended = catch_unwind(AssertUnwindSafe(|| (self.run)(input)));
        assert!(
            ended.is_ok(),
            "{} panics on {}",
            self.name,
            input.escape_ascii()
        );
    }
}

#[test]
fn noise_is_refused_and_nothing_panics() {
    let seconds = std::env::var("CRYPTFS_FUZZ_SECONDS").ok();
    let seconds = seconds
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(4.0);
    let targets = targets::all();
    let share = Duration::from_secs_f64(seconds / targets.len() as f64);
    // A short run is the same each time; a long one is new.
    let seed = if seconds < 60.0 {
        1
    } else {
        u64::from(std::process::id())
    };
    let mut rng = Rng::new(seed);
    for target in &targets {
        let count = target.noise(share, &mut rng);
        eprintln!("{}: {count} inputs", target.name);
    }
}
