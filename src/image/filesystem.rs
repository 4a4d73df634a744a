//! The trait: each operation is one call of the core.
use super::core::Core;
use super::layout;
use super::make::Plan;
use super::open::{self, OpenError, Options};
use super::timer::Timer;
use crate::fs::*;
use crate::volume::keys::Keys;
use rustix::fd::OwnedFd;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// An unlocked image volume.
///
/// Dropped without [`FileSystem::close`] it is what a crash leaves: the last commit.
pub struct Image {
    pub(super) core: Arc<Core>,
    timer: Timer,
}

impl Image {
    /// Opens the newest generation.
    pub fn open(fd: OwnedFd, keys: Arc<Keys>, options: &Options) -> Result<Self, OpenError> {
        let core = Arc::new(open::open(fd, keys, options)?);
        Ok(Self {
            core,
            timer: Timer::default(),
        })
    }

    /// The newest durable generation: for the keystore.
    pub fn generation(&self) -> u64 {
        self.core.store.newest()
    }

    /// The pages of the image that are in use: what a backup has to copy.
    pub fn used(&self) -> Vec<std::ops::Range<u64>> {
        self.core.store.ground.space.lock().used()
    }

    /// The core, to change something.
    fn changing(&self) -> &Core {
        if !self.core.store.read_only {
            self.timer.start(&self.core);
        }
        &self.core
    }

    fn opened(&self, entry: Entry) -> (Entry, Handle) {
        self.core.nodes.open(entry.node);
        (entry, 0)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.timer.stop();
    }
}

impl FileSystem for Image {
    fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        self.core.lookup(parent, name.as_bytes())
    }
    fn forget(&self, node: NodeId, count: u64) {
        if self.core.nodes.forget(node, count) {
            self.core.let_go(node);
        }
    }
    fn getattr(&self, node: NodeId) -> Result<Attr> {
        use super::items::Items;
        self.core.store.inode(node)?.attr(node)
    }
    fn setattr(&self, node: NodeId, set: &SetAttr) -> Result<Attr> {
        self.changing().set_attributes(node, set)
    }
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        self.core.read_link(node)
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
        let mode = match mode & 0o170000 {
            0 => mode | Kind::File.mode_bits(),
            _ => mode,
        };
        match Kind::from_mode(mode) {
            Some(Kind::Directory) => return Err(Error::NotPermitted),
            None | Some(Kind::Symlink) => return Err(Error::Invalid),
            Some(_) => {}
        }
        let target = &[];
        let plan = Plan { mode, rdev, target };
        self.changing().make(parent, name.as_bytes(), &plan, caller)
    }
    fn mkdir(&self, parent: NodeId, name: &OsStr, mode: u32, caller: &Caller) -> Result<Entry> {
        let plan = Plan {
            mode: Kind::Directory.mode_bits() | mode & 0o7777,
            rdev: 0,
            target: &[],
        };
        self.changing().make(parent, name.as_bytes(), &plan, caller)
    }
    fn symlink(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
        caller: &Caller,
    ) -> Result<Entry> {
        let plan = Plan {
            mode: Kind::Symlink.mode_bits() | 0o777,
            rdev: 0,
            target: target.as_bytes(),
        };
        self.changing().make(parent, name.as_bytes(), &plan, caller)
    }
    fn link(&self, node: NodeId, parent: NodeId, name: &OsStr) -> Result<Entry> {
        self.changing().link(node, parent, name.as_bytes())
    }
    fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.changing().unlink(parent, name.as_bytes())
    }
    fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.changing().rmdir(parent, name.as_bytes())
    }
    fn rename(&self, from: (NodeId, &OsStr), to: (NodeId, &OsStr), how: Rename) -> Result<()> {
        let (from, to) = ((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()));
        self.changing().rename(from, to, how)
    }

    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<Handle> {
        if flags.truncate {
            self.changing();
        }
        self.core.open_file(node, flags)
    }
    fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        _: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        let mode = Kind::File.mode_bits() | mode & 0o7777;
        let entry = self.mknod(parent, name, mode, 0, caller)?;
        Ok(self.opened(entry))
    }
    fn tmpfile(
        &self,
        parent: NodeId,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        let core = self.changing();
        let entry = core.make_nameless(parent, mode, flags.unlinkable, caller)?;
        Ok(self.opened(entry))
    }
    fn read(&self, node: NodeId, _: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.core.read(node, offset, buf)
    }
    fn write(
        &self,
        node: NodeId,
        _: Handle,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<()> {
        self.changing().write(node, offset, data, kill_privileges)
    }
    fn release(&self, node: NodeId, _: Handle) -> Result<()> {
        if self.core.nodes.close(node) {
            self.core.let_go(node);
        }
        Ok(())
    }
    fn fsync(&self, _: NodeId, _: Handle, _: bool) -> Result<()> {
        self.core.store.sync()
    }
    fn fallocate(
        &self,
        node: NodeId,
        _: Handle,
        how: Allocate,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        self.changing().allocate(node, how, offset, length)
    }
    fn lseek(&self, node: NodeId, _: Handle, offset: u64, whence: Whence) -> Result<u64> {
        self.core.seek(node, offset, whence)
    }
    fn copy_file_range(
        &self,
        from: (NodeId, Handle, u64),
        to: (NodeId, Handle, u64),
        length: u64,
    ) -> Result<u64> {
        let (from, to) = ((from.0, from.2), (to.0, to.2));
        self.changing().copy(from, to, length)
    }

    fn opendir(&self, node: NodeId) -> Result<Handle> {
        self.core.open_dir(node)
    }
    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.core
            .list((node, handle), offset, &mut |entry| Ok(sink(entry)))
    }
    fn readdirplus(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        self.core.list_plus((node, handle), offset, sink)
    }
    fn releasedir(&self, node: NodeId, handle: Handle) {
        self.core.listings.close(handle);
        if self.core.nodes.close(node) {
            self.core.let_go(node);
        }
    }
    fn fsyncdir(&self, _: NodeId, _: bool) -> Result<()> {
        self.core.store.sync()
    }

    fn statfs(&self) -> Result<Statfs> {
        Ok(self.core.sizes())
    }
    fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        self.core.get_xattr(node, name.as_bytes())
    }
    fn setxattr(&self, node: NodeId, name: &OsStr, value: &[u8], how: SetXattr) -> Result<()> {
        self.changing().set_xattr(node, name.as_bytes(), value, how)
    }
    fn listxattr(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        self.core.list_xattrs(node)
    }
    fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()> {
        self.changing().remove_xattr(node, name.as_bytes())
    }

    fn referenced(&self) -> Vec<NodeId> {
        self.core.nodes.all()
    }
    fn generation(&self) -> u64 {
        Self::generation(self)
    }
    fn create_snapshot(&self, name: &OsStr) -> Result<()> {
        Self::create_snapshot(self, name.as_bytes())
    }
    fn delete_snapshot(&self, name: &OsStr) -> Result<()> {
        Self::delete_snapshot(self, name.as_bytes())
    }

    fn sync(&self) -> Result<()> {
        self.core.store.sync()
    }
    fn close(&self) -> Result<()> {
        self.timer.stop();
        // What changed, and then, so that freed space is given back before the image is put away, what that set free.
        for _ in 0..=layout::KEPT {
            self.core.store.idle()?;
        }
        Ok(())
    }
}
