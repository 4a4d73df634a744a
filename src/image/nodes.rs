//! What the caller has references to. A node's number is its inode's, and no inode's number comes twice.
use crate::fs::{Error, NodeId, ROOT, Result};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A node that is referenced or open.
#[derive(Default)]
pub struct Node {
    /// Shared by readers of the content and by those who replace whole pages of it, alone for any other change. A page
    /// that was looked up while it is shared may be gone when it is read.
    pub content: RwLock<()>,
    /// Made without a name, and may never have one.
    pub unlinkable: AtomicBool,
    /// Made without a name, and had none yet.
    pub nameless: AtomicBool,
}

#[derive(Default)]
struct Held {
    node: Arc<Node>,
    references: u64,
    handles: u64,
}

/// All of them.
#[derive(Default)]
pub struct Nodes(Mutex<FxHashMap<NodeId, Held>>);

impl Nodes {
    /// A node that the caller has.
    pub fn get(&self, id: NodeId) -> Result<Arc<Node>> {
        let mut nodes = self.0.lock();
        if id == ROOT {
            return Ok(nodes.entry(id).or_default().node.clone());
        }
        nodes
            .get(&id)
            .map(|held| held.node.clone())
            .ok_or(Error::Stale)
    }

    /// One more reference.
    pub fn refer(&self, id: NodeId) {
        self.0.lock().entry(id).or_default().references += 1;
    }

    /// One more handle.
    pub fn open(&self, id: NodeId) -> Arc<Node> {
        let mut nodes = self.0.lock();
        let held = nodes.entry(id).or_default();
        held.handles += 1;
        held.node.clone()
    }

    /// Gives back references; true if that was the last that held the node.
    pub fn forget(&self, id: NodeId, count: u64) -> bool {
        self.less(id, |held| {
            held.references = held.references.saturating_sub(count);
        })
    }

    /// Gives back a handle; true if that was the last that held the node.
    pub fn close(&self, id: NodeId) -> bool {
        self.less(id, |held| held.handles = held.handles.saturating_sub(1))
    }

    fn less(&self, id: NodeId, less: impl FnOnce(&mut Held)) -> bool {
        let mut nodes = self.0.lock();
        let Some(held) = nodes.get_mut(&id) else {
            return false;
        };
        less(held);
        let last = held.references == 0 && held.handles == 0;
        if last && id != ROOT {
            nodes.remove(&id);
            if nodes.capacity() > 8 * nodes.len() + 4096 {
                let room = 2 * nodes.len();
                nodes.shrink_to(room); // the kernel knew many files, and forgets them
            }
        }
        last && id != ROOT
    }

    /// The numbers of all of them.
    pub fn all(&self) -> Vec<NodeId> {
        self.0.lock().keys().copied().collect()
    }

    /// True if somebody has it.
    pub fn holds(&self, id: NodeId) -> bool {
        self.0.lock().contains_key(&id)
    }
}
