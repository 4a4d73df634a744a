//! Snapshots: roots that are kept.
//!
//! A page that a snapshot may refer to is not dropped when the live tree drops it: those are the pages not younger than
//! the newest snapshot. When a snapshot is deleted, its pages younger than the snapshot before it go, but for those that
//! the next one (or the live tree) refers to: an older snapshot has no younger pages, and a page that the next one lacks
//! is in no later one.
use super::bits::Bits;
use super::content;
use super::filesystem::Image;
use super::ground::Ground;
use super::items::{Items, decode};
use super::key::{self, Item};
use super::pointer::{self, Pointer};
use super::store::Store;
use super::tree::{Tree, Visitor};
use crate::codec::{self, SnapshotRecord};
use crate::fs::{Damage, Error, Result, Time};
use std::sync::atomic::Ordering::Relaxed;

/// The longest name.
const LONGEST: usize = 255;

/// A root that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: Vec<u8>,
    /// The commit that it shows.
    pub generation: u64,
    /// When it was made.
    pub created: Time,
    /// Its tree.
    pub root: Pointer,
}

impl Snapshot {
    fn read(name: &[u8], value: &[u8]) -> Result<Self> {
        let record: SnapshotRecord = decode(value)?;
        let root: &[u8; pointer::SIZE] = &record.root;
        Ok(Self {
            name: name.to_vec(),
            generation: record.generation,
            created: Time {
                sec: record.created.0,
                nsec: record.created.1,
            },
            root: Pointer::decode(root)?.ok_or(Damage::Malformed)?,
        })
    }

    /// All of them, the oldest first.
    pub fn all(store: &Store) -> Result<Vec<Self>> {
        Self::all_of(&store.ground, &store.tree())
    }

    /// All of a tree.
    pub(super) fn all_of(ground: &Ground, tree: &Tree) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        let prefix = key::snapshot(b"");
        tree.scan_prefix(ground, &prefix, &prefix, &mut |key, value| {
            all.push(Self::read(key::rest(key), value)?);
            Ok(false)
        })?;
        all.sort_by_key(|one| one.generation);
        Ok(all)
    }
}

impl Image {
    /// Keeps what is there now under a name; durable when it returns.
    pub fn create_snapshot(&self, name: &[u8]) -> Result<()> {
        let sound = !name.is_empty() && !name.iter().any(|b| matches!(b, 0 | b'/'));
        match name.len() {
            _ if !sound => return Err(Error::Invalid),
            ..=LONGEST => {}
            _ => return Err(Error::NameTooLong),
        }
        let store = &self.core.store;
        if store.get(&key::snapshot(name))?.is_some() {
            return Err(Error::Exists);
        }
        store.commit_kept(|change, superblock| {
            let record = SnapshotRecord {
                generation: superblock.generation,
                root: superblock.root.encode(),
                created: super::inode::now(),
            };
            change.put(&key::snapshot(name), &codec::encode(&record))
        })
    }

    /// The snapshots, the oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        Snapshot::all(&self.core.store)
    }

    /// Gives up a snapshot and what only it refers to; durable when it returns.
    pub fn delete_snapshot(&self, name: &[u8]) -> Result<()> {
        let store = &self.core.store;
        store.change_alone(|store, change| {
            let all = Snapshot::all_of(&store.ground, change.tree())?;
            let index = all.iter().position(|one| one.name == name);
            let index = index.ok_or(Error::NotFound)?;
            let before = index.checked_sub(1).map_or(0, |i| all[i].generation);
            let pages = store.ground.space.lock().pages();
            let mut only = Reached::new(pages, before);
            Tree::open(all[index].root, all[index].generation).walk(&store.ground, &mut only)?;
            let mut next = Reached::new(pages, before);
            match all.get(index + 1) {
                Some(one) => Tree::open(one.root, one.generation).walk(&store.ground, &mut next)?,
                None => change.tree().walk(&store.ground, &mut next)?,
            }
            change.remove(&key::snapshot(name))?;
            let newest = all.iter().rfind(|one| one.name != name);
            store
                .ground
                .kept
                .store(newest.map_or(0, |one| one.generation), Relaxed);
            let mut space = store.ground.space.lock();
            for page in (0..pages).filter(|page| only.pages.get(*page) && !next.pages.get(*page)) {
                space.free(page);
            }
            Ok(())
        })?;
        store.commit()
    }
}

/// Pages of a tree that are younger than a generation. A node is as young as the youngest page below it.
struct Reached {
    after: u64,
    count: u64,
    pages: Bits,
}

impl Reached {
    fn new(count: u64, after: u64) -> Self {
        Self {
            after,
            count,
            pages: Bits::new(count),
        }
    }

    fn add(&mut self, at: &Pointer) -> bool {
        let young = at.generation > self.after && at.page < self.count;
        if young {
            self.pages.set(at.page, true);
        }
        young
    }
}

impl Visitor for Reached {
    fn enter(&mut self, at: &Pointer) -> bool {
        self.add(at)
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some((_, Item::Extent)) = key::parse(key) {
            for at in content::decode_group(value)?.iter().flatten() {
                self.add(at);
            }
        }
        Ok(())
    }
}

/// At open: the tree that a snapshot shows, as of the live tree's generation.
pub(super) fn open(ground: &Ground, tree: &Tree, name: &[u8]) -> Result<Tree> {
    let value = tree.get(ground, &key::snapshot(name))?;
    let one = Snapshot::read(name, &value.ok_or(Error::NotFound)?)?;
    Ok(Tree::open(one.root, tree.generation() - 1))
}

/// At open: which pages are to be kept.
pub(super) fn remember_kept(ground: &Ground, tree: &Tree) -> Result<()> {
    let all = Snapshot::all_of(ground, tree)?;
    let newest = all.last().map_or(0, |one| one.generation);
    ground.kept.store(newest, Relaxed);
    Ok(())
}
