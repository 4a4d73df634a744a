//! The oracle: a plain tree in memory that behaves as ext4 under Linux does.
//!
//! It is slow, simple and forgetful on purpose. One lock guards everything, nothing is cached, and each operation says
//! in a line which times it moves. Node ids are inode numbers and are never used again. Permissions are not checked;
//! the kernel does that.
//!
//! Where Linux leaves a choice, the tree takes ext4's: a directory has two links and one for each directory in it, any
//! truncation moves the times, `relatime`.
mod content;
mod node;
mod state;

use cryptfs::fs::{
    Allocate, Attr, Caller, DirEntry, Entry, Error, FileSystem, Handle, Kind, NodeId, OpenFlags,
    Rename, Result, SetAttr, SetTime, SetXattr, Statfs, Time, Whence,
};
use node::{Body, Directory, Node};
use parking_lot::Mutex;
use state::{Open, Plan, State};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the tree what time it is.
pub type Clock = Box<dyn Fn() -> Time + Send + Sync>;

/// The largest file, as ext4's with 4 KiB blocks.
const LARGEST: u64 = (1 << 44) - 4096;
/// The largest value of an extended attribute (`XATTR_SIZE_MAX`).
const LARGEST_XATTR: usize = 65_536;

/// The tree.
pub struct Tree {
    clock: Clock,
    state: Mutex<State>,
}

impl Tree {
    /// An empty tree that goes by the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Box::new(|| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            Time {
                sec: now.as_secs() as i64,
                nsec: now.subsec_nanos(),
            }
        }))
    }

    /// An empty tree that goes by the given clock. Its root belongs to who runs the test.
    pub fn with_clock(clock: Clock) -> Self {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let state = Mutex::new(State::new(uid, gid, clock()));
        Self { clock, state }
    }

    fn make(&self, at: (NodeId, &OsStr), plan: Plan, caller: &Caller) -> Result<Entry> {
        let mut state = self.state.lock();
        let id = state.make(at, plan, caller, (self.clock)())?;
        state.entry(id)
    }

    /// Runs `change` on an open file's node.
    fn change<T>(
        &self,
        node: NodeId,
        handle: Handle,
        change: impl FnOnce(&mut Node, Time) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state.lock();
        if !state.handle(node, handle)?.write {
            return Err(Error::BadHandle);
        }
        change(state.node_mut(node)?, (self.clock)())
    }
}

/// The end of a range, if a file may reach so far.
fn end(offset: u64, length: u64) -> Result<u64> {
    let end = offset.checked_add(length).ok_or(Error::FileTooLarge)?;
    if end > LARGEST {
        Err(Error::FileTooLarge)
    } else {
        Ok(end)
    }
}

fn resolve(time: SetTime, now: Time) -> Time {
    match time {
        SetTime::Now => now,
        SetTime::At(time) => time,
    }
}

/// Whether this kind of node may have attributes of this name (xattr(7)).
fn check_xattr(node: &Node, name: &OsStr, refusal: Error) -> Result<()> {
    let name = name.as_bytes();
    if name.len() > 255 {
        return Err(Error::Range);
    }
    if name.starts_with(b"user.") {
        return match node.kind {
            Kind::File | Kind::Directory => Ok(()),
            _ => Err(refusal),
        };
    }
    if name.starts_with(b"trusted.") || name.starts_with(b"security.") {
        return Ok(());
    }
    Err(Error::NotSupported)
}

impl FileSystem for Tree {
    fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        let mut state = self.state.lock();
        let id = state.find(parent, name)?.ok_or(Error::NotFound)?;
        state.entry(id)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.state.lock().forget(node, count);
    }

    fn getattr(&self, node: NodeId) -> Result<Attr> {
        self.state.lock().attr(node)
    }

    fn setattr(&self, id: NodeId, set: &SetAttr) -> Result<Attr> {
        let mut state = self.state.lock();
        let now = (self.clock)();
        let node = state.node_mut(id)?;
        if let Some(size) = set.size {
            node.content()?;
            end(size, 0)?;
        }
        if let Some(mode) = set.mode {
            if node.kind == Kind::Symlink {
                return Err(Error::NotSupported);
            }
            node.mode = mode & 0o7777;
            node.ctime = now;
        }
        if set.uid.is_some() || set.gid.is_some() {
            node.uid = set.uid.unwrap_or(node.uid);
            node.gid = set.gid.unwrap_or(node.gid);
            node.kill_privileges();
            node.ctime = now;
        }
        if set.kill_privileges {
            node.kill_privileges();
        }
        if let Some(size) = set.size {
            node.content()?.truncate(size);
            node.modified(now);
        }
        if let Some(time) = set.atime {
            node.atime = resolve(time, now);
            node.ctime = now;
        }
        if let Some(time) = set.mtime {
            node.mtime = resolve(time, now);
            node.ctime = now;
        }
        Ok(node.attr(id))
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let mut state = self.state.lock();
        let node = state.node_mut(node)?;
        node.accessed((self.clock)());
        match &node.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Error::Invalid),
        }
    }

    fn mknod(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
        caller: &Caller,
    ) -> Result<Entry> {
        // Linux takes "no type" for a regular file.
        let kind = match mode & 0o170000 {
            0 => Kind::File,
            _ => Kind::from_mode(mode).ok_or(Error::Invalid)?,
        };
        let body = match kind {
            Kind::Directory => return Err(Error::NotPermitted),
            Kind::Symlink => return Err(Error::Invalid),
            Kind::File => Body::File(content::Content::default()),
            _ => Body::Special,
        };
        let mut plan = Plan::new(body, kind, mode);
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            plan.rdev = rdev.into();
        }
        self.make((parent, name), plan, caller)
    }

    fn mkdir(&self, parent: NodeId, name: &OsStr, mode: u32, caller: &Caller) -> Result<Entry> {
        let body = Body::Directory(Directory::new(parent));
        self.make(
            (parent, name),
            Plan::new(body, Kind::Directory, mode),
            caller,
        )
    }

    fn symlink(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
        caller: &Caller,
    ) -> Result<Entry> {
        let body = Body::Symlink(target.as_bytes().to_vec());
        self.make(
            (parent, name),
            Plan::new(body, Kind::Symlink, 0o777),
            caller,
        )
    }

    fn link(&self, node: NodeId, parent: NodeId, name: &OsStr) -> Result<Entry> {
        self.state.lock().link(node, (parent, name), (self.clock)())
    }

    fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.state.lock().unlink(parent, name, (self.clock)())
    }

    fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.state.lock().rmdir(parent, name, (self.clock)())
    }

    fn rename(&self, from: (NodeId, &OsStr), to: (NodeId, &OsStr), how: Rename) -> Result<()> {
        self.state.lock().rename(from, to, how, (self.clock)())
    }

    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<Handle> {
        let mut state = self.state.lock();
        let now = (self.clock)();
        let file = state.node_mut(node)?;
        file.content()?;
        if flags.truncate {
            file.content()?.truncate(0);
            file.modified(now);
            if flags.kill_privileges {
                file.kill_privileges();
            }
        }
        state.open(Open {
            node,
            write: flags.write,
            directory: false,
        })
    }

    fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        let entry = self.mknod(
            parent,
            name,
            Kind::File.mode_bits() | mode & 0o7777,
            0,
            caller,
        )?;
        let handle = self.open(entry.node, flags)?;
        Ok((entry, handle))
    }

    fn tmpfile(
        &self,
        parent: NodeId,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        let mut state = self.state.lock();
        state.directory(parent)?;
        let plan = Plan::new(Body::File(content::Content::default()), Kind::File, mode);
        let id = state.add_for(parent, plan, caller, (self.clock)())?;
        let node = state.node_mut(id)?;
        node.nlink = 0;
        node.linkable = !flags.unlinkable;
        let handle = state.open(Open {
            node: id,
            write: flags.write,
            directory: false,
        })?;
        Ok((state.entry(id)?, handle))
    }

    fn read(&self, node: NodeId, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.state.lock();
        state.handle(node, handle)?;
        let node = state.node_mut(node)?;
        node.accessed((self.clock)());
        Ok(node.content()?.read(offset, buf))
    }

    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<()> {
        self.change(node, handle, |node, now| {
            if data.is_empty() {
                return Ok(());
            }
            end(offset, data.len() as u64)?;
            if kill_privileges {
                node.kill_privileges();
            }
            node.content()?.write(offset, data);
            node.modified(now);
            Ok(())
        })
    }

    fn release(&self, node: NodeId, handle: Handle) -> Result<()> {
        self.state.lock().close(node, handle)
    }

    fn fsync(&self, node: NodeId, handle: Handle, _data_only: bool) -> Result<()> {
        self.state.lock().handle(node, handle).map(drop)
    }

    fn fallocate(
        &self,
        node: NodeId,
        handle: Handle,
        how: Allocate,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        self.change(node, handle, |node, now| {
            if length == 0 {
                return Err(Error::Invalid);
            }
            let end = end(offset, length)?;
            let content = node.content()?;
            if !matches!(how, Allocate::Reserve { .. }) {
                content.punch(offset, length);
            }
            if let Allocate::Reserve { keep_size: false } | Allocate::Zero { keep_size: false } =
                how
            {
                content.grow(end);
            }
            node.modified(now);
            Ok(())
        })
    }

    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: Whence) -> Result<u64> {
        let mut state = self.state.lock();
        state.handle(node, handle)?;
        let content = state.node_mut(node)?.content()?;
        if offset >= content.size() {
            return Err(Error::NoSuchAddress);
        }
        match whence {
            Whence::Data => content.data(offset).ok_or(Error::NoSuchAddress),
            Whence::Hole => Ok(content.hole(offset)),
        }
    }

    fn copy_file_range(
        &self,
        from: (NodeId, Handle, u64),
        to: (NodeId, Handle, u64),
        length: u64,
    ) -> Result<u64> {
        let mut state = self.state.lock();
        let now = (self.clock)();
        state.handle(from.0, from.1)?;
        if !state.handle(to.0, to.1)?.write {
            return Err(Error::BadHandle);
        }
        let size = state.node_mut(from.0)?.content()?.size();
        let count = size.saturating_sub(from.2).min(length);
        if count == 0 {
            return Ok(0);
        }
        if from.0 == to.0 && from.2 < to.2 + count && to.2 < from.2 + count {
            return Err(Error::Invalid);
        }
        end(to.2, count)?;
        let mut data = vec![0; count as usize];
        let source = state.node_mut(from.0)?;
        source.content()?.read(from.2, &mut data);
        source.accessed(now);
        let target = state.node_mut(to.0)?;
        target.content()?.write(to.2, &data);
        target.modified(now);
        Ok(count)
    }

    fn opendir(&self, node: NodeId) -> Result<Handle> {
        let mut state = self.state.lock();
        state.directory(node)?;
        state.open(Open {
            node,
            write: false,
            directory: true,
        })
    }

    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.list(node, handle, offset, Taken::Named, &mut |entry, _| {
            sink(entry)
        })
    }

    fn readdirplus(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        self.list(node, handle, offset, Taken::Referenced, sink)
    }

    fn releasedir(&self, node: NodeId, handle: Handle) {
        let _ = self.state.lock().close(node, handle);
    }

    fn fsyncdir(&self, node: NodeId, _data_only: bool) -> Result<()> {
        self.state.lock().directory(node).map(drop)
    }

    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs {
            bsize: 4096,
            blocks: 1 << 24,
            bfree: 1 << 23,
            bavail: 1 << 23,
            files: 1 << 20,
            ffree: 1 << 19,
            namelen: 255,
        })
    }

    fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        let state = self.state.lock();
        let node = state.node(node)?;
        check_xattr(node, name, Error::NoAttribute)?;
        node.xattrs
            .get(name.as_bytes())
            .cloned()
            .ok_or(Error::NoAttribute)
    }

    fn setxattr(&self, node: NodeId, name: &OsStr, value: &[u8], how: SetXattr) -> Result<()> {
        let mut state = self.state.lock();
        let node = state.node_mut(node)?;
        check_xattr(node, name, Error::NotPermitted)?;
        if value.len() > LARGEST_XATTR {
            return Err(Error::TooBig);
        }
        match (how, node.xattrs.contains_key(name.as_bytes())) {
            (SetXattr::Create, true) => return Err(Error::Exists),
            (SetXattr::Replace, false) => return Err(Error::NoAttribute),
            _ => {}
        }
        node.xattrs.insert(name.as_bytes().to_vec(), value.to_vec());
        node.ctime = (self.clock)();
        Ok(())
    }

    fn listxattr(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        Ok(self
            .state
            .lock()
            .node(node)?
            .xattrs
            .keys()
            .cloned()
            .collect())
    }

    fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()> {
        let mut state = self.state.lock();
        let node = state.node_mut(node)?;
        check_xattr(node, name, Error::NotPermitted)?;
        node.xattrs
            .remove(name.as_bytes())
            .ok_or(Error::NoAttribute)?;
        node.ctime = (self.clock)();
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// What a listing hands out.
#[derive(PartialEq)]
enum Taken {
    Named,
    Referenced,
}

impl Tree {
    /// Lists a directory. The lock is held meanwhile, so `sink` must not call the tree.
    fn list(
        &self,
        id: NodeId,
        handle: Handle,
        offset: u64,
        taken: Taken,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        let mut state = self.state.lock();
        if !state.handle(id, handle)?.directory {
            return Err(Error::BadHandle);
        }
        if state.node(id)?.nlink == 0 {
            return Err(Error::NotFound);
        }
        state.node_mut(id)?.accessed((self.clock)());
        let mut handed = Vec::new();
        let directory = state.directory(id)?;
        for (next, name, ino) in [(1, ".", id), (2, "..", directory.parent)] {
            let entry = DirEntry {
                ino,
                next,
                kind: Kind::Directory,
                name: OsStr::new(name),
            };
            if next > offset && sink(&entry, None) {
                return Ok(());
            }
        }
        for (next, name, ino) in directory.after(offset) {
            let attr = state.attr(ino)?;
            let entry = DirEntry {
                ino,
                next,
                kind: attr.kind,
                name: OsStr::from_bytes(name),
            };
            if sink(&entry, Some(&Entry { node: ino, attr })) {
                break;
            }
            handed.push(ino);
        }
        if taken == Taken::Referenced {
            for node in handed {
                state.node_mut(node)?.references += 1;
            }
        }
        Ok(())
    }
}

#[test]
fn what_is_unlinked_lives_while_it_is_held() {
    let tree = Tree::new();
    let caller = Caller {
        uid: 0,
        gid: 0,
        umask: 0o022,
    };
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let name = OsStr::new("a");
    let (entry, handle) = tree
        .create(cryptfs::fs::ROOT, name, 0o666, flags, &caller)
        .expect("create");
    assert_eq!(entry.attr.mode, 0o644);
    tree.unlink(cryptfs::fs::ROOT, name).expect("unlink");
    tree.forget(entry.node, 1);
    tree.write(entry.node, handle, 3, b"x", false)
        .expect("write");
    let attr = tree.getattr(entry.node).expect("getattr");
    assert_eq!((attr.nlink, attr.size), (0, 4));
    tree.release(entry.node, handle).expect("release");
    assert!(matches!(tree.getattr(entry.node), Err(Error::Stale)));
}
