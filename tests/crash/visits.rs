//! What people run between a power cut and the next use of a volume: `check`, `check --repair`, a mount. Each of them may
//! be cut short by the next power cut.
use super::disk::{Commit, Disk, Luck};
use super::judge::Judge;
use super::{COMMITS, DirectoryVolume, Log, place, scratch};
use crate::model::rng::Rng;
use cryptfs::directory::Directory;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::check::{Summary, check};
use cryptfs::directory::record::Recorder;
use cryptfs::fs::FileSystem;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    Check,
    Repair,
    Mount,
}

/// One command, and whether it comes to its end.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    command: Command,
    /// The next power cut: where, and what it leaves.
    cut: Option<(u64, Commit, Luck)>,
}

impl Visit {
    /// One or two of them at random, of which one at least is a repair.
    pub fn some(rng: &mut Rng) -> Vec<Self> {
        let all = [Command::Check, Command::Repair, Command::Mount];
        let mut commands = vec![Command::Repair];
        if rng.once(2) {
            let at = rng.below(2) as usize;
            commands.insert(at, rng.pick(&all));
        }
        let mut visit = |command| {
            let luck = rng.pick(&[Luck::All, Luck::Nothing, Luck::Random(rng.clone().next())]);
            let cut = (rng.next(), rng.pick(&COMMITS), luck);
            let cut = rng.once(2).then_some(cut);
            Self { command, cut }
        };
        commands.into_iter().map(&mut visit).collect()
    }

    /// Runs the command on the volume in `home`. Returns where the volume is afterwards.
    pub fn run(&self, home: TempDir) -> Result<TempDir, String> {
        let (base, inos) = place::scan(home.path());
        let log = Arc::new(Log::default());
        let backing = Backing::recorded(Arc::clone(&log) as Arc<dyn Recorder>);
        let tree = DirectoryVolume
            .open_on(home.path(), self.command == Command::Check, backing)
            .map_err(|error| format!("{self:?}: open: {error}"))?;
        let summary = self.work(&tree)?;
        tree.close()
            .map_err(|error| format!("{self:?}: close: {error}"))?;
        let ops = std::mem::take(&mut *log.0.lock().expect("not poisoned"));
        if let Some((at, commit, luck)) = self.cut {
            let at = (at % (ops.len() as u64 + 1)) as usize;
            let after = scratch();
            place::make(
                &Disk::new(base, inos, &ops).crash(at, commit, luck),
                after.path(),
            );
            return Ok(after);
        }
        if self.command == Command::Repair && summary.findings == summary.repaired {
            still_good(home.path())?;
        }
        Ok(home)
    }

    fn work(&self, tree: &Directory) -> Result<Summary, String> {
        let wrong = |error| format!("{self:?}: {error}");
        match self.command {
            Command::Mount => Judge::touch_all(tree).map(|()| Summary::default()),
            command => check(tree, command == Command::Repair, &(), &mut |_| {}).map_err(wrong),
        }
    }
}

/// After a repair that put everything right nothing is wrong.
fn still_good(home: &Path) -> Result<(), String> {
    let tree = DirectoryVolume
        .open_on(home, true, Backing::default())
        .map_err(|error| format!("open after a repair: {error}"))?;
    let mut wrong = None;
    let checked = check(&tree, false, &(), &mut |finding| {
        wrong.get_or_insert_with(|| format!("{finding:?}"));
    });
    checked.map_err(|error| format!("check after a repair: {error}"))?;
    wrong.map_or(Ok(()), |finding| Err(format!("after a repair: {finding}")))
}
