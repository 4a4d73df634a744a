//! All that an image's tree still names, past the nodes of it that are damaged: for salvage. A name stands twice in the tree, by
//! itself and by its place in the listing, so that a lost node rarely takes one away.
use super::filesystem::Image;
use super::items::decode;
use super::key::{self, Item};
use super::pointer::Pointer;
use super::tree::Visitor;
use crate::codec::{InodeRecord, NameRecord, PositionRecord};
use crate::fs::{Damage, Error, Kind, NodeId, ROOT, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What was found.
#[derive(Default)]
pub struct Survey {
    /// Of each directory, what is in it.
    pub names: BTreeMap<NodeId, BTreeMap<Vec<u8>, NodeId>>,
    /// Inodes, and directories, that nothing names.
    pub nameless: BTreeSet<NodeId>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Nodes of the tree that cannot be read.
    pub lost: u64,
    orphans: HashSet<NodeId>,
}

impl Image {
    /// Looks at the whole tree.
    pub fn survey(&self) -> Result<Survey> {
        let store = &self.core.store;
        let mut found = Survey::default();
        store.tree().walk(&store.ground, &mut found)?;
        found.nameless.extend(found.names.keys());
        let named = found.names.values().flat_map(BTreeMap::values);
        for ino in named.chain(&found.orphans).chain([&ROOT]) {
            found.nameless.remove(ino);
        }
        Ok(found)
    }
}

impl Survey {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let (ino, item) = key::parse(key).ok_or(Damage::Malformed)?;
        match item {
            Item::Inode => {
                let inode: InodeRecord = decode(value)?;
                if inode.kind()? == Kind::File {
                    self.bytes = self.bytes.saturating_add(inode.size);
                }
                self.nameless.insert(ino);
            }
            Item::Name => {
                let name: NameRecord = decode(value)?;
                self.named(ino, key::rest(key), name.ino);
            }
            Item::Position => {
                let place: PositionRecord = decode(value)?;
                self.named(ino, &place.name, place.ino);
            }
            Item::Orphan => self.orphans.extend(key::number(key)),
            Item::Freemap | Item::Snapshot | Item::Xattr | Item::Inline | Item::Extent => {}
        }
        Ok(())
    }

    fn named(&mut self, dir: NodeId, name: &[u8], ino: NodeId) {
        // A file system that hands out a path would have a salvage write outside of its destination.
        if super::core::check_name(name).is_ok() {
            let names = self.names.entry(dir).or_default();
            names.insert(name.to_vec(), ino);
        }
    }
}

impl Visitor for Survey {
    fn enter(&mut self, _: &Pointer) -> bool {
        true
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.take(key, value).is_err() {
            self.lost += 1;
        }
        Ok(())
    }

    fn lost(&mut self, _: &Pointer, _: Error) -> Result<()> {
        self.lost += 1;
        Ok(())
    }
}
