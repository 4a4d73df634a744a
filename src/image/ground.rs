//! What a tree stands on: sealed pages, the map of free ones, and a bounded cache of nodes.
use super::layout::PAGE;
use super::node::Node;
use super::pages::Pages;
use super::pointer::{Kind, Pointer};
use super::space::{Purpose, Space};
use crate::fs::{Damage, Error, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nodes in each half of the cache: 32 MiB in all.
const HALF: usize = 4096;

/// The ground of all trees of an image.
///
/// Locks: `space` and `cache` are taken last, for a moment, and never together.
pub struct Ground {
    /// The device and its keys.
    pub pages: Pages,
    /// Free pages.
    pub space: Mutex<Space>,
    /// Pages up to this generation may belong to a snapshot and stay when the tree drops them.
    pub kept: AtomicU64,
    cache: Mutex<Cache>,
}

impl Ground {
    /// With an empty cache.
    pub fn new(pages: Pages, space: Space) -> Self {
        Self {
            pages,
            space: Mutex::new(space),
            kept: AtomicU64::new(0),
            cache: Mutex::default(),
        }
    }

    /// A node, authentic and well-formed, on the level where it should be.
    pub fn load(&self, at: &Pointer, level: Option<u8>) -> Result<Arc<Node>> {
        let cached = self.cache.lock().get(at);
        let node = match cached {
            Some(node) => node,
            None => {
                if at.kind != Kind::Node {
                    return Err(Damage::Malformed.into());
                }
                let mut plain = Box::new([0; PAGE]);
                self.pages.read(at, &mut plain)?;
                let node = Arc::new(Node::parse(plain)?);
                self.cache.lock().put(*at, node.clone());
                node
            }
        };
        match level.is_none_or(|level| level == node.level()) {
            true => Ok(node),
            false => Err(Damage::Malformed.into()),
        }
    }

    /// A node that moves: the cache need not keep it, and mostly nobody else does.
    pub fn take_over(&self, at: &Pointer, node: Arc<Node>) -> Node {
        self.cache.lock().forget(at);
        Arc::unwrap_or_clone(node)
    }

    /// Remembers a node that was just written.
    pub fn remember(&self, at: Pointer, node: Node) {
        self.cache.lock().put(at, Arc::new(node));
    }

    /// Forgets all nodes (for tests and after a check that read everything).
    pub fn forget_all(&self) {
        *self.cache.lock() = Cache::default();
    }

    /// A page for a node.
    pub fn take_node(&self) -> Result<u64> {
        let run = self.space.lock().take(Purpose::Nodes, 1);
        run.map(|run| run.start).ok_or(Error::NoSpace)
    }

    /// Writes nodes, for which a full disk below has to take the cushion back.
    pub fn write_nodes(&self, first: u64, sealed: &[u8]) -> Result<()> {
        let device = &self.pages.device;
        match device.write(first, sealed) {
            Err(error) if is_full(&error) => {
                self.flatten_cushion();
                device.write(first, sealed)
            }
            written => written,
        }
    }

    fn flatten_cushion(&self) {
        let mut space = self.space.lock();
        space.set_flat(true);
        for range in space.cushion() {
            self.pages.device.punch(range);
        }
    }

    /// Has the disk below set the cushion aside again, if it can.
    pub fn fill_cushion(&self) {
        let mut space = self.space.lock();
        let device = &self.pages.device;
        let filled = (space.cushion().into_iter()).all(|range| device.set_aside(range));
        space.set_flat(!filled);
    }

    /// A page that the tree of the generation `now` drops.
    pub fn drop_page(&self, at: &Pointer, now: u64) {
        if at.generation <= self.kept.load(Relaxed) {
            return;
        }
        let mut space = self.space.lock();
        if at.generation == now {
            space.give_back(at.page);
        } else {
            space.free(at.page);
        }
    }
}

/// Whether what lies below has no space left.
pub fn is_full(error: &Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    full.contains(&error.errno())
}

/// Two halves: what is found in the old one moves to the young; when the young is full the old is dropped.
#[derive(Default)]
struct Cache {
    young: FxHashMap<u64, (Pointer, Arc<Node>)>,
    old: FxHashMap<u64, (Pointer, Arc<Node>)>,
}

impl Cache {
    /// Only the very page that the pointer means: a page number is used again and again.
    fn get(&mut self, at: &Pointer) -> Option<Arc<Node>> {
        if let Some((pointer, node)) = self.young.get(&at.page) {
            return (pointer == at).then(|| node.clone());
        }
        let (pointer, node) = self.old.remove(&at.page)?;
        if pointer != *at {
            return None;
        }
        self.put(pointer, node.clone());
        Some(node)
    }

    fn forget(&mut self, at: &Pointer) {
        self.young.remove(&at.page);
        self.old.remove(&at.page);
    }

    fn put(&mut self, at: Pointer, node: Arc<Node>) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(at.page, (at, node));
    }
}
