//! Changes of the tree as units: each happens as a whole or not at all, in memory; the commit makes a generation of them
//! durable.
//!
//! Locks, in this order: `committing`, (locks of files,) `gate`, `tree`, then those of the ground. The gate is held shared
//! by whoever takes pages and puts pointers to them into the tree, and alone by the commit while it seals: so no page of a
//! generation is taken in one and first referred to in the next.
use super::ground::Ground;
use super::key;
use super::pointer::Pointer;
use super::superblock::Superblock;
use super::tree::{Sink, Tree};
use crate::fs::{Error, Result};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Nodes in memory that make the next change commit first: 16 MiB.
const MANY_DIRTY: usize = 4096;
/// Pages that a change may take for nodes, with room to spare.
pub const CHANGE: u64 = 64;
/// Freed pages that are worth a commit of their own, so that they come back: a commit itself frees a few.
const MANY_WAITING: u64 = 256;

/// The live tree, its ground, and how far it is durable.
pub struct Store {
    /// Pages, free space, cache.
    pub ground: Ground,
    /// Nothing may be changed.
    pub read_only: bool,
    tree: RwLock<Tree>,
    gate: RwLock<()>,
    /// Held while a generation becomes durable; the newest that is.
    committing: Mutex<u64>,
    durable: AtomicU64,
    next_inode: AtomicU64,
    /// The medium failed during a commit: what it holds is not known, and nothing is changed any more.
    failed: AtomicBool,
}

/// The right to change: no commit seals while it is held.
pub struct Gate<'a> {
    store: &'a Store,
    _shared: RwLockReadGuard<'a, ()>,
}

/// One change of the tree, taken back unless it ends well.
pub struct Change<'a> {
    ground: &'a Ground,
    tree: RwLockWriteGuard<'a, Tree>,
    undo: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    dropped: Vec<Pointer>,
}

impl Store {
    /// On what a superblock says, or `tree` when it was just made.
    pub fn new(ground: Ground, tree: Tree, next_inode: u64, read_only: bool) -> Self {
        let durable = tree.generation() - 1;
        Self {
            ground,
            read_only,
            tree: RwLock::new(tree),
            gate: RwLock::default(),
            committing: Mutex::new(durable),
            durable: AtomicU64::new(durable),
            next_inode: AtomicU64::new(next_inode),
            failed: AtomicBool::new(false),
        }
    }

    /// The newest durable generation.
    pub fn durable(&self) -> u64 {
        self.durable.load(Relaxed)
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
        for _ in 0..3 {
            let (enough, waiting) = {
                let space = self.ground.space.lock();
                let enough = match growth {
                    Some(pages) => space.room() >= pages + CHANGE,
                    None => space.available() >= space.map_cost() + 2 * CHANGE,
                };
                (enough, space.waiting() > 0)
            };
            if enough {
                return Ok(());
            }
            if !waiting {
                break;
            }
            self.commit_anyway()?;
        }
        match growth {
            Some(_) => Err(Error::NoSpace),
            None => Ok(()), // as far as it goes
        }
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
        let mut one = Change {
            ground: &self.ground,
            tree: self.tree.write(),
            undo: Vec::new(),
            dropped: Vec::new(),
        };
        let done = change(&mut one);
        match done {
            Ok(_) => one.finish(),
            Err(_) if one.take_back().is_err() => self.failed.store(true, Relaxed),
            Err(_) => {}
        }
        done
    }

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

    /// Changes the tree while nothing else is changed or committed.
    pub fn change_alone<T>(
        &self,
        change: impl FnOnce(&Self, &mut Change<'_>) -> Result<T>,
    ) -> Result<T> {
        drop(self.begin(None)?);
        let _no_commit = self.committing.lock();
        self.changed(|one| change(self, one))
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

impl Change<'_> {
    /// A value, shown to `look`.
    pub fn look<T>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        self.tree.look(self.ground, key, look)
    }

    /// Items under a prefix.
    pub fn scan(&self, prefix: &[u8], from: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        self.tree.scan_prefix(self.ground, prefix, from, sink)
    }

    /// The tree as it is now.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Puts an item.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let before = self.tree.put(self.ground, key, value)?;
        self.undo.push((key.to_vec(), before));
        Ok(())
    }

    /// Writes the nodes on the way to an item to other places.
    pub fn rewrite(&mut self, key: &[u8]) -> Result<()> {
        match self.tree.get(self.ground, key)? {
            Some(value) => self.put(key, &value),
            None => Ok(()),
        }
    }

    /// Removes an item; true if there was one.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool> {
        let Some(before) = self.tree.remove(self.ground, key)? else {
            return Ok(false);
        };
        self.undo.push((key.to_vec(), Some(before)));
        Ok(true)
    }

    /// A page of content that the tree refers to no more, once this change has happened.
    pub fn drop_page(&mut self, at: Pointer) {
        self.dropped.push(at);
    }

    /// The generation that is being made.
    pub fn generation(&self) -> u64 {
        self.tree.generation()
    }

    fn finish(&mut self) {
        let now = self.tree.generation();
        for at in self.dropped.drain(..) {
            self.ground.drop_page(&at, now);
        }
    }

    fn take_back(&mut self) -> Result<()> {
        for (key, before) in std::mem::take(&mut self.undo).into_iter().rev() {
            match before {
                Some(value) => self.tree.put(self.ground, &key, &value)?,
                None => self.tree.remove(self.ground, &key)?,
            };
        }
        Ok(())
    }
}

fn failure() -> Error {
    Error::Io(rustix::io::Errno::IO.into())
}
