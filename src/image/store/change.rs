//! A change of the tree, and how it is taken back.
use super::super::ground::Ground;
use super::super::log::touched::{self, Touched};
use super::super::pointer::Pointer;
use super::super::tree::{Sink, Tree};
use crate::fs::Result;
use parking_lot::RwLockWriteGuard;
use std::ops::Range;

/// One change of the tree, taken back unless it ends well.
pub struct Change<'a> {
    ground: &'a Ground,
    tree: RwLockWriteGuard<'a, Tree>,
    done: Vec<Done>,
    dropped: Vec<Pointer>,
}

/// What was done to an item.
struct Done {
    key: Vec<u8>,
    before: Option<Vec<u8>>,
    /// See [`touched::part`].
    part: Option<Range<usize>>,
}

impl<'a> Change<'a> {
    pub(super) fn new(ground: &'a Ground, tree: RwLockWriteGuard<'a, Tree>) -> Self {
        Self {
            ground,
            tree,
            done: Vec::new(),
            dropped: Vec::new(),
        }
    }

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
        self.done.push(Done {
            key: key.to_vec(),
            part: touched::part(before.as_deref(), value),
            before,
        });
        Ok(())
    }

    /// Lets `edit` write over the value of an item, whose length stays; `None` if there is no such item.
    pub fn amend<T>(
        &mut self,
        key: &[u8],
        edit: impl FnOnce(&mut [u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        let all = &mut self.done;
        let edited = self.tree.amend(self.ground, key, |value| {
            let before = value.to_vec();
            let edited = edit(value);
            all.push(Done {
                key: key.to_vec(),
                part: touched::part(Some(&before), value),
                before: Some(before),
            });
            edited
        })?;
        edited.transpose()
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
        self.done.push(Done {
            key: key.to_vec(),
            before: Some(before),
            part: None,
        });
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

    /// It has happened.
    pub(super) fn finish(&mut self, touched: &mut Touched) {
        for done in self.done.drain(..) {
            touched.add(done.key, done.part);
        }
        let now = self.tree.generation();
        for at in self.dropped.drain(..) {
            self.ground.drop_page(&at, now);
        }
    }

    /// It has not.
    pub(super) fn take_back(&mut self) -> Result<()> {
        for done in std::mem::take(&mut self.done).into_iter().rev() {
            match done.before {
                Some(value) => self.tree.put_over(self.ground, &done.key, &value)?,
                None => drop(self.tree.remove(self.ground, &done.key)?),
            }
        }
        Ok(())
    }
}
