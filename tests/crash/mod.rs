//! Power cuts. What the directory layer does to its backing store is recorded through its seam; then the power is cut
//! before every single operation, several times with other luck, and what the disk may hold is made in a fresh
//! directory, opened, and compared with what was promised.
//!
//! ```text
//!   workloads ──> story ──> live volume ──> recorder
//!                   │                          │
//!                history                     disk: what a cut may leave
//!                   └────────> judge <── place: made, opened
//! ```
//!
//! `CRYPTFS_CRASH=n` runs each workload n times, with other data and other cuts.
mod commands;
mod disk;
mod judge;
mod place;
mod story;
mod visits;
mod workloads;

use crate::kinds::{DirectoryVolume, VolumeKind};
use crate::model::rng::Rng;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::record::{Op, Recorder};
use disk::{Commit, Disk, Luck};
use judge::Judge;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use story::{History, Story};
use tempfile::TempDir;
use visits::Visit;
use workloads::Workload;

#[derive(Default)]
struct Log(Mutex<Vec<Op>>);

impl Recorder for Log {
    fn record(&self, op: Op) {
        self.0.lock().expect("not poisoned").push(op);
    }
}

/// Which operations a disk does not get to see.
type Forgotten = fn(&Op) -> bool;

/// A workload that was run to its end.
struct Recorded {
    name: &'static str,
    disk: Disk,
    ops: Vec<Op>,
    history: History,
    starts: Vec<usize>,
}

impl Recorded {
    fn new(workload: Workload, seed: u64) -> Self {
        Self::forgetting(workload, seed, |_| false)
    }

    /// With operations that the disk does not get to see.
    fn forgetting((name, run): Workload, seed: u64, forgotten: Forgotten) -> Self {
        let home = scratch();
        DirectoryVolume.create(home.path());
        let (base, inos) = place::scan(home.path());
        let log = Arc::new(Log::default());
        let backing = Backing::recorded(Arc::clone(&log) as Arc<dyn Recorder>);
        let fs = DirectoryVolume
            .open_on(home.path(), false, backing)
            .expect("open the volume");
        let position = Arc::clone(&log);
        let count = Box::new(move || position.0.lock().expect("not poisoned").len());
        let mut story = Story::new(Arc::new(fs), count);
        run(&mut story, &mut Rng::new(seed));
        let (history, starts) = story.end();
        let mut ops = std::mem::take(&mut *log.0.lock().expect("not poisoned"));
        for op in ops.iter_mut().filter(|op| forgotten(op)) {
            *op = Op::SetMode { ino: 0, mode: 0 }; // nothing to this disk
        }
        Self {
            name,
            disk: Disk::new(base, inos, &ops),
            ops,
            history,
            starts,
        }
    }

    /// Cuts the power before operation `cut`. `Ok`: how many stretches that were never durable could not be read.
    fn cut(&self, cut: usize, commit: Commit, luck: Luck) -> Result<usize, String> {
        self.cut_and_visit(cut, commit, luck, &[])
    }

    /// The same, and then others make use of what is left before it is examined.
    fn cut_and_visit(
        &self,
        cut: usize,
        commit: Commit,
        luck: Luck,
        visits: &[Visit],
    ) -> Result<usize, String> {
        let mut home = scratch();
        place::make(&self.disk.crash(cut, commit, luck), home.path());
        let examined = catch_unwind(AssertUnwindSafe(|| {
            for visit in visits {
                home = visit.run(std::mem::replace(&mut home, scratch()))?;
            }
            self.examine(cut, home.path())
        }));
        let result = examined.unwrap_or_else(|_| Err("panic".into()));
        result.map_err(|what| self.report(cut, commit, luck, &format!("{visits:?}: {what}")))
    }

    fn examine(&self, cut: usize, home: &Path) -> Result<usize, String> {
        let over = self.starts[1..].iter().rposition(|start| *start <= cut);
        let done = over.unwrap_or(0);
        let begun = self
            .starts
            .iter()
            .rposition(|start| *start < cut)
            .unwrap_or(0);
        let begun = begun.min(self.history.said.len() - 1).max(done);
        let mut tails = 0;
        // More than once: what the first one repairs must be as good.
        for round in ["first", "second"] {
            let fs = DirectoryVolume
                .open(home, false)
                .map_err(|e| format!("{round} open of the volume: {e}"))?;
            let mut judge = Judge {
                fs: &*fs,
                history: &self.history,
                done,
                begun,
                first: 4000,
                rhythm: 4064,
                tails: 0,
                found: Default::default(),
            };
            judge
                .whole()
                .map_err(|what| format!("{round} look: {what}"))?;
            let changed = match round {
                "first" => judge.touch(),
                _ => judge.stretch(),
            };
            changed.map_err(|what| format!("after the {round} look: {what}"))?;
            tails = judge.tails;
            fs.close().map_err(|e| format!("{round} close: {e}"))?;
        }
        Ok(tails)
    }

    fn report(&self, cut: usize, commit: Commit, luck: Luck, what: &str) -> String {
        let mut report = format!(
            "{}: cut before operation {cut} of {}, {commit:?}, {luck:?}: {what}\n",
            self.name,
            self.ops.len()
        );
        let mut step = self
            .starts
            .iter()
            .rposition(|start| *start < cut)
            .unwrap_or(0);
        for op in (cut.saturating_sub(14)..cut).rev() {
            while self.starts[step] > op {
                step -= 1;
            }
            let said = self.history.said.get(step).map_or("end", String::as_str);
            let _ = writeln!(
                report,
                "    {op}: {:?}   [{step}: {said}]",
                Short(&self.ops[op])
            );
        }
        report
    }
}

/// An operation without its data.
struct Short<'a>(&'a Op);

impl std::fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Op::Write { ino, offset, data } => write!(
                f,
                "Write {{ ino: {ino}, offset: {offset}, {} bytes }}",
                data.len()
            ),
            Op::Create { dir, name, ino, .. } => write!(
                f,
                "Create {{ dir: {dir}, {}, ino: {ino} }}",
                name.escape_ascii()
            ),
            Op::Unlink { dir, name } => {
                write!(f, "Unlink {{ dir: {dir}, {} }}", name.escape_ascii())
            }
            Op::Rename { from, to, how } => write!(
                f,
                "Rename {{ {} {} to {} {}, {how:?} }}",
                from.0,
                from.1.escape_ascii(),
                to.0,
                to.1.escape_ascii()
            ),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A directory for one state: in memory where that has extended attributes, for there are thousands.
fn scratch() -> TempDir {
    let probe = || {
        let home = tempfile::tempdir_in("/dev/shm").ok()?;
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(home.path(), "user.probe", b"", flags).ok()?;
        rustix::fs::removexattr(home.path(), "user.probe").ok()?;
        Some(home)
    };
    probe().unwrap_or_else(|| tempfile::tempdir().expect("a directory"))
}

const COMMITS: [Commit; 3] = [
    Commit::Everything,
    Commit::UpToTheFile,
    Commit::TheFileAlone,
];

/// The states that are tried at one cut.
fn lucks(rng: &mut Rng) -> Vec<(Commit, Luck)> {
    let mut tried = vec![
        (Commit::Everything, Luck::All),
        (rng.pick(&COMMITS), Luck::Nothing),
        (rng.pick(&COMMITS), Luck::Random(rng.next())),
        (rng.pick(&COMMITS), Luck::Random(rng.next())),
    ];
    if rng.once(3) {
        tried.push((rng.pick(&COMMITS), Luck::NoContent));
    }
    tried
}

#[test]
fn power_cuts_lose_nothing_that_was_promised() {
    let rounds = std::env::var("CRYPTFS_CRASH")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1);
    let (mut states, mut tails, mut failures) = (0, 0, Vec::new());
    for (workload, seed) in workloads::ALL
        .into_iter()
        .flat_map(|workload| (1..=rounds).map(move |seed| (workload, seed)))
    {
        let mut rng = Rng::new(seed);
        let recorded = Recorded::new(workload, seed);
        for cut in 0..=recorded.ops.len() {
            for (commit, luck) in lucks(&mut rng) {
                states += 1;
                match recorded.cut(cut, commit, luck) {
                    Ok(unread) => tails += unread,
                    Err(report) => failures.push(format!("seed {seed}: {report}")),
                }
            }
            if failures.len() > 5 {
                break;
            }
        }
    }
    eprintln!(
        "power cuts: {states} states, {} bad; {tails} stretches never durable could not be read",
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "{states} states, {} bad:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Which cuts are followed by visits: a visit and its own cut cost as much as several plain states.
const EVERY: usize = 4;

#[test]
fn a_repair_after_a_power_cut_loses_nothing_that_was_promised() {
    let rounds = std::env::var("CRYPTFS_CRASH")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1);
    let (mut states, mut failures) = (0, Vec::new());
    for (workload, seed) in workloads::ALL
        .into_iter()
        .flat_map(|workload| (1..=rounds).map(move |seed| (workload, seed)))
    {
        let mut rng = Rng::new(seed);
        let recorded = Recorded::new(workload, seed);
        for cut in (0..=recorded.ops.len())
            .skip(seed as usize % EVERY)
            .step_by(EVERY)
        {
            let (commit, luck) = rng.pick(&lucks(&mut rng.clone()));
            let visits = Visit::some(&mut rng);
            states += 1;
            failures.extend(recorded.cut_and_visit(cut, commit, luck, &visits).err());
        }
    }
    eprintln!(
        "repairs after power cuts: {states} states, {} bad",
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "{states} states, {} bad:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}

/// A power-cut test that cannot fail is none: without the fsyncs of the directory layer each of these loses something.
#[test]
fn forgotten_fsyncs_are_found() {
    let files = |op: &Op| matches!(op, Op::Sync { .. });
    let directories = |op: &Op| matches!(op, Op::SyncDir { .. });
    let lengths = |op: &Op| matches!(op, Op::Truncate { .. });
    let cases: [(&str, Forgotten); 7] = [
        ("append in small steps", files),
        ("overwrite in place", files),
        ("replace by rename", files),
        ("mkdir, create, fsync", directories),
        ("long names", |op| {
            matches!(op, Op::Sync { .. } | Op::SyncDir { .. })
        }),
        ("holes", files),
        ("truncate down and up", lengths),
    ];
    for (name, forgotten) in cases {
        let workload = workloads::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .expect("a workload");
        let mut rng = Rng::new(1);
        let recorded = Recorded::forgetting(workload, 1, forgotten);
        let mut cuts = (0..=recorded.ops.len())
            .flat_map(|cut| lucks(&mut rng).into_iter().map(move |luck| (cut, luck)));
        let lost = cuts.any(|(cut, (commit, luck))| recorded.cut(cut, commit, luck).is_err());
        assert!(lost, "{name}: nothing was lost without its fsyncs");
    }
}
