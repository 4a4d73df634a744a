//! One unit in many hands: readers, writers and fsync at once. Rule 7 of the format.
use super::{me, open_with};
use cryptfs::directory::Directory;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::record::{Op, Recorder};
use cryptfs::fs::*;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const ROUNDS: u64 = 3000;

/// A file of 120000 bytes, open for writing.
struct Scene {
    tree: Directory,
    node: NodeId,
    handle: Handle,
    _home: TempDir,
}

impl Scene {
    fn new(backing: Backing) -> Self {
        let home = tempfile::tempdir().expect("tempdir");
        let tree = open_with(home.path(), false, backing);
        let flags = OpenFlags {
            write: true,
            ..OpenFlags::default()
        };
        let made = tree.create(ROOT, OsStr::new("a"), 0o644, flags, &me());
        let (entry, handle) = made.expect("create");
        let node = entry.node;
        let scene = Self {
            tree,
            node,
            handle,
            _home: home,
        };
        scene.write(0, &[1; 120_000]);
        scene
    }

    fn write(&self, at: u64, data: &[u8]) {
        let written = self.tree.write(self.node, self.handle, at, data, false);
        written.expect("write");
    }

    fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        let read = self.tree.read(self.node, self.handle, at, &mut data);
        assert_eq!(read.expect("read"), length);
        data
    }
}

#[test]
fn units_that_are_written_and_read_at_once_are_whole() {
    let scene = Scene::new(Backing::default());
    thread::scope(|scope| {
        for _ in 0..2 {
            let scene = &scene;
            scope.spawn(move || {
                (0..ROUNDS).for_each(|round| scene.write(5000, &[round as u8; 100_000]))
            });
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let data = scene.read(5000, 100_000);
                    let first = data[0];
                    assert!(data.iter().all(|byte| *byte == first), "half a write");
                }
            });
        }
    });
}

/// Each changes its own bytes of one unit, which is read, changed and written as a whole.
#[test]
fn writers_of_one_unit_keep_each_others_bytes() {
    let scene = Scene::new(Backing::default());
    thread::scope(|scope| {
        for writer in 0..3 {
            let scene = &scene;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mine = round.to_le_bytes();
                    scene.write(5001 + writer * 100, &mine);
                    assert_eq!(scene.read(5001 + writer * 100, 8), mine, "round {round}");
                }
            });
        }
    });
}

/// Knows whether a file is being made durable.
#[derive(Default)]
struct Disk {
    syncing: AtomicBool,
    torn: AtomicBool,
}

impl Recorder for Disk {
    fn record(&self, op: Op) {
        match op {
            Op::Sync { .. } => {
                self.syncing.store(true, SeqCst);
                thread::sleep(Duration::from_millis(2)); // long enough for a write that does not wait
                self.syncing.store(false, SeqCst);
            }
            Op::Write { .. } => drop(self.torn.fetch_or(self.syncing.load(SeqCst), SeqCst)),
            _ => {}
        }
    }
}

/// A page that changes on its way to the disk may get there in halves.
#[test]
fn nothing_is_written_to_a_file_while_it_is_made_durable() {
    let disk = Arc::new(Disk::default());
    let scene = Scene::new(Backing::recorded(disk.clone()));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let synced = scene.tree.fsync(scene.node, scene.handle, true);
                synced.expect("fsync");
            }
            over.store(true, SeqCst);
        });
        // Inside the file, and at its end.
        for at in [5000, 119_990] {
            let (scene, over) = (&scene, &over);
            scope.spawn(move || {
                for round in 0_u64.. {
                    scene.write(at + round % 20, &round.to_le_bytes());
                    if over.load(SeqCst) {
                        break;
                    }
                }
            });
        }
    });
    assert!(
        !disk.torn.load(SeqCst),
        "a unit was written over while it was on its way"
    );
}
