//! The commit: new pages, flush, new superblock, flush.
use super::super::key;
use super::super::superblock::Superblock;
use super::super::tree::Tree;
use super::{Change, Gate, Store};
use crate::fs::{Error, Result};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Freed pages that are worth a commit of their own, so that they come back: a commit itself frees a few.
const MANY_WAITING: u64 = 256;

impl Store {
    /// What is done when nothing else is: commits what was changed, or else lets freed pages come back.
    pub fn idle(&self) -> Result<()> {
        let waiting = self.ground.space.lock().waiting();
        let changed = self.tree().changed(); // a guard must not live through the match
        match changed {
            true => self.commit(),
            false if waiting > MANY_WAITING => self.commit_anyway(),
            false => Ok(()),
        }
    }

    /// Makes durable what was changed before the call, if anything was.
    pub fn commit(&self) -> Result<()> {
        if !self.tree().changed() {
            let durable = self.committing.lock(); // a commit under way may hold it
            return self.healthy(*durable);
        }
        let wanted = self.tree().generation();
        let mut durable = self.committing.lock();
        if *durable >= wanted {
            return Ok(());
        }
        self.commit_holding(&mut durable)
    }

    /// Commits even if nothing was changed: so that freed pages come back.
    pub fn commit_anyway(&self) -> Result<()> {
        let mut durable = self.committing.lock();
        self.commit_holding(&mut durable)
    }

    /// Commits, keeps every page of that generation from then on, and lets `change` record its root: durable too when it
    /// returns.
    pub fn commit_kept(
        &self,
        change: impl FnOnce(&mut Change<'_>, &Superblock) -> Result<()>,
    ) -> Result<()> {
        drop(self.begin(Some(4))?);
        let mut durable = self.committing.lock();
        let superblock = self.commit_and(&mut durable, true)?;
        let gate = Gate {
            store: self,
            _shared: self.gate.read(),
        };
        gate.change(|one| change(one, &superblock))?;
        drop(gate);
        self.commit_holding(&mut durable)
    }

    /// Another size, which the next superblock says; durable when it returns. Nothing lies beyond a smaller one.
    pub fn resize(&self, pages: u64) -> Result<()> {
        let mut durable = self.committing.lock();
        {
            let _alone = self.gate.write();
            self.ground.space.lock().resize(pages);
        }
        self.commit_holding(&mut durable)
    }

    fn healthy(&self, _: u64) -> Result<()> {
        match self.failed.load(Relaxed) {
            true => Err(failure()),
            false => Ok(()),
        }
    }

    fn commit_holding(&self, durable: &mut u64) -> Result<()> {
        match self.read_only {
            true => Ok(()),
            false => self.commit_and(durable, false).map(drop),
        }
    }

    fn commit_and(&self, durable: &mut u64, keep: bool) -> Result<Superblock> {
        self.healthy(*durable)?;
        let superblock = self.seal(keep)?;
        let device = &self.ground.pages.device;
        let written = device
            .flush()
            .and_then(|()| superblock.write(&self.ground.pages))
            .and_then(|()| device.flush());
        if let Err(error) = written {
            self.failed.store(true, Relaxed);
            return Err(error);
        }
        *durable = superblock.generation;
        self.durable.store(*durable, Relaxed);
        self.release(*durable);
        Ok(superblock)
    }

    /// Writes the nodes of this generation, the map of used pages among them.
    fn seal(&self, keep: bool) -> Result<Superblock> {
        let _alone = self.gate.write();
        let mut tree = self.tree.write();
        self.write_map(&mut tree)?;
        let generation = tree.generation();
        tree.seal(&self.ground)?;
        if keep {
            self.ground.kept.store(generation, Relaxed);
        }
        let mut space = self.ground.space.lock();
        space.seal(generation);
        Ok(Superblock {
            generation,
            root: tree.root(),
            pages: space.pages(),
            next_inode: self.next_inode(),
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

    /// Pages that no superblock to be kept refers to are free, and given back to the file system below.
    fn release(&self, durable: u64) {
        let (released, cushion) = {
            let mut space = self.ground.space.lock();
            (space.release(durable), space.cushion_start())
        };
        let outside = |range: &Range<u64>| range.start..range.end.min(cushion);
        let given_back = released.blocks.iter().map(outside);
        for range in given_back.filter(|range| !range.is_empty()) {
            self.ground.pages.device.punch(range);
        }
        let flat = {
            let mut space = self.ground.space.lock();
            space.unhold(released);
            space.flat()
        };
        if flat {
            self.ground.fill_cushion();
        }
    }
}

fn failure() -> Error {
    Error::Io(rustix::io::Errno::IO.into())
}
