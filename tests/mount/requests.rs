//! How many requests an operation costs: the part of speed that does not depend on the machine.
//!
//! These are upper bounds for one file of many. A FORGET comes when the kernel pleases, and a RELEASE only until the first open(2): neither is counted.
use super::served::Served;
use crate::kinds::{ALL, VolumeKind};
use crate::needs;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const FILES: u64 = 200;

/// A volume that is mounted anew before each measurement, so that nothing is cached.
struct Bench {
    home: TempDir,
    kind: &'static dyn VolumeKind,
}

impl Bench {
    fn new(kind: &'static dyn VolumeKind) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        for name in ["volume", "mount"] {
            fs::create_dir(home.path().join(name)).expect("a directory");
        }
        kind.create(&home.path().join("volume"));
        Self { home, kind }
    }

    /// The requests of `run`, each kind divided by the number of files.
    fn measure(&self, run: impl FnOnce(&Path)) -> BTreeMap<String, f64> {
        let fs = self.kind.open(&self.home.path().join("volume"), false);
        let served = Served::new(fs.expect("open"), &self.home.path().join("mount"), "");
        let before = counts(&served);
        run(served.point());
        let mut after = counts(&served);
        served.unmount();
        for (name, count) in &mut after {
            *count = (*count - before.get(name).unwrap_or(&0.0)) / FILES as f64;
        }
        after.retain(|name, count| *count >= 0.1 && !name.contains("FORGET") && name != "RELEASE");
        after
    }
}

fn counts(served: &Served) -> BTreeMap<String, f64> {
    let text = served.counters().to_string();
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, count)| (name.to_owned(), count.parse().expect("a number")))
        .collect()
}

fn names(point: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let point = point.to_owned();
    (0..FILES).map(move |number| point.join(number.to_string()))
}

#[track_caller]
fn at_most(what: &str, spent: &BTreeMap<String, f64>, allowed: &[(&str, f64)]) {
    let allowed: BTreeMap<_, _> = allowed.iter().copied().collect();
    for (name, count) in spent {
        let most = allowed.get(name.as_str()).copied().unwrap_or(0.0);
        assert!(
            *count <= most + 0.1,
            "{what}: {count} of {name}, wanted {most}: {spent:?}"
        );
    }
}

#[test]
fn operations_cost_no_more_requests_than_needed() {
    if needs::fuse() {
        ALL.map(Bench::new).iter().for_each(operations);
    }
}

fn operations(bench: &Bench) {
    let spent = bench.measure(|point| {
        for name in names(point) {
            fs::File::create_new(name)
                .expect("create")
                .write_all(&[7; 4096])
                .expect("write");
        }
    });
    // GETATTR is the parent's, SETATTR the times where the kernel's clock has moved on since the creation.
    let create = [
        ("LOOKUP", 1.0),
        ("GETATTR", 1.0),
        ("CREATE", 1.0),
        ("GETXATTR", 1.0),
        ("WRITE", 1.0),
        ("SETATTR", 1.0),
    ];
    at_most("create, write, close", &spent, &create);

    let spent = bench.measure(|point| {
        for name in (0..3).flat_map(|_| names(point)) {
            let file = rustix::fs::open(name, OFlags::RDONLY, Mode::empty()).expect("open");
            assert_eq!(rustix::io::read(&file, &mut [0; 8192]), Ok(4096));
        }
    });
    at_most(
        "open, read, close, three times",
        &spent,
        &[("LOOKUP", 1.0), ("READ", 1.0)],
    );

    let spent = bench.measure(|point| {
        for name in names(point).chain(names(point)) {
            rustix::fs::stat(name).expect("stat");
        }
    });
    at_most("stat, twice", &spent, &[("LOOKUP", 1.0)]);

    let spent = bench.measure(|point| {
        for name in names(point).chain(names(point)) {
            rustix::fs::stat(name.with_extension("missing")).expect_err("there is none");
        }
    });
    at_most("stat of a missing name, twice", &spent, &[("LOOKUP", 1.0)]);

    let spent = bench.measure(|point| {
        for entry in point.read_dir().expect("readdir") {
            rustix::fs::stat(entry.expect("an entry").path()).expect("stat");
        }
    });
    at_most("list with attributes", &spent, &[]);

    // As std does it, with the time of creation, which the kernel does not get when it looks a name up.
    let spent = bench.measure(|point| {
        for name in names(point).chain(names(point)) {
            fs::metadata(name).expect("statx");
        }
    });
    at_most(
        "statx with btime, twice",
        &spent,
        &[("LOOKUP", 1.0), ("STATX", 1.0)],
    );

    let spent = bench.measure(|point| {
        for name in names(point) {
            fs::rename(&name, name.with_extension("new")).expect("rename");
        }
    });
    let rename = [
        ("LOOKUP", 2.0),
        ("GETATTR", 1.0),
        ("RENAME", 1.0),
        ("SETATTR", 1.0),
    ];
    at_most("rename", &spent, &rename);

    let spent = bench.measure(|point| {
        for name in names(point) {
            fs::remove_file(name.with_extension("new")).expect("unlink");
        }
    });
    let unlink = [
        ("LOOKUP", 1.0),
        ("GETATTR", 1.0),
        ("UNLINK", 1.0),
        ("SETATTR", 1.0),
    ];
    at_most("unlink", &spent, &unlink);
}

#[test]
fn large_files_travel_in_large_requests() {
    if needs::fuse() {
        ALL.map(Bench::new).iter().for_each(large);
    }
}

fn large(bench: &Bench) {
    let data: Vec<u8> = (0..32u32 << 20).map(|i| (i % 251) as u8).collect();
    let total =
        |spent: &BTreeMap<String, f64>, name| spent.get(name).map_or(0.0, |n| n * FILES as f64);
    let spent = bench.measure(|point| fs::write(point.join("large"), &data).expect("write"));
    assert!(total(&spent, "WRITE") <= 40.0, "{spent:?}");
    let spent =
        bench.measure(|point| assert!(fs::read(point.join("large")).expect("read") == data));
    // Root can raise the kernel's read-ahead from 128 KiB.
    let most = if rustix::process::getuid().is_root() {
        48.0
    } else {
        300.0
    };
    assert!(total(&spent, "READ") <= most, "{spent:?}");
}
