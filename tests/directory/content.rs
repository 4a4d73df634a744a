//! Random reads, writes, cuts and holes against a byte vector.
use super::{me, open};
use crate::model::rng::Rng;
use cryptfs::fs::*;
use std::ffi::OsStr;

struct Case {
    plain: Vec<u8>,
    log: Vec<String>,
}

fn apply(tree: &dyn FileSystem, node: NodeId, handle: Handle, case: &mut Case, rng: &mut Rng) {
    let at = offset(rng, case.plain.len());
    let length = rng.pick(&[1usize, 7, 64, 4000, 4064, 4096, 9000, 70_000]);
    let grow_to = |plain: &mut Vec<u8>, end: usize| {
        if plain.len() < end {
            plain.resize(end, 0);
        }
    };
    match rng.below(10) {
        0..=4 => {
            let data: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
            case.log.push(format!("write {at} {length}"));
            tree.write(node, handle, at as u64, &data, false)
                .expect("write");
            grow_to(&mut case.plain, at + length);
            case.plain[at..at + length].copy_from_slice(&data);
        }
        5 => {
            case.log.push(format!("truncate {at}"));
            tree.setattr(
                node,
                &SetAttr {
                    size: Some(at as u64),
                    ..SetAttr::default()
                },
            )
            .expect("truncate");
            case.plain.resize(at, 0);
        }
        6 | 7 => {
            let how = if rng.below(2) == 0 {
                Allocate::Punch
            } else {
                Allocate::Zero { keep_size: true }
            };
            case.log.push(format!("{how:?} {at} {length}"));
            tree.fallocate(node, handle, how, at as u64, length as u64)
                .expect("punch");
            let end = (at + length).min(case.plain.len());
            case.plain[at.min(end)..end].fill(0);
        }
        8 => {
            case.log.push(format!("reserve {at} {length}"));
            tree.fallocate(
                node,
                handle,
                Allocate::Reserve { keep_size: false },
                at as u64,
                length as u64,
            )
            .expect("reserve");
            grow_to(&mut case.plain, at + length);
        }
        _ => {
            case.log.push("fsync".into());
            tree.fsync(node, handle, false).expect("fsync");
        }
    }
}

fn offset(rng: &mut Rng, size: usize) -> usize {
    match rng.below(4) {
        0 => 0,
        1 => size,
        2 => rng.below(size as u64 + 1) as usize,
        _ => rng.below(60_000) as usize,
    }
}

fn compare(tree: &dyn FileSystem, node: NodeId, handle: Handle, case: &Case, rng: &mut Rng) {
    assert_eq!(
        tree.getattr(node).expect("getattr").size,
        case.plain.len() as u64,
        "{:?}",
        case.log
    );
    let at = rng.below(case.plain.len() as u64 + 10) as usize;
    for (at, length) in [(0, case.plain.len() + 1), (at, 4096), (at, 100)] {
        let mut buf = vec![0xaa; length];
        let got = tree
            .read(node, handle, at as u64, &mut buf)
            .unwrap_or_else(|e| panic!("read: {e}, {:?}", case.log));
        let end = (at + length).min(case.plain.len());
        let want = &case.plain[at.min(end)..end];
        assert_eq!(got, want.len(), "{:?}", case.log);
        if let Some(bad) = (0..got).find(|i| buf[*i] != want[*i]) {
            panic!("byte {} differs after {:?}", at + bad, case.log);
        }
    }
}

#[test]
fn content_equals_a_byte_vector() {
    let scratch = tempfile::tempdir().expect("tempdir");
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let path = scratch.path().join(seed.to_string());
        let mut case = Case {
            plain: Vec::new(),
            log: vec![format!("seed {seed}")],
        };
        let name = OsStr::new("file");
        let mut tree = open(&path);
        let (entry, mut handle) = tree
            .create(
                ROOT,
                name,
                0o644,
                OpenFlags {
                    write: true,
                    ..OpenFlags::default()
                },
                &me(),
            )
            .expect("create");
        let mut node = entry.node;
        for _ in 0..30 {
            apply(&tree, node, handle, &mut case, &mut rng);
            compare(&tree, node, handle, &case, &mut rng);
            if rng.below(6) == 0 {
                case.log.push("remount".into());
                tree.release(node, handle).expect("release");
                tree.close().expect("close");
                tree = open(&path);
                assert!(!tree.after_crash());
                node = tree.lookup(ROOT, name).expect("lookup").node;
                handle = tree
                    .open(
                        node,
                        OpenFlags {
                            write: true,
                            ..OpenFlags::default()
                        },
                    )
                    .unwrap_or_else(|e| panic!("open: {e}, {:?}", case.log));
                compare(&tree, node, handle, &case, &mut rng);
            }
        }
    }
}
