//! The tree: one copy-on-write B+tree that holds everything but the content of larger files.
//!
//! Why not redb over page arrays: redb brings a copy-on-write tree of its own, which over copy-on-write pages writes
//! everything twice, takes bytes on trust that are authenticated page by page below it, and lends tables only within
//! transactions. One tree whose pointers carry the tags needs neither.
//!
//! A node that is changed moves to a new page first and stays in memory ("dirty") until the tree is sealed, with a later
//! generation than the last seal's in the pointer to it; what was sealed is never changed. A change either happens or leaves
//! the tree as it was: everything that can fail (reading, taking pages) is done on the way down.
mod edit;
mod seal;

use super::ground::Ground;
use super::node::Node;
use super::pointer::{Kind, Pointer};
use crate::fs::{Damage, Error, Result};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The greatest height: far above what 2^48 pages can fill.
const HIGHEST: u8 = 20;

/// A tree: of the volume, or of a snapshot.
pub struct Tree {
    root: Pointer,
    /// The last generation that was sealed: what superblocks refer to.
    sealed: u64,
    /// The generation that is being made.
    generation: u64,
    /// Nodes that changed since, by page.
    dirty: FxHashMap<u64, Node>,
    /// Something changed in this generation.
    changed: bool,
}

/// A node to look at: one that waits for the seal, or from the cache.
enum Seen<'a> {
    Dirty(&'a Node),
    Clean(Arc<Node>),
}

impl std::ops::Deref for Seen<'_> {
    type Target = Node;
    fn deref(&self) -> &Node {
        match self {
            Seen::Dirty(node) => node,
            Seen::Clean(node) => node,
        }
    }
}

/// Called with key and value; true ends the scan.
pub type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool> + 'a;

impl Tree {
    /// The tree of a generation, to which a superblock or snapshot refers.
    pub fn open(root: Pointer, sealed: u64) -> Self {
        Self {
            root,
            sealed,
            generation: sealed + 1,
            dirty: FxHashMap::default(),
            changed: false,
        }
    }

    /// An empty tree, which the first generation seals.
    pub fn empty(ground: &Ground, epoch: u8) -> Result<Self> {
        let page = ground.take_node()?;
        let root = Pointer {
            page,
            epoch,
            kind: Kind::Node,
            generation: 1,
            tag: [0; 16],
        };
        let mut tree = Self::open(root, 0);
        tree.dirty.insert(page, Node::new(0));
        tree.changed = true;
        Ok(tree)
    }

    /// Where it begins; the tag is right after a commit.
    pub fn root(&self) -> Pointer {
        self.root
    }

    /// The generation that is being made.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What came before is durable, or will be before anything else: from now on another generation is made.
    pub fn begin(&mut self, generation: u64) {
        self.generation = generation;
        self.changed = false;
    }

    /// Nodes in memory that wait for the seal.
    pub fn dirty_nodes(&self) -> usize {
        self.dirty.len()
    }

    /// Something changed in this generation.
    pub fn changed(&self) -> bool {
        self.changed
    }

    fn see<'a>(&'a self, ground: &Ground, at: &Pointer, level: Option<u8>) -> Result<Seen<'a>> {
        if let Some(node) = self.dirty(at) {
            return Ok(Seen::Dirty(node));
        }
        let node = ground.load(at, level)?;
        match node.level() {
            ..=HIGHEST => Ok(Seen::Clean(node)),
            _ => Err(Damage::Malformed.into()),
        }
    }

    /// Only what is younger than the last seal is dirty.
    fn dirty(&self, at: &Pointer) -> Option<&Node> {
        let young = at.generation > self.sealed;
        young.then(|| self.dirty.get(&at.page)).flatten()
    }

    /// The value of a key, shown to `look`.
    pub fn look<T>(
        &self,
        ground: &Ground,
        key: &[u8],
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        let leaf = self.leaf(ground, key)?;
        Ok(leaf.find(key).ok().map(|index| look(leaf.value(index))))
    }

    /// Whether nothing else lies in the leaf where a key is, or would be.
    pub fn is_alone(&self, ground: &Ground, key: &[u8]) -> Result<bool> {
        Ok(self.leaf(ground, key)?.count() <= 1)
    }

    fn leaf(&self, ground: &Ground, key: &[u8]) -> Result<Seen<'_>> {
        let mut node = self.see(ground, &self.root, None)?;
        while node.level() > 0 {
            let child = node.child(node.child_index(key))?;
            node = self.see(ground, &child, Some(node.level() - 1))?;
        }
        Ok(node)
    }

    /// The value of a key.
    pub fn get(&self, ground: &Ground, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.look(ground, key, <[u8]>::to_vec)
    }

    /// All items from `from` on, in order.
    pub fn scan(&self, ground: &Ground, from: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        let root = self.see(ground, &self.root, None)?;
        self.scan_node(ground, &root, from, sink).map(drop)
    }

    fn scan_node(
        &self,
        ground: &Ground,
        node: &Node,
        from: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        if node.level() == 0 {
            let first = node.find(from).unwrap_or_else(|index| index);
            for index in first..node.count() {
                if sink(node.key(index), node.value(index))? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        for index in node.child_index(from)..node.count() {
            let child = self.see(ground, &node.child(index)?, Some(node.level() - 1))?;
            if self.scan_node(ground, &child, from, sink)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All items whose keys begin with `prefix`, from `from` on.
    pub fn scan_prefix(
        &self,
        ground: &Ground,
        prefix: &[u8],
        from: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        self.scan(ground, from, &mut |key, value| {
            Ok(!key.starts_with(prefix) || sink(key, value)?)
        })
    }

    /// Shows every node and item to `visitor`, each node before what is below it.
    pub fn walk(&self, ground: &Ground, visitor: &mut dyn Visitor) -> Result<()> {
        self.walk_node(ground, (&self.root, None), visitor)
    }

    fn walk_node(
        &self,
        ground: &Ground,
        (at, level): (&Pointer, Option<u8>),
        visitor: &mut dyn Visitor,
    ) -> Result<()> {
        if !visitor.enter(at) {
            return Ok(());
        }
        let node = match self.see(ground, at, level) {
            Ok(node) => node,
            Err(error) => return visitor.lost(at, error),
        };
        visitor.node(at)?;
        for index in 0..node.count() {
            if node.level() == 0 {
                visitor.item(node.key(index), node.value(index))?;
            } else {
                let below = (&node.child(index)?, Some(node.level() - 1));
                self.walk_node(ground, below, visitor)?;
            }
        }
        Ok(())
    }
}

/// Told of everything in a tree.
pub trait Visitor {
    /// A node; false: leave out what is below it.
    fn enter(&mut self, at: &Pointer) -> bool;
    /// A node that was entered and read.
    fn node(&mut self, _: &Pointer) -> Result<()> {
        Ok(())
    }
    /// An item.
    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    /// A node that cannot be read.
    fn lost(&mut self, _: &Pointer, error: Error) -> Result<()> {
        Err(error)
    }
}

#[cfg(test)]
pub(super) mod tests;
