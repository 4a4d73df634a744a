//! Names in directories, within a change. A name has a place in the listing that it keeps for life, so that a listing
//! that is interrupted goes on where it stopped whatever came and went in between.
use super::inode::FIRST_POSITION;
use super::items::Items;
use super::key;
use super::store::Change;
use crate::codec::{self, InodeRecord, NameRecord, PositionRecord, Stamp};
use crate::fs::{Damage, Error, Kind, ROOT, Result};

impl Change<'_> {
    /// The inode that a name means.
    pub fn find(&self, dir: u64, name: &[u8]) -> Result<Option<u64>> {
        self.inode(dir)?.dir()?;
        Ok(self.name(dir, name)?.map(|found| found.ino))
    }

    /// That a name can be made here; the directory.
    pub fn vacant(&self, dir: u64, name: &[u8]) -> Result<InodeRecord> {
        let inode = self.inode(dir)?.dir()?;
        match self.name(dir, name)? {
            Some(_) => Err(Error::Exists),
            None if inode.nlink == 0 => Err(Error::NotFound),
            None => Ok(inode),
        }
    }

    /// Lets a name mean an inode.
    pub fn set_name(&mut self, dir: u64, name: &[u8], ino: u64, kind: Kind) -> Result<()> {
        let position = match self.name(dir, name)? {
            Some(found) => found.position,
            None => self.edit(dir, |inode| {
                let position = inode.next.max(FIRST_POSITION);
                inode.next = position.saturating_add(1);
                position
            })?,
        };
        let record = NameRecord { ino, position };
        self.put(&key::name(dir, name), &codec::encode(&record))?;
        let listed = PositionRecord {
            ino,
            kind: kind.mode_bits(),
            name: name.to_vec(),
        };
        self.put(&key::position(dir, position), &codec::encode(&listed))
    }

    /// Takes a name away.
    pub fn remove_name(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let found = self.name(dir, name)?.ok_or(Damage::Missing)?;
        self.remove(&key::name(dir, name))?;
        self.remove(&key::position(dir, found.position))?;
        Ok(())
    }

    /// A name was made or taken away here.
    pub fn touch_dir(&mut self, dir: u64, now: Stamp) -> Result<()> {
        self.edit(dir, |inode| inode.modified(now))
    }

    /// One link less; a directory in `parent` loses all of its links at once. True if it was the last.
    pub fn drop_link(&mut self, parent: u64, ino: u64, now: Stamp) -> Result<bool> {
        let mut inode = self.inode(ino)?;
        inode.ctime = now;
        inode.nlink = if inode.is_dir() {
            0
        } else {
            inode.nlink.saturating_sub(1)
        };
        self.put_inode(ino, &inode)?;
        if inode.is_dir() {
            self.edit(parent, |above| above.nlink = above.nlink.saturating_sub(1))?;
        }
        if inode.nlink == 0 {
            self.put(&key::orphan(ino), &[])?;
        }
        Ok(inode.nlink == 0)
    }

    /// That a directory has no names.
    pub fn require_empty(&self, dir: u64) -> Result<()> {
        match self.any(&key::name(dir, b""))? {
            true => Err(Error::NotEmpty),
            false => Ok(()),
        }
    }

    /// Whether `above` is `below` or one of its ancestors, however deep it lies. A loop, which only someone with the key could make,
    /// is found by Brent's way: every place is compared with one that was met before, which is moved on at powers of two.
    pub fn is_or_above(&self, above: u64, mut below: u64) -> Result<bool> {
        let (mut met, mut steps, mut limit) = (0, 0_u64, 1_u64);
        while below != above && below != ROOT {
            if below == met {
                return Err(Damage::Malformed.into());
            }
            if steps == limit {
                (met, steps, limit) = (below, 0, limit.saturating_mul(2));
            }
            steps += 1;
            below = self.inode(below)?.dir()?.parent;
        }
        Ok(below == above)
    }

    /// The same for something that lies in `home`: it is above no directory unless it is one itself, and not above that where it
    /// lies.
    pub fn holds(&self, (ino, home): (u64, u64), below: u64) -> Result<bool> {
        Ok(ino == below
            || home != below && self.inode(ino)?.is_dir() && self.is_or_above(ino, below)?)
    }

    /// A directory that moved: its ".." and its parents' links follow. Anything that moved: its time of change.
    pub fn arrive(&mut self, ino: u64, from: u64, to: u64, now: Stamp) -> Result<()> {
        let mut inode = self.inode(ino)?;
        inode.ctime = now;
        let moved = inode.is_dir() && from != to;
        if moved {
            inode.parent = to;
        }
        self.put_inode(ino, &inode)?;
        if moved {
            self.edit(from, |above| above.nlink = above.nlink.saturating_sub(1))?;
            self.edit(to, |above| above.nlink = above.nlink.saturating_add(1))?;
        }
        Ok(())
    }
}
