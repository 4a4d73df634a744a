//! Nodes: what the caller has a reference to, and where it lies on the backing store.
use super::super::file::File;
use super::super::name::DirId;
use super::identity::{Identities, Identity, numbered};
use super::kept::most;
use crate::fs::{Attr, Error, Kind, NodeId, ROOT, Result, Time};
use parking_lot::{Mutex, RwLock};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;
use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// A file, directory or anything else that the caller knows.
pub struct Node {
    /// Its name towards the caller.
    pub id: NodeId,
    /// The inode number that programs see: [`Nodes::number`] of the backing inode.
    pub ino: u64,
    /// The backing device that it lies on, as [`Nodes::number`] counts them.
    device: u16,
    /// When the backing inode was made, where its file system tells: a number is used again.
    born: Option<Time>,
    /// What it is.
    pub kind: Kind,
    /// Of a directory.
    dir: Option<Box<Dir>>,
    /// The names under which the caller found it.
    places: Mutex<Vec<Place>>,
    /// Content, while it is open.
    pub open: Mutex<Open>,
    /// Of what has no known name, or soon none that leads to it: whoever has it open reads and writes on. Of a
    /// directory it is a handle.
    pub held: Mutex<Option<Arc<OwnedFd>>>,
    /// Attributes when the last name of all went away.
    pub gone: Mutex<Option<Box<Attr>>>,
    references: AtomicU64,
}

/// A name on the backing store.
#[derive(Clone)]
pub struct Place {
    /// The directory.
    pub parent: Arc<Node>,
    /// The backing name in it.
    pub name: CString,
}

/// The open content of a regular file, shared by all who read and write it.
#[derive(Default)]
pub struct Open {
    /// Handles.
    pub count: u64,
    /// While there are any, and for a while after a read or a write without one (see [`super::kept`]).
    pub file: Option<Arc<File>>,
    /// It was opened for writing too.
    pub writable: bool,
    /// It was used since the last look at it.
    pub used: bool,
    /// It is among those that are looked at.
    pub kept: bool,
    /// Its length was compared with its data, after a crash.
    pub checked: bool,
}

impl Open {
    /// Brings the file up to date and closes it, unless somebody has it or is at work on it.
    pub fn close(&mut self) -> Result<()> {
        match &self.file {
            Some(file) if self.count == 0 && Arc::strong_count(file) == 1 => {
                // Settled before it is let go: who opens it then would read a stale header.
                let settled = file.settle();
                (self.file, self.writable) = (None, false);
                settled
            }
            _ => Ok(()),
        }
    }
}

/// What a directory has besides.
pub struct Dir {
    /// Its id.
    pub id: DirId,
    /// The per-parent lock: held for reading by lookups, for writing by whatever adds, removes or renames entries. It keeps
    /// file and directory names apart. Two are taken in the order of inode numbers.
    pub children: RwLock<Children>,
    handle: Mutex<Option<Arc<OwnedFd>>>,
}

/// The subdirectories, by name; `None` until the directory was scanned. A subdirectory's backing name holds its id, so it
/// cannot be computed from its name alone.
#[derive(Default)]
pub struct Children {
    /// Name to id.
    pub subdirs: Option<HashMap<Vec<u8>, DirId>>,
}

impl Node {
    /// The directory part.
    pub fn dir(&self) -> Result<&Dir> {
        self.dir.as_deref().ok_or(Error::NotDirectory)
    }

    /// The number that programs see of an entry of this directory, whose backing inode number is `ino`.
    pub fn number_of(&self, ino: u64) -> u64 {
        numbered(ino, self.device)
    }

    fn is(&self, identity: Identity) -> bool {
        self.ino == identity.number && self.born == identity.born
    }

    /// Attributes of what has no name any more and is not open either.
    pub fn remembered(&self) -> Option<Attr> {
        let open = self.open.lock().file.is_some() || self.held.lock().is_some();
        self.gone.lock().as_deref().copied().filter(|_| !open)
    }

    /// Its backing file, where it has no name or soon none.
    pub fn held(&self) -> Option<Arc<OwnedFd>> {
        self.held.lock().clone()
    }

    /// A place where it lies now.
    pub fn place(&self) -> Option<Place> {
        self.places.lock().first().cloned()
    }

    /// A name was found, made or renamed.
    pub fn add_place(&self, parent: &Arc<Node>, name: &CStr) {
        let mut places = self.places.lock();
        match places
            .iter_mut()
            .find(|p| p.parent.ino == parent.ino && *p.name == *name)
        {
            Some(known) => known.parent = parent.clone(),
            None => {
                places.reserve_exact(1); // few have a second name, and there may be millions
                places.push(Place {
                    parent: parent.clone(),
                    name: name.into(),
                });
            }
        }
        *self.held.lock() = None;
    }

    /// Whether it is known by another name too.
    pub fn has_other(&self, parent: &Node, name: &CStr) -> bool {
        let places = self.places.lock();
        places
            .iter()
            .any(|p| p.parent.ino != parent.ino || *p.name != *name)
    }

    /// A name went away; true if it was the last that is known.
    pub fn remove_place(&self, parent: &Node, name: &CStr) -> bool {
        let mut places = self.places.lock();
        places.retain(|p| !(p.parent.ino == parent.ino && *p.name == *name));
        places.is_empty()
    }
}

impl Drop for Node {
    /// Lets go of the directories above one after the other. A tree may be deeper than the stack, and each directory of it
    /// may hold the last reference to the next.
    fn drop(&mut self) {
        let mut places = std::mem::take(self.places.get_mut());
        while let Some(place) = places.pop() {
            if let Some(mut parent) = Arc::into_inner(place.parent) {
                places.append(parent.places.get_mut());
            }
        }
    }
}

/// A walk from a directory to those above it. It comes back to where it was if directories were moved outside of cryptfs
/// and each of two lay in the other once.
#[derive(Default)]
pub struct Upwards {
    steps: usize,
    mark: Option<NodeId>,
}

impl Upwards {
    /// True if the walk has been at this node before; it says so after a few rounds at most.
    pub fn returns(&mut self, at: &Node) -> bool {
        if self.mark == Some(at.id) {
            return true;
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.mark = Some(at.id);
        }
        false
    }
}

/// All nodes.
pub struct Nodes {
    map: RwLock<Map>,
    identities: Identities,
    kept: Mutex<VecDeque<Weak<Node>>>,
    root: Arc<OwnedFd>,
}

struct Map {
    by_id: HashMap<NodeId, Arc<Node>>,
    by_ino: HashMap<u64, NodeId>,
    next: NodeId,
}

impl Nodes {
    /// With the root alone, which is never forgotten.
    pub fn new(root: OwnedFd, stat: &Statx, id: DirId) -> Self {
        let identities = Identities::of_store(root.as_fd(), stat);
        let identity = identities.of(stat);
        let node = new_node(ROOT, identity, Kind::Directory, Some(id));
        let map = Map {
            by_id: HashMap::from([(ROOT, node)]),
            by_ino: HashMap::from([(identity.number, ROOT)]),
            next: ROOT + 1,
        };
        Self {
            map: RwLock::new(map),
            identities,
            kept: Mutex::default(),
            root: Arc::new(root),
        }
    }

    /// The node with this id.
    pub fn get(&self, id: NodeId) -> Result<Arc<Node>> {
        self.map.read().by_id.get(&id).cloned().ok_or(Error::Stale)
    }

    /// The inode number that programs see of this backing inode; no other of the volume has it.
    pub fn number(&self, stat: &Statx) -> u64 {
        self.identities.of(stat).number
    }

    /// Whether these are the attributes of the node's backing inode.
    pub fn is(&self, node: &Node, stat: &Statx) -> bool {
        node.is(self.identities.of(stat))
    }

    /// The node of this backing inode, if the caller has a reference to it.
    pub fn find(&self, stat: &Statx) -> Option<Arc<Node>> {
        let map = self.map.read();
        map.by_ino
            .get(&self.number(stat))
            .and_then(|id| map.by_id.get(id))
            .cloned()
    }

    /// All nodes, at this moment.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.map.read().by_id.values().cloned().collect()
    }

    /// The node of a backing inode that was found, made if need be, with one more reference.
    pub fn refer(&self, stat: &Statx, kind: Kind, dir: Option<DirId>) -> Arc<Node> {
        let identity = self.identities.of(stat);
        let known = |map: &Map| {
            let node = map
                .by_ino
                .get(&identity.number)
                .and_then(|id| map.by_id.get(id))?;
            // Otherwise what the caller still holds was removed outside of cryptfs.
            let same =
                node.is(identity) && node.kind == kind && node.dir.as_ref().map(|d| d.id) == dir;
            same.then(|| {
                node.references.fetch_add(1, Relaxed);
                node.clone()
            })
        };
        if let Some(node) = known(&self.map.read()) {
            return node;
        }
        let mut map = self.map.write();
        match known(&map) {
            Some(node) => node,
            None => map.add(identity, kind, dir),
        }
    }

    /// The node of a backing inode that was just made, with one reference. A node that has its number is of an inode that was
    /// removed outside of cryptfs: what the caller remembers of that must not show in this one.
    pub fn made(&self, stat: &Statx, kind: Kind, dir: Option<DirId>) -> Arc<Node> {
        self.map.write().add(self.identities.of(stat), kind, dir)
    }

    /// Takes `count` references away; the node, if those were the last.
    pub fn forget(&self, id: NodeId, count: u64) -> Option<Arc<Node>> {
        let map = self.map.write();
        let node = map.by_id.get(&id)?;
        let left = node.references.load(Relaxed).saturating_sub(count);
        node.references.store(left, Relaxed);
        (left == 0).then(|| node.clone())
    }

    /// Its content was closed: the node may be unused now.
    pub fn released(&self, node: &Arc<Node>) {
        if node.references.load(Relaxed) > 0 {
            return;
        }
        let shrunk = {
            let mut map = self.map.write();
            map.drop_unused(node);
            map.shrink()
        };
        if shrunk {
            crate::sys::process::trim_heap();
        }
    }

    /// The next lookup of this inode makes a new node: the caller's picture of this one is wrong.
    pub fn detach(&self, node: &Node) {
        let mut map = self.map.write();
        if map.by_ino.get(&node.ino) == Some(&node.id) {
            map.by_ino.remove(&node.ino);
        }
    }

    /// A handle of a directory, for names in it.
    pub fn handle(
        &self,
        node: &Arc<Node>,
        open: &dyn Fn(&Node, &OwnedFd, &CStr) -> Result<OwnedFd>,
    ) -> Result<Arc<OwnedFd>> {
        // Upwards to a directory that is open, and down again from there: a tree may be deeper than the stack.
        let (mut closed, mut walk) = (Vec::new(), Upwards::default());
        let mut at = node.clone();
        let mut handle = loop {
            if at.id == ROOT {
                break self.root.clone();
            }
            let dir = at.dir()?;
            if let Some(handle) = at.held().or_else(|| dir.handle.lock().clone()) {
                break handle;
            }
            if walk.returns(&at) {
                return Err(Error::Stale);
            }
            let place = at.place().ok_or(Error::NotFound)?;
            closed.push((at, place.name));
            at = place.parent;
        };
        while let Some((below, name)) = closed.pop() {
            handle = Arc::new(open(&below, &handle, &name)?);
            *below.dir()?.handle.lock() = Some(handle.clone());
            self.keep(&below);
        }
        Ok(handle)
    }

    /// Directory handles beyond those kept open are opened again when needed.
    fn keep(&self, node: &Arc<Node>) {
        let mut kept = self.kept.lock();
        kept.push_back(Arc::downgrade(node));
        if kept.len() > most()
            && let Some(oldest) = kept.pop_front().and_then(|node| node.upgrade())
            && let Some(dir) = &oldest.dir
        {
            *dir.handle.lock() = None;
        }
    }
}

impl Map {
    fn add(&mut self, identity: Identity, kind: Kind, dir: Option<DirId>) -> Arc<Node> {
        let id = self.next;
        self.next += 1;
        let node = new_node(id, identity, kind, dir);
        self.by_id.insert(id, node.clone());
        self.by_ino.insert(identity.number, id);
        node
    }

    fn drop_unused(&mut self, node: &Arc<Node>) {
        if node.id == ROOT || node.references.load(Relaxed) > 0 || node.open.lock().file.is_some() {
            return;
        }
        self.by_id.remove(&node.id);
        if self.by_ino.get(&node.ino) == Some(&node.id) {
            self.by_ino.remove(&node.ino);
        }
    }

    /// Gives memory back after the kernel knew many files and forgot them; true if that was so.
    fn shrink(&mut self) -> bool {
        let room = 2 * self.by_id.len();
        let shrinks = self.by_id.capacity() > 4 * room + 4096;
        if shrinks {
            self.by_id.shrink_to(room);
            self.by_ino.shrink_to(room);
        }
        shrinks
    }
}

fn new_node(id: NodeId, identity: Identity, kind: Kind, dir: Option<DirId>) -> Arc<Node> {
    let dir = dir.map(|id| {
        Box::new(Dir {
            id,
            children: RwLock::default(),
            handle: Mutex::default(),
        })
    });
    Arc::new(Node {
        id,
        ino: identity.number,
        device: identity.device,
        born: identity.born,
        kind,
        dir,
        places: Mutex::default(),
        open: Mutex::default(),
        held: Mutex::default(),
        gone: Mutex::default(),
        references: AtomicU64::new(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_upwards_ends_in_a_circle_too() {
        let node = |id| {
            let identity = Identity {
                number: id,
                device: 0,
                born: None,
            };
            new_node(id, identity, Kind::Directory, Some(DirId([0; 12])))
        };
        let nodes: Vec<_> = (2..100).map(node).collect();
        let mut walk = Upwards::default();
        assert!(nodes.iter().all(|node| !walk.returns(node)));
        let mut circle = nodes.iter().cycle().take(400);
        assert!(circle.any(|node| walk.returns(node)));
    }

    #[test]
    fn what_the_kernel_forgot_takes_no_memory() {
        let mut map = Map {
            by_id: HashMap::new(),
            by_ino: HashMap::new(),
            next: ROOT + 1,
        };
        let identity = |number| Identity {
            number,
            device: 0,
            born: None,
        };
        let nodes: Vec<_> = (0..100_000)
            .map(|number| map.add(identity(number), Kind::File, None))
            .collect();
        for node in &nodes[..99_000] {
            node.references.store(0, Relaxed);
            map.drop_unused(node);
            map.shrink();
        }
        assert_eq!((map.by_id.len(), map.by_ino.len()), (1000, 1000));
        assert!(map.by_id.capacity() < 20_000, "{}", map.by_id.capacity());
        assert!(map.by_ino.capacity() < 20_000, "{}", map.by_ino.capacity());
    }
}
