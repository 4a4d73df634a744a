//! The tree: directory entries, nodes and attributes over the backing store.
//!
//! | module | operations |
//! | --- | --- |
//! | [`node`] | what the caller has references to |
//! | `identity` | which backing inode a node is |
//! | `lookup` | lookup, forget, getattr, and names to backing names |
//! | `make` | create, mkdir, mknod, symlink, link, tmpfile |
//! | `remove` | unlink, rmdir, rename |
//! | `hold` | what stays open because its name goes away |
//! | `list` | opendir, readdir, readdirplus |
//! | `attr` | setattr, statfs |
//! | `content` | open, read, write, fsync and the rest on open files |
//! | `kept` | content that is open though nobody has a handle |
//! | `link` | symbolic link targets |
//! | `root_mode` | the mode of the mount's root |
//! | `xattr` | extended attributes and ACLs |
//! | [`check`] | every name and unit of the volume |

mod attr;
pub mod check;
mod content;
mod hold;
mod identity;
mod kept;
pub mod link;
mod list;
mod lookup;
mod make;
mod node;
mod remove;
mod root_mode;
pub mod xattr;

use super::backing::{self, Backing, Object};
use super::name::{DirId, NameEncoding, Names};
use super::session::Session;
use super::store::Store;
use crate::fs::*;
use crate::volume::keys::Keys;
use content::{READ, WRITE};
use kept::Kept;
use node::{Node, Nodes};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Statx;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a directory volume's header says about its tree, and how it is mounted.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The root directory's id.
    pub root: DirId,
    /// How names are written.
    pub encoding: NameEncoding,
    /// Nothing may be changed.
    pub read_only: bool,
}

/// An unlocked directory volume.
pub struct Directory {
    store: Arc<Store>,
    names: Names,
    nodes: Nodes,
    kept: Kept,
    listings: Mutex<HashMap<Handle, Arc<Mutex<list::Listing>>>>,
    next_handle: AtomicU64,
    /// The volume's own directory, `.cryptfs`.
    own: OwnedFd,
    /// The backing directory, open since the session began: the kernel reports each failed write of its file system once for
    /// each descriptor, so one opened later would miss those that another program has already been told of. `None` when
    /// nothing may be changed.
    whole: Option<OwnedFd>,
    long_targets: link::LongTargets,
    root_mode: root_mode::RootMode,
    /// New objects may belong to others.
    as_root: bool,
}

/// Makes the tree of a new volume, whose backing directory is `root`.
pub fn format(root: BorrowedFd<'_>, keys: &Keys) -> Result<()> {
    let backing = Backing::default();
    let own = backing.open_dir(root, c".cryptfs")?;
    Session::none(own.as_fd(), &backing, keys.session())
}

impl Directory {
    /// Opens the tree under `root` (the backing directory), beginning a session unless it is read-only.
    pub fn open(
        root: OwnedFd,
        keys: Arc<Keys>,
        options: Options,
        backing: Backing,
    ) -> Result<Self> {
        let own = match backing.open_dir(root.as_fd(), c".cryptfs") {
            // A salvage of a volume that lost it: the root has none of the names that are looked for in it, so that every
            // record counts as missing.
            Err(rustix::io::Errno::NOENT) if options.read_only => {
                backing.open_dir(root.as_fd(), c".")?
            }
            own => own?,
        };
        let session = Session::read(own.as_fd(), &backing, keys.session())?;
        if !options.read_only {
            session.begin(own.as_fd(), &backing, keys.session())?;
        }
        let whole = match options.read_only {
            true => None,
            false => Some(backing.read_dir(root.as_fd())?),
        };
        let stat = backing::stat(Object::Open(root.as_fd()))?;
        let long_targets = link::LongTargets::find(own.as_fd())?;
        let root_mode = root_mode::RootMode::read(Object::Pinned(root.as_fd()));
        Ok(Self {
            names: Names::new(keys.clone(), options.encoding),
            nodes: Nodes::new(root, &stat, options.root),
            store: Arc::new(Store::new(backing, keys, session, options.read_only)),
            kept: Kept::default(),
            listings: Mutex::default(),
            next_handle: AtomicU64::new(1),
            own,
            whole,
            long_targets,
            root_mode,
            as_root: rustix::process::geteuid().is_root(),
        })
    }

    /// True if the session before this one did not end cleanly.
    pub fn after_crash(&self) -> bool {
        self.store.session.after_crash
    }

    fn backing(&self) -> &Backing {
        &self.store.backing
    }

    /// A handle of a directory, for names in it.
    fn handle(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>> {
        self.nodes.handle(node, &|node, parent, name| {
            let handle = self.backing().open_dir(parent.as_fd(), name)?;
            self.must_be(node, Object::Pinned(handle.as_fd()))?;
            Ok(handle)
        })
    }

    /// Fails as if the name were gone where it is another object's by now.
    fn must_be(&self, node: &Node, object: Object<'_>) -> Result<()> {
        if self.nodes.is(node, &backing::stat(object)?) {
            Ok(())
        } else {
            Err(Error::NotFound)
        }
    }

    fn writable(&self) -> Result<()> {
        if self.store.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Calls with a descriptor of the node's backing inode. A name is compared with the node after it was opened, and
    /// never used again: whoever can rename in the backing directory could put another file there before the call. What
    /// the kernel has no call by descriptor for is unlink(2) and rename(2): they only move names, which needs the right
    /// to write to the directory that the attacker then has as well.
    fn with_object<T>(
        &self,
        node: &Arc<Node>,
        call: impl FnOnce(Object<'_>) -> Result<T>,
    ) -> Result<T> {
        let file = node.open.lock().file.clone();
        if let Some(file) = file {
            return file.with_fd(|fd| call(Object::Open(fd)));
        }
        if node.id == ROOT {
            let root = self.handle(node)?;
            return call(Object::At(root.as_fd(), c"."));
        }
        if let Some(held) = node.held() {
            return call(match node.kind {
                Kind::Directory => Object::Pinned(held.as_fd()),
                _ => Object::Open(held.as_fd()),
            });
        }
        let place = node.place().ok_or(Error::Stale)?;
        let parent = self.handle(&place.parent)?;
        let pinned = self.backing().pin(parent.as_fd(), &place.name)?;
        let object = Object::Pinned(pinned.as_fd());
        self.must_be(node, object)?;
        call(object)
    }

    /// The attributes of a node's backing inode, which need no descriptor of it.
    fn stat(&self, node: &Arc<Node>) -> Result<Statx> {
        let in_reach = node.open.lock().file.is_some() || node.held().is_some();
        let stat = match node.place() {
            Some(place) if !in_reach => {
                let parent = self.handle(&place.parent)?;
                backing::stat(Object::At(parent.as_fd(), &place.name))?
            }
            // Compared when it was opened. On overlayfs the first write may give it another number.
            _ => return self.with_object(node, |object| Ok(backing::stat(object)?)),
        };
        if self.nodes.is(node, &stat) {
            Ok(stat)
        } else {
            Err(Error::NotFound)
        }
    }
}

impl FileSystem for Directory {
    fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        self.look_up(&self.nodes.get(parent)?, check_name(name)?)
    }
    fn forget(&self, node: NodeId, count: u64) {
        if let Some(node) = self.nodes.forget(node, count) {
            // What it says has no one to hear: the session counts as a crash.
            let _ = node.open.lock().close();
            self.nodes.released(&node);
        }
    }
    fn getattr(&self, node: NodeId) -> Result<Attr> {
        self.attributes(&self.nodes.get(node)?)
    }
    fn setattr(&self, node: NodeId, set: &SetAttr) -> Result<Attr> {
        self.writable()?;
        self.set_attributes(&self.nodes.get(node)?, set)
    }
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        self.read_link(&self.nodes.get(node)?)
    }

    fn mknod(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
        caller: &Caller,
    ) -> Result<Entry> {
        self.writable()?;
        self.make_node(
            &self.nodes.get(parent)?,
            check_name(name)?,
            mode,
            u64::from(rdev),
            caller,
        )
    }
    fn mkdir(&self, parent: NodeId, name: &OsStr, mode: u32, caller: &Caller) -> Result<Entry> {
        self.writable()?;
        self.make_directory(&self.nodes.get(parent)?, check_name(name)?, mode, caller)
    }
    fn symlink(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
        caller: &Caller,
    ) -> Result<Entry> {
        self.writable()?;
        self.make_link(
            &self.nodes.get(parent)?,
            check_name(name)?,
            target.as_bytes(),
            caller,
        )
    }
    fn link(&self, node: NodeId, parent: NodeId, name: &OsStr) -> Result<Entry> {
        self.writable()?;
        self.hard_link(
            &self.nodes.get(node)?,
            &self.nodes.get(parent)?,
            check_name(name)?,
        )
    }
    fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.writable()?;
        self.remove_file(&self.nodes.get(parent)?, check_name(name)?)
    }
    fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.writable()?;
        self.remove_directory(&self.nodes.get(parent)?, check_name(name)?)
    }
    fn rename(&self, from: (NodeId, &OsStr), to: (NodeId, &OsStr), how: Rename) -> Result<()> {
        self.writable()?;
        let (old, new) = (self.nodes.get(from.0)?, self.nodes.get(to.0)?);
        self.rename_entry((&old, check_name(from.1)?), (&new, check_name(to.1)?), how)
    }

    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<Handle> {
        self.open_content(&self.nodes.get(node)?, flags)
    }
    fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        _: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        self.writable()?;
        self.create_file(&self.nodes.get(parent)?, check_name(name)?, mode, caller)
    }
    fn tmpfile(
        &self,
        parent: NodeId,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        self.writable()?;
        self.create_nameless(&self.nodes.get(parent)?, mode, flags, caller)
    }
    fn read(&self, node: NodeId, _: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.content(&self.nodes.get(node)?, READ)?
            .read(offset, buf)
    }
    fn write(
        &self,
        node: NodeId,
        _: Handle,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<()> {
        self.write_content(&self.nodes.get(node)?, offset, data, kill_privileges)
    }
    fn release(&self, node: NodeId, _: Handle) -> Result<()> {
        self.close_content(&self.nodes.get(node)?)
    }
    fn fsync(&self, node: NodeId, _: Handle, data_only: bool) -> Result<()> {
        self.content(&self.nodes.get(node)?, READ)?.sync(data_only)
    }
    fn fallocate(
        &self,
        node: NodeId,
        _: Handle,
        how: Allocate,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        self.writable()?;
        self.content(&self.nodes.get(node)?, WRITE)?
            .allocate(how, offset, length)
    }
    fn lseek(&self, node: NodeId, _: Handle, offset: u64, whence: Whence) -> Result<u64> {
        self.content(&self.nodes.get(node)?, READ)?
            .seek(offset, whence)
    }
    fn copy_file_range(
        &self,
        from: (NodeId, Handle, u64),
        to: (NodeId, Handle, u64),
        length: u64,
    ) -> Result<u64> {
        self.copy_content((from.0, from.2), (to.0, to.2), length)
    }

    fn opendir(&self, node: NodeId) -> Result<Handle> {
        let listing = self.open_listing(&self.nodes.get(node)?)?;
        let handle = self.next_handle.fetch_add(1, Relaxed);
        self.listings
            .lock()
            .insert(handle, Arc::new(Mutex::new(listing)));
        Ok(handle)
    }
    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.list(&self.nodes.get(node)?, handle, offset, sink)
    }
    fn readdirplus(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        self.list_plus(&self.nodes.get(node)?, handle, offset, sink)
    }
    fn releasedir(&self, _: NodeId, handle: Handle) {
        self.listings.lock().remove(&handle);
    }
    fn fsyncdir(&self, node: NodeId, _: bool) -> Result<()> {
        let handle = self.handle(&self.nodes.get(node)?)?;
        Ok(self.backing().sync_dir(handle.as_fd())?)
    }

    fn statfs(&self) -> Result<Statfs> {
        self.sizes()
    }
    fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        let node = self.nodes.get(node)?;
        self.found(&node, || self.get_attribute(&node, name.as_bytes()))
    }
    fn setxattr(&self, node: NodeId, name: &OsStr, value: &[u8], how: SetXattr) -> Result<()> {
        self.writable()?;
        let node = self.nodes.get(node)?;
        self.found(&node, || {
            self.set_attribute(&node, name.as_bytes(), value, how)
        })
    }
    fn listxattr(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        let node = self.nodes.get(node)?;
        self.found(&node, || self.list_attributes(&node))
    }
    fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()> {
        self.writable()?;
        let node = self.nodes.get(node)?;
        self.found(&node, || self.remove_attribute(&node, name.as_bytes()))
    }

    fn referenced(&self) -> Vec<NodeId> {
        self.nodes.all().iter().map(|node| node.id).collect()
    }
    fn sync(&self) -> Result<()> {
        for node in self.nodes.all() {
            let file = node.open.lock().file.clone();
            if let Some(file) = file {
                file.settle_length()?;
                drop(file);
                self.forget(node.id, 0); // which may have come meanwhile, and found it in use
            }
        }
        match &self.whole {
            Some(whole) => Ok(self.backing().sync_all(whole.as_fd())?),
            None => Ok(()),
        }
    }

    fn close(&self) -> Result<()> {
        if self.store.read_only {
            return Ok(());
        }
        for node in self.nodes.all() {
            let file = node.open.lock().file.clone();
            if let Some(file) = file {
                file.settle()?;
            }
        }
        self.sync()?;
        if self.store.unsettled() {
            return Ok(()); // the record still says that this session did not end cleanly, and so it was
        }
        self.store.session.end(
            self.own.as_fd(),
            self.backing(),
            self.store.keys.session(),
            self.store.repaired(),
        )
    }
}

/// A name as POSIX has it.
fn check_name(name: &OsStr) -> Result<&[u8]> {
    match name.as_bytes() {
        [] | b"." | b".." => Err(Error::Invalid),
        name if name.len() > super::name::MAX_NAME => Err(Error::NameTooLong),
        name if name.iter().any(|b| matches!(b, 0 | b'/')) => Err(Error::Invalid),
        name => Ok(name),
    }
}
