//! Several threads on one small tree: no panic, no deadlock, no damage, and no byte that no thread wrote.
//!
//! Every file's bytes follow from a seed that stands in its first eight bytes, so that whoever reads can judge what it
//! reads, whoever wrote it and however often the file was renamed, linked, cut or removed meanwhile.
use super::rng::Rng;
use crate::kinds::{ALL, VolumeKind};
use cryptfs::fs::*;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const THREADS: u64 = 4;
const SIZE: usize = 20_000;
/// Longer than this is a deadlock, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0o022,
    }
}

fn content(seed: u64) -> Vec<u8> {
    let mut bytes = Rng::bytes(seed | 1, SIZE);
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// Each byte is the seed's or zero: a file may have been cut and may have grown again.
fn judge(bytes: &[u8]) {
    let Some(head) = bytes.first_chunk::<8>() else {
        return;
    };
    let want = content(u64::from_le_bytes(*head));
    if *head == [0; 8] {
        return; // not written yet
    }
    for (at, (got, want)) in bytes.iter().zip(&want).enumerate() {
        assert!(
            got == want || *got == 0,
            "byte {at} of {} is nobody's",
            bytes.len()
        );
    }
}

struct Worker {
    fs: Arc<dyn FileSystem>,
    rng: Rng,
    dirs: Vec<NodeId>,
}

impl Worker {
    fn name(&mut self) -> OsString {
        match self.rng.below(8) {
            7 => "l".repeat(190).into(),
            number => format!("n{number}").into(),
        }
    }

    fn place(&mut self) -> (NodeId, OsString) {
        (self.rng.pick(&self.dirs), self.name())
    }

    /// One operation. What other threads do may make it fail, but only as a file system fails.
    fn step(&mut self) -> Result<()> {
        let fs = Arc::clone(&self.fs);
        let (dir, name) = self.place();
        match self.rng.below(16) {
            0..3 => self.write_new(dir, &name),
            3..6 => self.read(dir, &name),
            6 => fs.unlink(dir, &name),
            7 | 8 => {
                let to = self.place();
                let how = self
                    .rng
                    .pick(&[Rename::Replace, Rename::NoReplace, Rename::Exchange]);
                fs.rename((dir, &name), (to.0, &to.1), how)
            }
            9 => self.held(dir, &name, |_, fs, node| {
                let set = SetAttr {
                    mode: Some(0o750),
                    ..SetAttr::default()
                };
                fs.setattr(node, &set).map(drop)
            }),
            10 => self.held(dir, &name, |worker, fs, node| {
                let set = SetAttr {
                    size: Some(worker.rng.below(SIZE as u64)),
                    ..SetAttr::default()
                };
                fs.setattr(node, &set).map(drop)
            }),
            11 => self.held(dir, &name, |worker, fs, node| {
                let (to, name) = worker.place();
                let entry = fs.link(node, to, &name)?;
                fs.forget(entry.node, 1);
                Ok(())
            }),
            12 => self.mkdir(dir, &name),
            13 => fs.rmdir(dir, &name),
            14 => self.held(dir, &name, |worker, fs, node| {
                let value = [worker.rng.below(256) as u8; 20];
                fs.setxattr(node, OsStr::new("user.t"), &value, SetXattr::Either)?;
                let got = fs.getxattr(node, OsStr::new("user.t"))?;
                assert!(
                    got.len() == 20 && got.iter().all(|byte| *byte == got[0]),
                    "half an attribute"
                );
                Ok(())
            }),
            _ => self.list(dir),
        }
    }

    /// Works on a node that is looked up and held, as the kernel does.
    fn held(
        &mut self,
        dir: NodeId,
        name: &OsStr,
        work: impl FnOnce(&mut Self, &dyn FileSystem, NodeId) -> Result<()>,
    ) -> Result<()> {
        let fs = Arc::clone(&self.fs);
        let entry = fs.lookup(dir, name)?;
        let result = work(self, &*fs, entry.node);
        fs.forget(entry.node, 1);
        result
    }

    fn write_new(&mut self, dir: NodeId, name: &OsStr) -> Result<()> {
        let fs = Arc::clone(&self.fs);
        let flags = OpenFlags {
            write: true,
            ..OpenFlags::default()
        };
        let (entry, handle) = fs.create(dir, name, 0o644, flags, &me())?;
        let bytes = content(self.rng.next());
        let mut at = 0;
        let mut result = Ok(());
        while at < SIZE && result.is_ok() {
            let end = SIZE.min(at + 1 + self.rng.below(9000) as usize);
            result = fs.write(entry.node, handle, at as u64, &bytes[at..end], false);
            at = end;
        }
        if self.rng.once(4) {
            result = result.and(fs.fsync(entry.node, handle, false));
        }
        let released = fs.release(entry.node, handle);
        fs.forget(entry.node, 1);
        result.and(released)
    }

    fn read(&mut self, dir: NodeId, name: &OsStr) -> Result<()> {
        self.held(dir, name, |_, fs, node| {
            let handle = fs.open(node, OpenFlags::default())?;
            let mut bytes = vec![0; SIZE + 1];
            let read = fs.read(node, handle, 0, &mut bytes);
            fs.release(node, handle)?;
            judge(&bytes[..read?]);
            Ok(())
        })
    }

    fn mkdir(&mut self, dir: NodeId, name: &OsStr) -> Result<()> {
        let entry = self.fs.mkdir(dir, name, 0o755, &me())?;
        self.fs.forget(entry.node, 1);
        Ok(())
    }

    fn list(&mut self, dir: NodeId) -> Result<()> {
        let handle = self.fs.opendir(dir)?;
        let mut nodes = Vec::new();
        let listed = self.fs.readdirplus(dir, handle, 0, &mut |_, entry| {
            nodes.extend(entry.map(|entry| entry.node));
            false
        });
        self.fs.releasedir(dir, handle);
        nodes.into_iter().for_each(|node| self.fs.forget(node, 1));
        listed
    }
}

/// Failures that are the others' doing.
fn is_race(error: &Error) -> bool {
    use rustix::io::Errno as E;
    let fine = [
        E::NOENT,
        E::EXIST,
        E::NOTDIR,
        E::ISDIR,
        E::NOTEMPTY,
        E::INVAL,
        E::STALE,
        E::PERM,
        E::NODATA,
        E::LOOP,
    ];
    !matches!(error, Error::Damaged(_))
        && fine
            .iter()
            .any(|errno| errno.raw_os_error() == error.errno())
}

fn work(fs: &Arc<dyn FileSystem>, seed: u64, steps: u64) {
    let dirs =
        ["one", "two", "three"].map(|name| fs.lookup(ROOT, OsStr::new(name)).expect("lookup").node);
    let mut worker = Worker {
        fs: Arc::clone(fs),
        rng: Rng::new(seed),
        dirs: [&dirs[..], &[ROOT]].concat(),
    };
    for step in 0..steps {
        if let Err(error) = worker.step() {
            assert!(is_race(&error), "step {step}: {error}");
        }
    }
}

/// Reads everything that is left.
fn sweep(fs: &Arc<dyn FileSystem>, node: NodeId, files: &mut u64) {
    let handle = fs.opendir(node).expect("opendir");
    let mut found = Vec::new();
    let listed = fs.readdirplus(node, handle, 0, &mut |_, entry| {
        found.extend(entry.copied());
        false
    });
    listed.expect("readdirplus");
    fs.releasedir(node, handle);
    for entry in found {
        match entry.attr.kind {
            Kind::Directory => sweep(fs, entry.node, files),
            _ => {
                let handle = fs.open(entry.node, OpenFlags::default()).expect("open");
                let mut bytes = vec![0; SIZE + 1];
                let count = fs.read(entry.node, handle, 0, &mut bytes).expect("read");
                assert_eq!(count as u64, entry.attr.size);
                judge(&bytes[..count]);
                fs.release(entry.node, handle).expect("release");
                *files += 1;
            }
        }
    }
}

fn run(kind: &'static dyn VolumeKind, seed: u64, steps: u64) {
    let home = tempfile::tempdir().expect("a directory");
    kind.create(home.path());
    let fs = kind.open(home.path(), false).expect("open the volume");
    for name in ["one", "two", "three"] {
        fs.mkdir(ROOT, OsStr::new(name), 0o755, &me())
            .expect("mkdir");
    }
    let (over, ends) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (fs, over) = (Arc::clone(&fs), over.clone());
            std::thread::spawn(move || {
                work(&fs, seed * THREADS + number, steps);
                over.send(()).expect("somebody waits");
            })
        })
        .collect();
    drop(over);
    for _ in 0..THREADS {
        match ends.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{}: deadlock", kind.name()),
            Err(mpsc::RecvTimeoutError::Disconnected) => break, // one panicked: joined below
        }
    }
    for thread in threads {
        thread
            .join()
            .unwrap_or_else(|_| panic!("{}: a thread failed, seed {seed}", kind.name()));
    }
    fs.close().expect("close");
    drop(fs);
    let fs = kind
        .open(home.path(), false)
        .expect("open the volume again");
    let mut files = 0;
    sweep(&fs, ROOT, &mut files);
    assert!(files > 0, "nothing was left to look at");
    fs.close().expect("close");
}

#[test]
fn threads_do_no_damage() {
    let rounds = std::env::var("CRYPTFS_THREADS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(3);
    for kind in ALL {
        for seed in 1..=rounds {
            run(kind, seed, 1500);
        }
    }
}
