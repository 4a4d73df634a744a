//! How a generation becomes durable: by a record of the log, or by a commit, which writes the tree.
//!
//! A record: its pages, flush. A commit: new pages, flush, new superblock, flush.
use super::super::key;
use super::super::layout;
use super::super::log::Log;
use super::super::log::record::Record;
use super::super::superblock::Superblock;
use super::super::tree::Tree;
use super::{CHANGE, Change, Gate, Store};
use crate::fs::{Error, Result};
use crate::sys::log;
use std::sync::atomic::Ordering::Relaxed;

/// Freed pages that are worth a commit of their own, so that they come back: a commit itself frees a few.
const MANY_WAITING: u64 = 256;
/// Freed pages with which there is a commit instead of a record: 64 MiB.
const TOO_MANY_WAITING: u64 = 16_384;

/// What is durable.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// The newest generation.
    pub generation: u64,
    /// Those of the newest superblock and the one before.
    pub superblocks: [u64; 2],
    /// The log of the newest superblock.
    pub log: Log,
}

impl Store {
    /// Makes durable what was changed before the call, if anything was.
    pub fn sync(&self) -> Result<()> {
        let wanted = self.wanted();
        let mut durable = self.durable.lock(); // somebody else may be about to
        match durable.generation >= wanted {
            true => self.healthy(),
            false => self.record_or_commit(&mut durable),
        }
    }

    /// What is done when nothing else is: commits what was changed, or else lets freed pages come back; and gives the file
    /// system below what has stayed free.
    pub fn idle(&self) -> Result<()> {
        let waiting = self.ground.space.lock().waiting();
        let mut durable = self.durable.lock();
        // After a failure nothing can be done any more, and what was changed before it is lost: whoever closes the image must
        // learn that.
        self.healthy()?;
        let committed = match self.is_behind(&durable) || waiting > MANY_WAITING {
            true => self.commit_holding(&mut durable),
            false => Ok(()),
        };
        drop(durable);
        self.give_back();
        committed
    }

    /// Commits: nothing is left in the log, and freed pages come back.
    pub fn commit(&self) -> Result<()> {
        self.commit_holding(&mut self.durable.lock())
    }

    /// Commits, keeps every page of that generation from then on, and lets `change` record its root: durable too when it
    /// returns.
    pub fn commit_kept(
        &self,
        change: impl FnOnce(&mut Change<'_>, &Superblock) -> Result<()>,
    ) -> Result<()> {
        drop(self.begin(Some(4))?);
        let mut durable = self.durable.lock();
        let kept = self.ground.kept.load(Relaxed);
        let superblock = self.commit_and(&mut durable, true)?;
        let gate = Gate {
            store: self,
            _shared: self.gate.read(),
        };
        let recorded = gate.change(|one| change(one, &superblock));
        recorded.inspect_err(|_| self.ground.kept.store(kept, Relaxed))?;
        self.touched.lock().refuse(); // a snapshot stands in no record
        drop(gate);
        self.commit_holding(&mut durable)
    }

    /// Another size, which the next superblock says; durable when it returns. Nothing lies beyond a smaller one.
    pub fn resize(&self, pages: u64) -> Result<()> {
        let mut durable = self.durable.lock();
        {
            let _alone = self.gate.write();
            self.ground.space.lock().resize(pages);
            self.touched.lock().refuse(); // nor another size
        }
        self.commit_holding(&mut durable)
    }

    /// Whether records of the log are missing that were durable.
    pub fn log_is_broken(&self) -> bool {
        self.durable.lock().log.is_broken()
    }

    /// Something is not in the tree of the newest superblock.
    fn is_behind(&self, durable: &Durable) -> bool {
        self.wanted() > durable.superblocks[0]
    }

    /// The generation that has everything that was changed until now.
    fn wanted(&self) -> u64 {
        let tree = self.tree();
        tree.generation() - u64::from(!tree.changed())
    }

    /// Ends all changes, because what the medium holds is not known any more.
    pub(super) fn fail(&self, error: &Error) {
        if !self.failed.swap(true, Relaxed) {
            log::error(format_args!(
                "the image could not be written, and is read-only from now on; the last changes are lost: {error}"
            ));
        }
    }

    fn healthy(&self) -> Result<()> {
        match self.failed.load(Relaxed) {
            true => Err(Error::Io(rustix::io::Errno::IO.into())),
            false => Ok(()),
        }
    }

    fn record_or_commit(&self, durable: &mut Durable) -> Result<()> {
        self.healthy()?;
        match self.record(durable)? {
            true => Ok(()),
            false => self.commit_holding(durable),
        }
    }

    /// Ends the generation with a record of the log; false if it takes a commit.
    fn record(&self, durable: &mut Durable) -> Result<bool> {
        if !self.may_record(durable) {
            return Ok(false);
        }
        let Some(record) = self.end_generation(durable.log.room())? else {
            return Ok(false);
        };
        let pages = &self.ground.pages;
        if !matches!(durable.log.append(pages, &record), Ok(true)) {
            self.touched.lock().refuse();
            return Ok(false);
        }
        let flushed = pages.device.flush();
        flushed.inspect_err(|error| self.fail(error))?;
        durable.generation = record.generation;
        self.newest.store(record.generation, Relaxed);
        Ok(true)
    }

    /// Whether a record would be the next generation, and a session after a crash has the pages to follow the log; and unless a
    /// commit is due, for freed pages.
    fn may_record(&self, durable: &Durable) -> bool {
        let (next, nodes) = {
            let tree = self.tree();
            (tree.generation(), tree.dirty_nodes() as u64)
        };
        let space = self.ground.space.lock();
        next == durable.generation + 1
            && space.available() > 4 * nodes + space.map_cost() + CHANGE
            && space.waiting() <= TOO_MANY_WAITING
    }

    /// What changed in this generation, and the next one begins; `None`: it is too much for so many bytes.
    fn end_generation(&self, room: usize) -> Result<Option<Record>> {
        let _alone = self.gate.write();
        let mut tree = self.tree.write();
        let mut touched = self.touched.lock();
        let record = touched.record(&self.ground, &tree, self.next_inode(), room)?;
        if let Some(record) = &record {
            touched.forget();
            tree.begin(record.generation + 1);
        }
        Ok(record)
    }

    fn commit_holding(&self, durable: &mut Durable) -> Result<()> {
        match self.read_only {
            true => Ok(()),
            false => self.commit_and(durable, false).map(drop),
        }
    }

    fn commit_and(&self, durable: &mut Durable, keep: bool) -> Result<Superblock> {
        self.healthy()?;
        let superblock = self.seal(durable, keep)?;
        let device = &self.ground.pages.device;
        let written = device
            .flush()
            .and_then(|()| superblock.write(&self.ground.pages))
            .and_then(|tag| device.flush().map(|()| tag));
        let tag = written.inspect_err(|error| self.fail(error))?;
        *durable = Durable {
            generation: superblock.generation,
            superblocks: [superblock.generation, durable.superblocks[0]],
            log: Log::new(&superblock, tag),
        };
        self.newest.store(superblock.generation, Relaxed);
        self.release(superblock.generation);
        Ok(superblock)
    }

    /// Writes the nodes that changed, the map of used pages among them.
    fn seal(&self, durable: &Durable, keep: bool) -> Result<Superblock> {
        let _alone = self.gate.write();
        let mut tree = self.tree.write();
        self.write_map(&mut tree)?;
        let generation = next_generation(tree.generation(), durable.superblocks);
        tree.seal(&self.ground, generation)?;
        self.touched.lock().forget();
        if keep {
            self.ground.kept.store(generation, Relaxed);
        }
        let mut space = self.ground.space.lock();
        space.seal(generation);
        let (log, log_start) = durable.log.next();
        Ok(Superblock {
            generation,
            root: tree.root(),
            pages: space.pages(),
            next_inode: self.next_inode(),
            log,
            log_start,
        })
    }

    /// Writing the map takes pages, which changes the map: until nothing changes any more. It ends because a node moves
    /// only once in a generation.
    fn write_map(&self, tree: &mut Tree) -> Result<()> {
        loop {
            let changed = self.ground.space.lock().take_changed();
            if changed.is_empty() {
                return Ok(());
            }
            for (index, bytes) in &changed {
                if let Err(error) = tree.put(&self.ground, &key::freemap(*index), bytes) {
                    let all = changed.iter().map(|(index, _)| *index);
                    self.ground.space.lock().put_changed(all);
                    return Err(error);
                }
            }
        }
    }

    /// Pages that no superblock to be kept refers to are free.
    fn release(&self, durable: u64) {
        let flat = {
            let mut space = self.ground.space.lock();
            space.release(durable);
            space.flat()
        };
        if flat {
            self.give_back();
            self.ground.fill_cushion();
        }
    }

    /// Gives what is free back to the file system below. Not with each commit: what is taken again soon need not be found anew.
    pub fn give_back(&self) {
        // Who comes second finds all that the first has held.
        let _alone = self.giving_back.lock();
        let device = &self.ground.pages.device;
        if !device.can_punch() {
            return self.ground.space.lock().forget_emptied();
        }
        loop {
            let blocks = self.ground.space.lock().hold_emptied();
            if blocks.is_empty() {
                return;
            }
            blocks.iter().cloned().for_each(|block| device.punch(block));
            self.ground.space.lock().unhold(blocks);
        }
    }
}

/// The first generation from `least` on whose superblock does not take the place of one of these.
fn next_generation(least: u64, superblocks: [u64; 2]) -> u64 {
    let taken = superblocks.map(layout::slot);
    let free = |generation: &u64| !taken.contains(&layout::slot(*generation));
    (least..).find(free).unwrap_or(least)
}
