//! The live tree: who may change it and when. A change ([`Change`]) happens as a whole or not at all, in memory; then
//! (`commit`) a generation of them becomes durable, as a record of the log or by a commit.
//!
//! Locks, in this order: (those of files,) `durable`, `giving_back`, `gate`, `tree`, `touched`, then those of the ground. The gate is held
//! shared by whoever takes pages and puts pointers to them into the tree, and alone while a generation ends: so no page is
//! taken in one and first referred to in the next.
mod change;
mod commit;

pub use change::Change;
pub use commit::Durable;

use super::ground::Ground;
use super::layout::KEPT;
use super::log::touched::Touched;
use super::tree::{Sink, Tree};
use crate::fs::{Error, Result};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Nodes in memory that make the next change commit first: 16 MiB.
const MANY_DIRTY: usize = 4096;
/// Pages that a change may take for nodes, with room to spare.
pub const CHANGE: u64 = 64;

/// The live tree, its ground, and how far it is durable.
pub struct Store {
    /// Pages, free space, cache.
    pub ground: Ground,
    /// Nothing may be changed.
    pub read_only: bool,
    tree: RwLock<Tree>,
    gate: RwLock<()>,
    /// What changed in this generation.
    touched: Mutex<Touched>,
    /// Held while a generation becomes durable.
    durable: Mutex<Durable>,
    newest: AtomicU64,
    /// Held while freed space is given back to what lies below.
    giving_back: Mutex<()>,
    next_inode: AtomicU64,
    /// The medium failed during a commit: what it holds is not known, and nothing is changed any more.
    failed: AtomicBool,
}

/// The right to change: no commit seals while it is held.
pub struct Gate<'a> {
    store: &'a Store,
    _shared: RwLockReadGuard<'a, ()>,
}

impl Store {
    /// On what is durable, and the tree that it makes.
    pub fn new(
        ground: Ground,
        tree: Tree,
        durable: Durable,
        next_inode: u64,
        read_only: bool,
    ) -> Self {
        Self {
            ground,
            read_only,
            tree: RwLock::new(tree),
            gate: RwLock::default(),
            touched: Mutex::default(),
            newest: AtomicU64::new(durable.generation),
            durable: Mutex::new(durable),
            giving_back: Mutex::default(),
            next_inode: AtomicU64::new(next_inode),
            failed: AtomicBool::new(false),
        }
    }

    /// The newest durable generation.
    pub fn newest(&self) -> u64 {
        self.newest.load(Relaxed)
    }

    /// A number no inode ever had.
    pub fn new_inode(&self) -> u64 {
        self.next_inode.fetch_add(1, Relaxed)
    }

    /// Highest inode number so far, and one.
    pub fn next_inode(&self) -> u64 {
        self.next_inode.load(Relaxed)
    }

    /// The tree, to look at.
    pub fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read()
    }

    /// A value, shown to `look`.
    pub fn look<T>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        self.tree().look(&self.ground, key, look)
    }

    /// Items under a prefix.
    pub fn scan(&self, prefix: &[u8], from: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        self.tree().scan_prefix(&self.ground, prefix, from, sink)
    }

    /// True while changes are possible.
    pub fn writable(&self) -> Result<()> {
        match self.read_only || self.failed.load(Relaxed) {
            true => Err(Error::ReadOnly),
            false => Ok(()),
        }
    }

    /// Asks to change something that takes `growth` pages beside nodes; `None` for what sets pages free, which may use the
    /// reserve. May commit, so no gate and no lock of the tree may be held.
    pub fn begin(&self, growth: Option<u64>) -> Result<Gate<'_>> {
        self.writable()?;
        if self.tree().dirty_nodes() > MANY_DIRTY {
            self.commit()?;
        }
        self.make_room(growth)?;
        let shared = self.gate.read();
        Ok(Gate {
            store: self,
            _shared: shared,
        })
    }

    fn make_room(&self, growth: Option<u64>) -> Result<()> {
        let enough = || {
            let space = self.ground.space.lock();
            match growth {
                Some(pages) => space.room() >= pages + CHANGE,
                None => space.available() >= space.map_cost() + 2 * CHANGE,
            }
        };
        match growth {
            _ if enough() || self.reclaim(&enough)? => Ok(()),
            Some(_) => Err(Error::NoSpace),
            None => Ok(()), // as far as it goes
        }
    }

    /// Has freed pages come back, until there is enough; false if that did not help. The file system below has them back too.
    pub fn reclaim(&self, enough: &dyn Fn() -> bool) -> Result<bool> {
        for _ in 0..=KEPT {
            let waiting = self.ground.space.lock().waiting() > 0;
            let committed = if waiting { self.commit() } else { Ok(()) };
            self.give_back();
            committed?;
            if enough() || !waiting {
                break;
            }
        }
        Ok(enough())
    }

    /// Changes the tree. See [`Store::begin`].
    pub fn change<T>(
        &self,
        growth: Option<u64>,
        change: impl FnOnce(&mut Change<'_>) -> Result<T>,
    ) -> Result<T> {
        self.begin(growth)?.change(change)
    }

    fn changed<T>(&self, change: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        let mut one = Change::new(&self.ground, self.tree.write());
        let done = change(&mut one);
        match done {
            Ok(_) => one.finish(&mut self.touched.lock()),
            Err(_) => one.take_back().unwrap_or_else(|error| self.fail(&error)),
        }
        done
    }

    /// Changes the tree while nothing else is changed or committed.
    pub fn change_alone<T>(
        &self,
        change: impl FnOnce(&Self, &mut Change<'_>) -> Result<T>,
    ) -> Result<T> {
        drop(self.begin(None)?);
        let _no_commit = self.durable.lock();
        let done = self.changed(|one| change(self, one))?;
        self.touched.lock().refuse(); // pages that no item names may have been set free
        Ok(done)
    }
}

impl<'a> Gate<'a> {
    /// The generation of pages that are taken now.
    pub fn generation(&self) -> u64 {
        self.store.tree().generation()
    }

    /// Changes the tree; on an error it is as it was before.
    pub fn change<T>(&self, change: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        self.store.changed(change)
    }
}
