//! Removing and renaming, and what becomes of an inode that nothing holds any more.
//!
//! An inode without a name is an orphan, listed as such in the tree, until nobody has it open; then, or at the next mount,
//! it is removed with all it had. A file that was cut is listed too while its pages are dropped step by step.
use super::core::{Core, check_name};
use super::inode;
use super::items::Items;
use super::key;
use super::store::Change;
use crate::codec::{InodeRecord, Stamp};
use crate::fs::{Error, Kind, NodeId, Rename, Result};

/// Items removed in one change: a large file goes step by step.
const STEP: usize = 512;

impl Core {
    /// Removes a name that is not a directory's.
    pub fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let name = check_name(name)?;
        let gone = self.store.change(None, |change| {
            let ino = change.find(parent, name)?.ok_or(Error::NotFound)?;
            if change.inode(ino)?.is_dir() {
                return Err(Error::IsDirectory);
            }
            change.detach(parent, name, ino)
        })?;
        self.settle(gone)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let name = check_name(name)?;
        let gone = self.store.change(None, |change| {
            let ino = change.find(parent, name)?.ok_or(Error::NotFound)?;
            change.inode(ino)?.dir()?;
            change.require_empty(ino)?;
            change.detach(parent, name, ino)
        })?;
        self.settle(gone)
    }

    /// Renames.
    pub fn rename(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), how: Rename) -> Result<()> {
        let (from, to) = ((from.0, check_name(from.1)?), (to.0, check_name(to.1)?));
        let gone = self.store.change(Some(4), |change| {
            let gone = change.rename(from, to, how, inode::now())?;
            if how == Rename::Whiteout && change.find(from.0, from.1)?.is_none() {
                change.whiteout(from, self.store.new_inode())?;
            }
            Ok(gone)
        })?;
        self.settle(gone)
    }

    /// Removes an inode that has lost its last name, unless somebody has it.
    fn settle(&self, gone: Option<u64>) -> Result<()> {
        match gone {
            Some(ino) if !self.nodes.holds(ino) => self.reap(ino),
            _ => Ok(()),
        }
    }

    /// Nobody has this inode any more. An error leaves it an orphan, for the next mount.
    pub fn let_go(&self, ino: u64) {
        if self.store.read_only {
            return;
        }
        if let Ok(Some(_)) = self.store.get(&key::orphan(ino)) {
            let _ = self.reap(ino);
        }
    }

    /// Ends what was begun: removes an orphan, or what lies beyond the end of a file that was cut.
    pub fn reap(&self, ino: u64) -> Result<()> {
        loop {
            let done = self.store.change(None, |change| change.reap_some(ino))?;
            if done {
                return Ok(());
            }
        }
    }

    /// Every orphan that a session before this one left behind.
    pub fn reap_all(&self) -> Result<()> {
        let mut orphans = Vec::new();
        self.store
            .each(&key::orphans(), &key::orphans(), &mut |key, _| {
                orphans.extend(key::number(key));
                Ok(false)
            })?;
        orphans
            .into_iter()
            .filter(|ino| !self.nodes.holds(*ino))
            .try_for_each(|ino| self.reap(ino))
    }
}

impl Change<'_> {
    /// Takes a name from an inode; the inode if that was its last.
    fn detach(&mut self, parent: u64, name: &[u8], ino: u64) -> Result<Option<u64>> {
        let now = inode::now();
        self.remove_name(parent, name)?;
        self.touch_dir(parent, now)?;
        Ok(self.drop_link(parent, ino, now)?.then_some(ino))
    }

    /// One step of removing an orphan; true if it was the last.
    fn reap_some(&mut self, ino: u64) -> Result<bool> {
        let inode = match self.inode(ino) {
            Err(Error::Stale) => {
                self.remove(&key::orphan(ino))?;
                return Ok(true);
            }
            inode => inode?,
        };
        let keep = if inode.nlink > 0 { inode.size } else { 0 };
        if !self.cut_some(ino, keep, STEP)? {
            return Ok(false);
        }
        if inode.nlink == 0 {
            for prefix in [key::xattrs(ino), key::inline(ino)] {
                if !self.remove_some(&prefix, STEP)? {
                    return Ok(false);
                }
            }
            self.remove(&key::inode(ino))?;
        }
        self.remove(&key::orphan(ino))?;
        Ok(true)
    }

    /// The checks stand in the order in which Linux makes them. Gives the inode that lost its last name.
    fn rename(
        &mut self,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        how: Rename,
        now: Stamp,
    ) -> Result<Option<u64>> {
        let source = self.find(from.0, from.1)?.ok_or(Error::NotFound)?;
        let target = self.find(to.0, to.1)?;
        match (how, target) {
            (Rename::NoReplace, Some(_)) => return Err(Error::Exists),
            (Rename::Exchange, None) => return Err(Error::NotFound),
            _ => {}
        }
        if self.inode(to.0)?.nlink == 0 {
            return Err(Error::NotFound);
        }
        if self.holds((source, from.0), to.0)? {
            return Err(Error::Invalid);
        }
        let Some(target) = target else {
            self.relocate(source, from, to, now)?;
            return Ok(None);
        };
        if self.holds((target, to.0), from.0)? {
            return Err(match how {
                Rename::Exchange => Error::Invalid,
                _ => Error::NotEmpty,
            });
        }
        if source == target {
            return Ok(None);
        }
        if how == Rename::Exchange {
            self.exchange((source, from), (target, to), now)?;
            return Ok(None);
        }
        match (self.inode(source)?.is_dir(), self.inode(target)?.is_dir()) {
            (true, true) => self.require_empty(target)?,
            (true, false) => return Err(Error::NotDirectory),
            (false, true) => return Err(Error::IsDirectory),
            (false, false) => {}
        }
        let last = self.drop_link(to.0, target, now)?;
        self.relocate(source, from, to, now)?;
        Ok(last.then_some(target))
    }

    fn relocate(
        &mut self,
        ino: u64,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        now: Stamp,
    ) -> Result<()> {
        let kind = self.inode(ino)?.kind()?;
        self.remove_name(from.0, from.1)?;
        self.set_name(to.0, to.1, ino, kind)?;
        self.arrive(ino, from.0, to.0, now)?;
        self.touch_dir(from.0, now)?;
        self.touch_dir(to.0, now)
    }

    /// Puts a whiteout under a name that was just taken away: a character device 0, 0 of the directory's owner.
    fn whiteout(&mut self, (parent, name): (u64, &[u8]), ino: u64) -> Result<()> {
        let above = self.inode(parent)?;
        let kind = Kind::CharDevice;
        let inode = InodeRecord::new(kind.mode_bits(), (above.uid, above.gid), inode::now());
        self.put_inode(ino, &inode)?;
        self.set_name(parent, name, ino, kind)
    }

    fn exchange(
        &mut self,
        one: (u64, (u64, &[u8])),
        other: (u64, (u64, &[u8])),
        now: Stamp,
    ) -> Result<()> {
        for ((ino, from), (_, to)) in [(one, other), (other, one)] {
            let kind = self.inode(ino)?.kind()?;
            self.set_name(to.0, to.1, ino, kind)?;
            self.arrive(ino, from.0, to.0, now)?;
            self.touch_dir(to.0, now)?;
        }
        Ok(())
    }
}
