//! Noise for everything that reads bytes from a disk or words from a person: it may refuse, it may not panic.
//!
//! Each target starts from inputs that are right, changes them at random, and keeps going for its share of
//! `CRYPTFS_FUZZ_SECONDS`. Where a checksum would stop all changes at the door, it is made right again. What once
//! panicked stands in [`FOUND`] and is tried first, always.
use crate::kinds::keys;
use crate::model::rng::Rng;
use crate::transcripts::Bench;
use cryptfs::codec::{self, InodeRecord, NameRecord, PositionRecord, SnapshotRecord, StateRecord};
use cryptfs::crypto::digest::sha256;
use cryptfs::crypto::secret::Secret;
use cryptfs::directory::file::hint;
use cryptfs::directory::layout;
use cryptfs::directory::name::{DirId, NameEncoding, Names};
use cryptfs::directory::unit::{self, FileId, Head};
use cryptfs::image::acl::Acl;
use cryptfs::image::{node::Node, pointer::Pointer};
use cryptfs::volume::audit::AuditLog;
use cryptfs::volume::header::Header;
use cryptfs::volume::keystore::Keystore;
use cryptfs::volume::recovery_password::RecoveryPassword;
use cryptfs::volume::share::Share;
use cryptfs::volume::{kit, uuid};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Inputs that once made a target panic: its name, and the bytes.
const FOUND: [(&str, &[u8]); 0] = [];

type Run = dyn Fn(&[u8]);

/// A parser, and inputs that it takes.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    run: Box<Run>,
}

fn target(name: &'static str, seeds: Vec<Vec<u8>>, run: impl Fn(&[u8]) + 'static) -> Target {
    let run = Box::new(run);
    Target { name, seeds, run }
}

/// The bytes, with a right SHA-256 in their last 32.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(end) = bytes.len().checked_sub(32) {
        let sum = sha256(&[&bytes[..end]]);
        bytes[end..].copy_from_slice(&sum);
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What every volume has: header, kit, recovery password, keystore, audit log.
fn of_volumes(bench: &Bench, password: &str) -> Vec<Target> {
    let header = fs::read(bench.path("volume/cryptfs.volume")).expect("a header");
    let made = bench.cryptfs(&["kit", "volume", "kit"], "");
    assert_eq!(made.code, 0, "{}", made.err);
    let kit_file = fs::read(bench.path("kit")).expect("a kit");
    let shares: Vec<_> = ["2of3"]
        .iter()
        .flat_map(|split| {
            let said = bench.init(&["--split", split, "shared"]);
            assert_eq!(said.code, 0, "{}", said.err);
            let lines = said.out.lines().filter_map(|line| line.split_once(':'));
            let values = lines.map(|(_, value)| value.trim().as_bytes().to_vec());
            values.filter(|value| value.len() > 40).collect::<Vec<_>>()
        })
        .collect();
    assert!(!shares.is_empty(), "init shows the shares");
    let mut targets = vec![
        target("header", vec![header], |bytes| {
            if let Ok(header) = Header::decode(&summed(bytes)) {
                let _: Vec<_> = header
                    .protectors()
                    .map(|slot| (slot.replaces(), slot.has_escrow()))
                    .collect();
            }
        }),
        target("kit", vec![kit_file], |bytes| {
            let _ = kit::read(&summed(bytes));
        }),
        target("recovery password", vec![password.into()], |bytes| {
            let _ = RecoveryPassword::parse(&text(bytes)).map_err(|error| error.to_string());
        }),
        target("share", shares, |bytes| {
            let _ = Share::parse(&text(bytes)).map_err(|error| error.to_string());
        }),
        target(
            "uuid",
            vec![b"be531d7f-315a-bf04-a055-3557c67932d2".to_vec()],
            |bytes| {
                let _ = uuid::parse(&text(bytes));
            },
        ),
    ];
    let keys = bench.path("keys");
    for entry in fs::read_dir(&keys).expect("a keystore").flatten() {
        let (path, keys) = (entry.path(), keys.clone());
        let name = match path.extension().and_then(|kind| kind.to_str()) {
            Some("header") => "kept header",
            Some("key") => "keyfile",
            Some("path") => "path hint",
            Some("state") => "state",
            Some("log") => "audit log",
            _ => continue,
        };
        let seed = fs::read(&path).expect("read");
        targets.push(target(name, vec![seed], move |bytes| {
            fs::write(&path, bytes).expect("write");
            read_keystore(&keys);
        }));
    }
    targets
}

fn read_keystore(path: &Path) {
    let Ok(keystore) = Keystore::open(Some(path)) else {
        return;
    };
    let log = AuditLog::of(&keystore);
    let _ = log.verify(&mut |_| Some(Secret::random()), None);
    for volume in keystore.volumes().unwrap_or_default() {
        let headers = keystore.headers(&volume);
        let _: Vec<_> = headers
            .iter()
            .map(|header| Header::decode(header))
            .collect();
        let _ = keystore.keyfiles(&volume);
        let _ = keystore.protection(&volume);
        let _ = keystore.path_hint(&volume);
        let _ = keystore.state(&volume, &Secret::random());
    }
}

/// Units, names and steps of directory volumes.
fn of_directories() -> Vec<Target> {
    let keys = keys();
    let id = FileId([3; 12]);
    let file = move || kinds_file_keys(id);
    let head = Head {
        id,
        epoch: 1,
        valid: 4000,
    };
    let mut page = vec![0; unit::UNIT];
    unit::seal(&file(), 7, &head, &[5; unit::PAYLOAD], &mut page);
    let names = Names::new(keys, NameEncoding::Base64Url);
    let parent = DirId([1; 12]);
    let short = names.file(parent, b"a name");
    let long = names.directory(parent, &[b'n'; 230], DirId([2; 12]));
    let side = long
        .side
        .as_ref()
        .map(|side| side.content.clone())
        .expect("a side file");
    let entry = long.entry.to_bytes().to_vec();
    let entries = vec![short.entry.to_bytes().to_vec(), entry.clone()];
    let mut whole = vec![0; layout::HEADER];
    whole[0] = 1;
    vec![
        target("unit", vec![page], move |bytes| {
            let Ok(page) = bytes.try_into() else { return };
            let mut out = vec![0; unit::PAYLOAD];
            let _ = Head::parse(page);
            let _ = unit::open(&file(), id, 1, 7, page, 0, &mut out);
        }),
        target("unit 0", vec![whole], |bytes| {
            let _ = layout::Header::parse(bytes);
        }),
        target(
            "steps",
            vec![[&[7; 12][..], b"name", &[4]].concat()],
            |bytes| {
                let mut payload = Box::new([0; unit::PAYLOAD]);
                let length = bytes.len().min(unit::PAYLOAD);
                payload[unit::PAYLOAD - length..].copy_from_slice(&bytes[..length]);
                for valid in [0, 1, 4000, unit::PAYLOAD - 1, unit::PAYLOAD] {
                    let _ = hint::read(&payload, valid);
                }
            },
        ),
        target("entry", entries, move |bytes| {
            let _ = names.shape(bytes);
            let _ = names.side(bytes);
            let _ = names.open(parent, bytes, None);
            let _ = names.open(parent, &entry, Some(bytes));
        }),
        target("side file", vec![side], {
            let names = Names::new(crate::kinds::keys(), NameEncoding::Base64Url);
            let entry = long.entry.to_bytes().to_vec();
            move |bytes| drop(names.open(parent, &entry, Some(bytes)))
        }),
    ]
}

/// Nodes, pointers and records of images: behind a tag, but no reason to trust them.
fn of_images() -> Vec<Target> {
    let mut node = Node::new(0);
    for (index, key) in [&b"a"[..], b"bc", b"def"].iter().enumerate() {
        node.insert(index, key, &[7; 90]);
    }
    let mut parent = Node::new(1);
    parent.insert(0, b"", &[9; 56]);
    let nodes = vec![node.seal_form().to_vec(), parent.seal_form().to_vec()];
    let acl = [
        2_u32,
        0x0006_0001,
        u32::MAX,
        0x0004_0004,
        u32::MAX,
        0x0004_0020,
        u32::MAX,
    ];
    let acl: Vec<u8> = acl.iter().flat_map(|word| word.to_le_bytes()).collect();
    vec![
        target("node", nodes, |bytes| {
            let Ok(page) = <[u8; 4096]>::try_from(bytes) else {
                return;
            };
            let Ok(mut node) = Node::parse(Box::new(page)) else {
                return;
            };
            for index in 0..node.count() {
                let (key, _) = (node.key(index).to_vec(), node.value(index));
                let _ = (node.find(&key), node.child_index(&key));
                if node.level() > 0 {
                    let _ = node.child(index);
                }
            }
            if node.count() > 1 {
                let right = node.split_off(node.count() / 2);
                node.append(&right);
                node.remove(0);
            }
            node.seal_form();
        }),
        target("pointer", vec![vec![1; 64]], |bytes| {
            if let Some(bytes) = bytes.first_chunk() {
                let _ = Pointer::decode(bytes).map(|pointer| pointer.map(|at| at.encode()));
            }
        }),
        target("access control list", vec![acl], |bytes| {
            let _ = Acl::parse(bytes).map(|acl| acl.encode());
        }),
        target("key", vec![vec![1; 9], vec![2; 20]], |bytes| {
            let _ = cryptfs::image::key::parse(bytes);
        }),
        target("records", vec![vec![0; 60], vec![1; 90]], |bytes| {
            let _ = codec::decode::<InodeRecord>(bytes);
            let _ = codec::decode::<NameRecord>(bytes);
            let _ = codec::decode::<PositionRecord>(bytes);
            let _ = codec::decode::<SnapshotRecord>(bytes);
            let _ = codec::decode::<StateRecord>(bytes);
        }),
    ]
}

fn kinds_file_keys(id: FileId) -> cryptfs::volume::keys::FileKeys {
    keys().file(1, &id.0).expect("epoch 1")
}

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
    let (bench, password, _) = Bench::with_volume();
    let targets: Vec<_> = of_volumes(&bench, &password)
        .into_iter()
        .chain(of_directories())
        .chain(of_images())
        .collect();
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
