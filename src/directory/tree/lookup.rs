//! Finding: a name in a directory, a node's attributes.
use super::super::file::File;
use super::super::layout;
use super::super::name::{DirId, Shape};
use super::node::Children;
use super::*;
use rustix::fd::BorrowedFd;
use rustix::fs::Statx;
use rustix::io::Errno;
use std::ffi::CStr;

impl Directory {
    pub(super) fn look_up(&self, parent: &Arc<Node>, name: &[u8]) -> Result<Entry> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let children = dir.children.read();
        if let Some(id) = children.get(name) {
            let sealed = self.names.directory(dir.id, name, id);
            return self.entry(parent, handle.as_fd(), &sealed.entry, Some(id));
        }
        let sealed = self.names.file(dir.id, name);
        match self.entry(parent, handle.as_fd(), &sealed.entry, None) {
            Err(error) if error.errno() == Errno::NOENT.raw_os_error() => {}
            found => return found,
        }
        if children.subdirs.is_some() {
            return Err(Error::NotFound);
        }
        drop(children);
        self.scan(parent, &mut dir.children.write())?;
        let id = dir.children.read().get(name).ok_or(Error::NotFound)?;
        let sealed = self.names.directory(dir.id, name, id);
        self.entry(parent, handle.as_fd(), &sealed.entry, Some(id))
    }

    /// Learns the subdirectories of a directory, once.
    pub(super) fn scan(&self, parent: &Arc<Node>, children: &mut Children) -> Result<()> {
        if children.subdirs.is_some() {
            return Ok(());
        }
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut found = HashMap::new();
        list::for_each(self.backing(), handle.as_fd(), |entry| {
            if let Shape::Directory(id) = self.names.shape(entry)
                && let Ok(name) = self.open_name(handle.as_fd(), dir.id, entry)
            {
                found.insert(name, id);
            }
        })?;
        children.subdirs = Some(found);
        Ok(())
    }

    /// The plaintext name of a backing entry.
    pub(super) fn open_name(
        &self,
        handle: BorrowedFd<'_>,
        parent: DirId,
        entry: &[u8],
    ) -> Result<Vec<u8>> {
        let side = self
            .names
            .side(entry)
            .map(|side| self.read_side(handle, &side))
            .transpose()?;
        Ok(self.names.open(parent, entry, side.as_deref())?)
    }

    pub(super) fn read_side(&self, handle: BorrowedFd<'_>, side: &CStr) -> Result<Vec<u8>> {
        let file = self.backing().open_file(handle, side, false)?;
        let mut content = vec![0; 512]; // a sealed name has at most 272 bytes
        let length = backing::read(file.as_fd(), &mut content, 0)?;
        content.truncate(length);
        Ok(content)
    }

    /// The entry of a backing name, with one reference.
    pub(super) fn entry(
        &self,
        parent: &Arc<Node>,
        handle: BorrowedFd<'_>,
        name: &CStr,
        dir: Option<DirId>,
    ) -> Result<Entry> {
        let stat = backing::stat(Object::At(handle, name))?;
        let kind = Kind::from_mode(u32::from(stat.stx_mode)).ok_or(Error::NotSupported)?;
        if (kind == Kind::Directory) != dir.is_some() {
            return Err(Damage::Malformed.into());
        }
        let node = self.nodes.refer(&stat, kind, dir);
        node.add_place(parent, name);
        let (stat, size) = if kind == Kind::File && self.store.doubts() {
            self.check_after_crash(&node, handle, name, stat)?
        } else {
            (stat, None)
        };
        let mut attr = self.attr(&node, &stat);
        attr.size = size.unwrap_or(attr.size);
        Ok(Entry {
            node: node.id,
            attr,
        })
    }

    /// After a crash the backing length may claim what was never written: the first lookup finds out, before the caller
    /// believes it, and others wait for that. A file that cannot be opened keeps its claim: reading it will say what is wrong.
    fn check_after_crash(
        &self,
        node: &Node,
        handle: BorrowedFd<'_>,
        name: &CStr,
        stat: Statx,
    ) -> Result<(Statx, Option<u64>)> {
        let mut open = node.open.lock();
        if stat.stx_size == 0 || open.file.is_some() {
            return Ok((stat, None));
        }
        let mut size = None;
        if !open.checked
            && let Ok(fd) = self.backing().open_file(handle, name, false)
            && let Ok((file, true)) = File::open(self.store.clone(), fd, false, [0; 12])
        {
            size = Some(file.size());
        }
        open.checked = !self.store.read_only; // where nothing is repaired each lookup has to look
        Ok((backing::stat(Object::At(handle, name))?, size))
    }

    pub(super) fn attributes(&self, node: &Arc<Node>) -> Result<Attr> {
        if let Some(gone) = node.remembered() {
            return Ok(gone);
        }
        match self.found(node, || self.stat(node)) {
            Ok(stat) => Ok(self.attr(node, &stat)),
            Err(error) => node.gone.lock().as_deref().copied().ok_or(error),
        }
    }

    /// Calls, and again if the node is not where it was a moment ago: it may just be renamed or removed. Call without any
    /// lock.
    pub(super) fn found<T>(&self, node: &Node, call: impl Fn() -> Result<T>) -> Result<T> {
        let gone = |error: &Error| error.errno() == Errno::NOENT.raw_os_error();
        match call() {
            Err(error) if gone(&error) => {}
            done => return done,
        }
        let place = node.place();
        let dir = place.as_ref().and_then(|place| place.parent.dir().ok());
        let _unmoved = dir.map(|dir| dir.children.read());
        match call() {
            Err(error) if gone(&error) => Err(Error::Stale), // removed outside of cryptfs
            done => done,
        }
    }

    /// Attributes towards the caller.
    pub(super) fn attr(&self, node: &Node, stat: &Statx) -> Attr {
        let size = match node.kind {
            Kind::File => node
                .open
                .lock()
                .file
                .as_ref()
                .map_or_else(|| layout::claimed_size(stat.stx_size), |file| file.size()),
            Kind::Symlink => self.link_size(node, stat.stx_size),
            Kind::Directory | Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                stat.stx_size
            }
        };
        // `.cryptfs` is not the caller's: the root does not count it (file systems without a count say 1).
        let own = u32::from(node.id == ROOT && stat.stx_nlink > 2);
        let recorded = (node.id == ROOT).then(|| self.root_mode.get()).flatten();
        Attr {
            ino: node.ino,
            kind: node.kind,
            mode: recorded.unwrap_or(u32::from(stat.stx_mode) & 0o7777),
            nlink: stat.stx_nlink - own,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            size,
            blocks: stat.stx_blocks,
            blksize: 4096,
            atime: backing::time(stat.stx_atime),
            mtime: backing::time(stat.stx_mtime),
            ctime: backing::time(stat.stx_ctime),
            btime: backing::born(stat),
        }
    }
}

impl Children {
    /// The id of a subdirectory, as far as is known.
    pub fn get(&self, name: &[u8]) -> Option<DirId> {
        self.subdirs
            .as_ref()
            .and_then(|dirs| dirs.get(name))
            .copied()
    }

    /// A subdirectory came.
    pub fn insert(&mut self, name: &[u8], id: DirId) {
        if let Some(dirs) = &mut self.subdirs {
            dirs.insert(name.to_vec(), id);
        }
    }

    /// A subdirectory went.
    pub fn remove(&mut self, name: &[u8]) {
        if let Some(dirs) = &mut self.subdirs {
            dirs.remove(name);
        }
    }
}
