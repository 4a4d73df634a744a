//! Ways to damage backing files, and undoing them.
use crate::model::rng::Rng;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes that a store writes at once.
pub const UNIT: u64 = 4096;

/// A backing file as it was.
pub struct Original {
    pub path: PathBuf,
    pub ino: u64,
    pub bytes: Vec<u8>,
}

impl Original {
    pub fn units(&self) -> u64 {
        (self.bytes.len() as u64).div_ceil(UNIT)
    }

    pub fn unit(&self, index: u64) -> &[u8] {
        let end = self.bytes.len().min(((index + 1) * UNIT) as usize);
        &self.bytes[(index * UNIT) as usize..end]
    }

    fn file(&self) -> File {
        OpenOptions::new()
            .write(true)
            .open(&self.path)
            .expect("open a backing file")
    }

    fn restore(&self) {
        let file = self.file();
        file.set_len(0).expect("cut");
        for (index, unit) in self.bytes.chunks(UNIT as usize).enumerate() {
            if unit.iter().any(|byte| *byte != 0) {
                file.write_all_at(unit, index as u64 * UNIT).expect("write");
            }
        }
        file.set_len(self.bytes.len() as u64)
            .expect("set the length");
    }
}

/// One damage. Files are indices into the originals.
#[derive(Clone, Debug)]
pub enum Damage {
    Flip {
        file: usize,
        at: u64,
        bits: u8,
    },
    Cut {
        file: usize,
        length: u64,
    },
    Extend {
        file: usize,
        by: u64,
        with: u8,
    },
    Zero {
        file: usize,
        unit: u64,
    },
    Swap {
        one: (usize, u64),
        other: (usize, u64),
    },
    Splice {
        from: (usize, u64),
        to: (usize, u64),
    },
}

impl Damage {
    /// The files that it touches.
    pub fn files(&self) -> Vec<usize> {
        match self {
            Self::Flip { file, .. }
            | Self::Cut { file, .. }
            | Self::Extend { file, .. }
            | Self::Zero { file, .. } => {
                vec![*file]
            }
            Self::Swap { one, other } => vec![one.0, other.0],
            Self::Splice { to, .. } => vec![to.0],
        }
    }

    /// The units that it puts in the place of others: from, to.
    pub fn moves(&self) -> Vec<((usize, u64), (usize, u64))> {
        match self {
            Self::Swap { one, other } => vec![(*one, *other), (*other, *one)],
            Self::Splice { from, to } => vec![(*from, *to)],
            _ => Vec::new(),
        }
    }

    /// True if it touches a unit that holds anything.
    pub fn hits(&self, originals: &[Original]) -> bool {
        let holds = |(file, unit): (usize, u64)| {
            let unit = originals[file].unit(unit);
            unit.iter().any(|byte| *byte != 0)
        };
        match self {
            Self::Flip { file, at, .. } => holds((*file, at / UNIT)),
            Self::Cut { .. } | Self::Extend { .. } => true,
            Self::Zero { file, unit } => holds((*file, *unit)),
            Self::Swap { one, other } => holds(*one) && holds(*other),
            Self::Splice { to, .. } => holds(*to),
        }
    }

    /// Does it. Returns false where nothing changes.
    pub fn inflict(&self, originals: &[Original]) -> bool {
        match self {
            Self::Flip { file, at, bits } => {
                let original = &originals[*file];
                let byte = original.bytes[*at as usize] ^ bits;
                original.file().write_all_at(&[byte], *at).expect("write");
            }
            Self::Cut { file, length } => originals[*file].file().set_len(*length).expect("cut"),
            Self::Extend { file, by, with } => {
                let original = &originals[*file];
                let length = original.bytes.len() as u64;
                match with {
                    0 => original.file().set_len(length + by).expect("grow"),
                    _ => original
                        .file()
                        .write_all_at(&vec![*with; *by as usize], length)
                        .expect("write"),
                }
            }
            Self::Zero { file, unit } => {
                let original = &originals[*file];
                let zeros = vec![0; original.unit(*unit).len()];
                original
                    .file()
                    .write_all_at(&zeros, unit * UNIT)
                    .expect("write");
                return original.unit(*unit) != zeros;
            }
            Self::Swap { one, other } => {
                let (a, b) = (
                    originals[one.0].unit(one.1),
                    originals[other.0].unit(other.1),
                );
                originals[one.0]
                    .file()
                    .write_all_at(b, one.1 * UNIT)
                    .expect("write");
                originals[other.0]
                    .file()
                    .write_all_at(a, other.1 * UNIT)
                    .expect("write");
                return a != b;
            }
            Self::Splice { from, to } => {
                let unit = originals[from.0].unit(from.1);
                originals[to.0]
                    .file()
                    .write_all_at(unit, to.1 * UNIT)
                    .expect("write");
                return unit != originals[to.0].unit(to.1);
            }
        }
        true
    }

    /// Undoes it.
    pub fn undo(&self, originals: &[Original]) {
        self.files()
            .iter()
            .for_each(|file| originals[*file].restore());
    }
}

/// All backing files below a directory, in the order of their names.
pub fn originals(below: &Path) -> Vec<Original> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).expect("readdir") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(originals(&entry.path()));
        } else if kind.is_file() {
            found.push(Original {
                ino: entry.metadata().expect("stat").ino(),
                bytes: std::fs::read(entry.path()).expect("read"),
                path: entry.path(),
            });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// How many of the larger sets of damages to take, in thousandths. `CRYPTFS_HOSTILE=all` takes all.
pub fn thousandths(few: u64) -> u64 {
    match std::env::var("CRYPTFS_HOSTILE") {
        Ok(all) if all == "all" => 1000,
        _ => few,
    }
}

/// Every byte of small files and of unit heads and tails; a sample of the rest.
pub fn flips(originals: &[Original], rng: &mut Rng) -> Vec<Damage> {
    let mut damages = Vec::new();
    let sample = thousandths(10);
    for (file, original) in originals.iter().enumerate() {
        for at in 0..original.bytes.len() as u64 {
            let edge = at % UNIT < 40 || at % UNIT >= UNIT - 8;
            if (edge && at < 3 * UNIT) || rng.below(1000) < sample {
                let bits = 1 << rng.below(8);
                damages.push(Damage::Flip { file, at, bits });
            }
        }
    }
    damages
}

/// Cuts at each length near a unit's edge and at a sample of the others, and growth.
pub fn lengths(originals: &[Original], rng: &mut Rng) -> Vec<Damage> {
    let mut damages = Vec::new();
    let sample = thousandths(10);
    for (file, original) in originals.iter().enumerate() {
        for length in 0..original.bytes.len() as u64 {
            let edge = length % UNIT < 3 || length % UNIT >= UNIT - 2 || length < 100;
            if edge || rng.below(1000) < sample {
                damages.push(Damage::Cut { file, length });
            }
        }
        for (by, with) in [(1, 0), (64, 0), (UNIT, 0), (1, 7), (UNIT, 7), (3 * UNIT, 1)] {
            damages.push(Damage::Extend { file, by, with });
        }
    }
    damages
}

/// Each unit zeroed; each pair of units swapped, and one put over the other, within and across files.
pub fn units(originals: &[Original], rng: &mut Rng) -> Vec<Damage> {
    let mut damages = Vec::new();
    let all: Vec<(usize, u64)> = (originals.iter().enumerate())
        .flat_map(|(file, original)| (0..original.units()).map(move |u| (file, u)))
        .collect();
    let sample = thousandths(400);
    for (index, one) in all.iter().enumerate() {
        damages.push(Damage::Zero {
            file: one.0,
            unit: one.1,
        });
        for other in &all[index + 1..] {
            let near = one.0 == other.0 && one.1 + 3 > other.1;
            if near || rng.below(1000) < sample {
                damages.push(Damage::Swap {
                    one: *one,
                    other: *other,
                });
            }
            if near || rng.below(1000) < sample {
                damages.push(Damage::Splice {
                    from: *one,
                    to: *other,
                });
                damages.push(Damage::Splice {
                    from: *other,
                    to: *one,
                });
            }
        }
    }
    damages
}
