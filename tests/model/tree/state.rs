//! All nodes of the tree, and the operations on names.
use super::node::{Body, Directory, Node};
use cryptfs::fs::{
    Attr, Caller, Entry, Error, Handle, Kind, NO_HANDLE, NodeId, ROOT, Rename, Result, Time,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What a handle was opened for.
#[derive(Clone, Copy)]
pub struct Open {
    pub node: NodeId,
    pub write: bool,
    pub directory: bool,
}

/// What is to be made: kind, mode bits, device number.
pub struct Plan {
    pub body: Body,
    pub kind: Kind,
    pub mode: u32,
    pub rdev: u64,
}

/// Everything behind the one lock.
pub struct State {
    nodes: HashMap<NodeId, Node>,
    handles: HashMap<Handle, Open>,
    next_node: NodeId,
    next_handle: Handle,
}

impl State {
    pub fn new(uid: u32, gid: u32, now: Time) -> Self {
        let mut state = Self {
            nodes: HashMap::new(),
            handles: HashMap::new(),
            next_node: ROOT,
            next_handle: 1,
        };
        let plan = Plan::new(
            Body::Directory(Directory::new(ROOT)),
            Kind::Directory,
            0o755,
        );
        let root = state.add(plan, (uid, gid), now);
        state.nodes.get_mut(&root).expect("just added").references = 1;
        state
    }

    pub fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id).ok_or(Error::Stale)
    }

    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or(Error::Stale)
    }

    pub fn attr(&self, id: NodeId) -> Result<Attr> {
        Ok(self.node(id)?.attr(id))
    }

    /// Hands out a node.
    pub fn entry(&mut self, id: NodeId) -> Result<Entry> {
        let node = self.node_mut(id)?;
        node.references += 1;
        let attr = node.attr(id);
        Ok(Entry { node: id, attr })
    }

    pub fn directory(&self, id: NodeId) -> Result<&Directory> {
        match &self.node(id)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Error::NotDirectory),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Result<&mut Directory> {
        match &mut self.node_mut(id)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Error::NotDirectory),
        }
    }

    pub fn find(&self, parent: NodeId, name: &OsStr) -> Result<Option<NodeId>> {
        let directory = self.directory(parent)?;
        match name.as_bytes() {
            b"." => Ok(Some(parent)),
            b".." => Ok(Some(directory.parent)),
            bytes if bytes.len() > 255 => Err(Error::NameTooLong),
            bytes if bytes.is_empty() || bytes.contains(&0) || bytes.contains(&b'/') => {
                Err(Error::Invalid)
            }
            bytes => Ok(directory.get(bytes)),
        }
    }

    /// That a new name can be made here.
    fn vacant(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        match self.find(parent, name)? {
            Some(_) => Err(Error::Exists),
            None if self.node(parent)?.nlink == 0 => Err(Error::NotFound),
            None => Ok(()),
        }
    }

    fn add(&mut self, plan: Plan, (uid, gid): (u32, u32), now: Time) -> NodeId {
        let id = self.next_node;
        self.next_node += 1;
        let node = Node {
            kind: plan.kind,
            mode: plan.mode,
            nlink: if plan.kind == Kind::Directory { 2 } else { 1 },
            uid,
            gid,
            rdev: plan.rdev,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            body: plan.body,
            xattrs: BTreeMap::new(),
            references: 0,
            handles: 0,
            linkable: false,
        };
        self.nodes.insert(id, node);
        id
    }

    /// Adds a node that no name means yet, owned as its future parent and the caller say.
    pub fn add_for(
        &mut self,
        parent: NodeId,
        mut plan: Plan,
        caller: &Caller,
        now: Time,
    ) -> Result<NodeId> {
        let above = self.node(parent)?;
        let mut gid = caller.gid;
        if plan.kind != Kind::Symlink {
            plan.mode &= !caller.umask;
        }
        if above.mode & 0o2000 != 0 {
            gid = above.gid;
            if plan.kind == Kind::Directory {
                plan.mode |= 0o2000;
            }
        }
        Ok(self.add(plan, (caller.uid, gid), now))
    }

    /// Makes something new under a name.
    pub fn make(
        &mut self,
        at: (NodeId, &OsStr),
        mut plan: Plan,
        caller: &Caller,
        now: Time,
    ) -> Result<NodeId> {
        self.vacant(at.0, at.1)?;
        if let Body::Directory(directory) = &mut plan.body {
            directory.parent = at.0;
        }
        let below = u32::from(plan.kind == Kind::Directory);
        let id = self.add_for(at.0, plan, caller, now)?;
        self.directory_mut(at.0)?.set(at.1.as_bytes(), id);
        let parent = self.node_mut(at.0)?;
        parent.nlink += below;
        parent.modified(now);
        Ok(id)
    }

    pub fn link(&mut self, id: NodeId, at: (NodeId, &OsStr), now: Time) -> Result<Entry> {
        self.vacant(at.0, at.1)?;
        let node = self.node_mut(id)?;
        if node.kind == Kind::Directory {
            return Err(Error::NotPermitted);
        }
        if node.nlink == 0 && !node.linkable {
            return Err(Error::NotFound);
        }
        node.nlink += 1;
        node.linkable = false;
        node.ctime = now;
        self.directory_mut(at.0)?.set(at.1.as_bytes(), id);
        self.node_mut(at.0)?.modified(now);
        self.entry(id)
    }

    pub fn unlink(&mut self, parent: NodeId, name: &OsStr, now: Time) -> Result<()> {
        let id = self.find(parent, name)?.ok_or(Error::NotFound)?;
        if self.node(id)?.kind == Kind::Directory {
            return Err(Error::IsDirectory);
        }
        self.detach(parent, name, id, now)
    }

    pub fn rmdir(&mut self, parent: NodeId, name: &OsStr, now: Time) -> Result<()> {
        let id = self.find(parent, name)?.ok_or(Error::NotFound)?;
        if !self.directory(id)?.is_empty() {
            return Err(Error::NotEmpty);
        }
        self.detach(parent, name, id, now)
    }

    /// Takes a name from a node.
    fn detach(&mut self, parent: NodeId, name: &OsStr, id: NodeId, now: Time) -> Result<()> {
        self.directory_mut(parent)?.remove(name.as_bytes());
        self.node_mut(parent)?.modified(now);
        self.drop_link(parent, id, now)
    }

    /// One link less; a directory loses all of its links at once.
    fn drop_link(&mut self, parent: NodeId, id: NodeId, now: Time) -> Result<()> {
        let node = self.node_mut(id)?;
        node.ctime = now;
        if node.kind == Kind::Directory {
            node.nlink = 0;
            self.node_mut(parent)?.nlink -= 1;
        } else {
            node.nlink -= 1;
        }
        self.settle(id);
        Ok(())
    }

    /// Whether `above` is `below` or one of its ancestors.
    fn is_or_above(&self, above: NodeId, mut below: NodeId) -> Result<bool> {
        while below != above && below != ROOT {
            below = self.directory(below)?.parent;
        }
        Ok(below == above)
    }

    /// The checks stand in the order in which Linux makes them (do_renameat2, vfs_rename, then the file system).
    pub fn rename(
        &mut self,
        from: (NodeId, &OsStr),
        to: (NodeId, &OsStr),
        how: Rename,
        now: Time,
    ) -> Result<()> {
        let source = self.find(from.0, from.1)?.ok_or(Error::NotFound)?;
        let target = self.find(to.0, to.1)?;
        match (how, target) {
            (Rename::NoReplace, Some(_)) => return Err(Error::Exists),
            (Rename::Exchange, None) => return Err(Error::NotFound),
            _ => {}
        }
        if self.node(to.0)?.nlink == 0 {
            return Err(Error::NotFound);
        }
        if self.is_or_above(source, to.0)? {
            return Err(Error::Invalid);
        }
        let Some(target) = target else {
            self.vacant(to.0, to.1)?;
            return self.relocate(source, from, to, now);
        };
        if self.is_or_above(target, from.0)? {
            return Err(if how == Rename::Exchange {
                Error::Invalid
            } else {
                Error::NotEmpty
            });
        }
        if source == target {
            return Ok(());
        }
        if how == Rename::Exchange {
            return self.exchange((source, from), (target, to), now);
        }
        match (
            self.node(source)?.kind == Kind::Directory,
            &self.node(target)?.body,
        ) {
            (true, Body::Directory(directory)) if !directory.is_empty() => {
                return Err(Error::NotEmpty);
            }
            (true, Body::Directory(_)) => {}
            (true, _) => return Err(Error::NotDirectory),
            (false, Body::Directory(_)) => return Err(Error::IsDirectory),
            (false, _) => {}
        }
        self.drop_link(to.0, target, now)?;
        self.relocate(source, from, to, now)
    }

    fn relocate(
        &mut self,
        id: NodeId,
        from: (NodeId, &OsStr),
        to: (NodeId, &OsStr),
        now: Time,
    ) -> Result<()> {
        self.directory_mut(from.0)?.remove(from.1.as_bytes());
        self.directory_mut(to.0)?.set(to.1.as_bytes(), id);
        self.arrive(id, from.0, to.0)?;
        self.node_mut(id)?.ctime = now;
        self.node_mut(from.0)?.modified(now);
        self.node_mut(to.0)?.modified(now);
        Ok(())
    }

    fn exchange(
        &mut self,
        one: (NodeId, (NodeId, &OsStr)),
        other: (NodeId, (NodeId, &OsStr)),
        now: Time,
    ) -> Result<()> {
        for ((id, from), (_, to)) in [(one, other), (other, one)] {
            self.directory_mut(to.0)?.set(to.1.as_bytes(), id);
            self.arrive(id, from.0, to.0)?;
            self.node_mut(id)?.ctime = now;
            self.node_mut(to.0)?.modified(now);
        }
        Ok(())
    }

    /// A directory that moved: its ".." and its parents' links follow.
    fn arrive(&mut self, id: NodeId, from: NodeId, to: NodeId) -> Result<()> {
        if let Body::Directory(directory) = &mut self.node_mut(id)?.body {
            directory.parent = to;
            self.node_mut(from)?.nlink -= 1;
            self.node_mut(to)?.nlink += 1;
        }
        Ok(())
    }

    pub fn open(&mut self, open: Open) -> Result<Handle> {
        self.node_mut(open.node)?.handles += 1;
        let handle = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(handle, open);
        Ok(handle)
    }

    /// What a handle was opened for, if it is this node's.
    pub fn handle(&self, node: NodeId, handle: Handle) -> Result<Open> {
        if handle == NO_HANDLE {
            return Ok(Open {
                node,
                write: true,
                directory: false,
            });
        }
        let open = self.handles.get(&handle).filter(|open| open.node == node);
        open.copied().ok_or(Error::BadHandle)
    }

    pub fn close(&mut self, node: NodeId, handle: Handle) -> Result<()> {
        self.handle(node, handle)?;
        self.handles.remove(&handle);
        self.node_mut(node)?.handles -= 1;
        self.settle(node);
        Ok(())
    }

    pub fn forget(&mut self, id: NodeId, count: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.references = node.references.saturating_sub(count);
            self.settle(id);
        }
    }

    /// Drops a node that nothing holds any more.
    fn settle(&mut self, id: NodeId) {
        let gone = |node: &Node| node.nlink == 0 && node.references == 0 && node.handles == 0;
        if id != ROOT && self.nodes.get(&id).is_some_and(gone) {
            self.nodes.remove(&id);
        }
    }
}

impl Plan {
    pub fn new(body: Body, kind: Kind, mode: u32) -> Self {
        Self {
            body,
            kind,
            mode: mode & 0o7777,
            rdev: 0,
        }
    }
}
