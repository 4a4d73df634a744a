//! Making: files, directories, special files, links.
//!
//! A new object gets the caller's umask from the kernel (or its parent's default ACL, which overrides it) and then, where
//! this process runs for several users, the caller as its owner.
use super::super::file::{File, hint::hint};
use super::super::name::{DirId, Sealed, Side};
use super::node::Children;
use super::*;
use crate::sys::umask;
use rustix::fd::BorrowedFd;
use rustix::fs::Statx;
use rustix::io::Errno;
use std::ffi::CStr;

impl Directory {
    pub(super) fn create_file(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        mode: u32,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        let sealed = self.vacant(parent, &mut children, name)?;
        self.announce(handle.as_fd(), &sealed)?;
        umask::set(caller.umask);
        let made = self.backing().create(handle.as_fd(), &sealed.entry, mode);
        let fd = self.entry_made(handle.as_fd(), &sealed, made)?;
        let stat = self.own(parent, Object::Open(fd.as_fd()), mode, caller)?;
        let hint = hint(&self.trail(parent), dir.id.0, name);
        let file = File::empty(self.store.clone(), fd, dir.id.0, hint);
        self.opened_entry(Some((parent, &sealed)), file, &stat)
    }

    pub(super) fn create_nameless(
        &self,
        parent: &Arc<Node>,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        umask::set(caller.umask);
        let fd = self
            .backing()
            .tmpfile(handle.as_fd(), mode, !flags.unlinkable)?;
        let stat = self.own(parent, Object::Open(fd.as_fd()), mode, caller)?;
        let held = Arc::new(fd.try_clone()?);
        let file = File::empty(self.store.clone(), fd, dir.id.0, Vec::new());
        let made = self.opened_entry(None, file, &stat)?;
        *self.nodes.get(made.0.node)?.held.lock() = Some(held);
        Ok(made)
    }

    /// The entry of a file just made, open for writing.
    fn opened_entry(
        &self,
        place: Option<(&Arc<Node>, &Sealed)>,
        file: File,
        stat: &Statx,
    ) -> Result<(Entry, Handle)> {
        let node = self.nodes.made(stat, Kind::File, None);
        if let Some((parent, sealed)) = place {
            node.add_place(parent, &sealed.entry);
        }
        {
            let mut open = node.open.lock();
            open.count += 1;
            open.file = Some(Arc::new(file));
            open.writable = true;
            self.kept.add(&node, &mut open);
        }
        self.kept.trim();
        Ok((
            Entry {
                node: node.id,
                attr: self.attr(&node, stat),
            },
            0,
        ))
    }

    /// The entry of anything else just made.
    fn made_entry(
        &self,
        parent: &Arc<Node>,
        name: &CStr,
        dir: Option<DirId>,
        stat: &Statx,
    ) -> Result<Entry> {
        let kind = Kind::from_mode(u32::from(stat.stx_mode)).ok_or(Error::NotSupported)?;
        let node = self.nodes.made(stat, kind, dir);
        node.add_place(parent, name);
        Ok(Entry {
            node: node.id,
            attr: self.attr(&node, stat),
        })
    }

    pub(super) fn make_node(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        mode: u32,
        rdev: u64,
        caller: &Caller,
    ) -> Result<Entry> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        let sealed = self.vacant(parent, &mut children, name)?;
        self.announce(handle.as_fd(), &sealed)?;
        umask::set(caller.umask);
        let made = self
            .backing()
            .mknod(handle.as_fd(), &sealed.entry, mode, rdev);
        self.entry_made(handle.as_fd(), &sealed, made)?;
        let kind = Kind::from_mode(mode).unwrap_or(Kind::File);
        let made = self.made(handle.as_fd(), &sealed.entry, kind)?;
        let stat = self.own(parent, Object::Pinned(made.as_fd()), mode, caller)?;
        self.made_entry(parent, &sealed.entry, None, &stat)
    }

    pub(super) fn make_directory(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        mode: u32,
        caller: &Caller,
    ) -> Result<Entry> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        self.vacant(parent, &mut children, name)
            .and_then(|file| self.no_file(handle.as_fd(), &file))?;
        let id = DirId::random();
        let sealed = self.names.directory(dir.id, name, id);
        self.write_side(handle.as_fd(), sealed.side.as_ref())?;
        umask::set(caller.umask);
        let made = self.backing().mkdir(handle.as_fd(), &sealed.entry, mode);
        self.entry_made(handle.as_fd(), &sealed, made)?;
        children.insert(name, id);
        let made = self.made(handle.as_fd(), &sealed.entry, Kind::Directory)?;
        let stat = self.own(parent, Object::Pinned(made.as_fd()), mode, caller)?;
        let entry = self.made_entry(parent, &sealed.entry, Some(id), &stat)?;
        // What was just made has no subdirectories: it need not be scanned.
        self.nodes.get(entry.node)?.dir()?.children.write().subdirs = Some(HashMap::new());
        Ok(entry)
    }

    pub(super) fn make_link(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        target: &[u8],
        caller: &Caller,
    ) -> Result<Entry> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        let sealed = self.vacant(parent, &mut children, name)?;
        self.no_file(handle.as_fd(), &sealed)?;
        self.announce(handle.as_fd(), &sealed)?;
        let made = self.seal_target(target).and_then(|stored| {
            let made = self
                .backing()
                .symlink(&stored, handle.as_fd(), &sealed.entry);
            Ok(made?)
        });
        self.entry_made(handle.as_fd(), &sealed, made)?;
        let made = self.made(handle.as_fd(), &sealed.entry, Kind::Symlink)?;
        let stat = self.own(parent, Object::Pinned(made.as_fd()), 0o777, caller)?;
        self.made_entry(parent, &sealed.entry, None, &stat)
    }

    pub(super) fn hard_link(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<Entry> {
        let dir = parent.dir()?;
        if node.kind == Kind::Directory {
            return Err(Error::NotPermitted);
        }
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        let sealed = self.vacant(parent, &mut children, name)?;
        self.announce(handle.as_fd(), &sealed)?;
        let made = self.with_object(node, |object| {
            Ok(self.backing().link(object, handle.as_fd(), &sealed.entry)?)
        });
        self.entry_made(handle.as_fd(), &sealed, made)?;
        self.entry(parent, handle.as_fd(), &sealed.entry, None)
    }

    /// The backing name of a new file; no directory has the name. That no file has it either, the system call that makes
    /// the file finds out.
    fn vacant(&self, parent: &Arc<Node>, children: &mut Children, name: &[u8]) -> Result<Sealed> {
        self.scan(parent, children)?;
        if children.get(name).is_some() {
            return Err(Error::Exists);
        }
        Ok(self.names.file(parent.dir()?.id, name))
    }

    /// Before a long name appears: its side file is durable.
    fn announce(&self, handle: BorrowedFd<'_>, sealed: &Sealed) -> Result<()> {
        if sealed.side.is_some() {
            self.no_file(handle, sealed)?;
        }
        self.write_side(handle, sealed.side.as_ref())
    }

    pub(super) fn no_file(&self, handle: BorrowedFd<'_>, sealed: &Sealed) -> Result<()> {
        match backing::stat(Object::At(handle, &sealed.entry)) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(Error::Exists),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes a side file durable before the entry that needs it appears.
    pub(super) fn write_side(&self, handle: BorrowedFd<'_>, side: Option<&Side>) -> Result<()> {
        let Some(side) = side else { return Ok(()) };
        match self.read_side(handle, &side.name) {
            Ok(content) if content == side.content => return Ok(()),
            _ => {}
        }
        let new = [side.name.as_bytes(), b"+"].concat();
        let new = std::ffi::CString::new(new).map_err(|_| Error::Invalid)?;
        match self.backing().unlink(handle, &new) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        umask::set(0);
        let file = self.backing().create_own(handle, &new)?;
        let written = self
            .backing()
            .write(file.as_fd(), &side.content, 0)
            .and_then(|()| self.backing().sync(file.as_fd(), false))
            .and_then(|()| {
                self.backing()
                    .rename((handle, &new), (handle, &side.name), Rename::Replace)
            });
        if let Err(errno) = written {
            // As on a full disk, where this would stay for good and take the space of something else.
            let _ = self.backing().unlink(handle, &new);
            return Err(errno.into());
        }
        Ok(self.backing().sync_dir(handle)?)
    }

    /// A descriptor of what was made under a name a moment ago. Root gives it to the caller, so it must not be something
    /// else that was moved there since. The kernel makes links, directories and special files by name only; what is
    /// known of ours is its kind, that it has no second name, and that its attributes have not changed since it was made,
    /// which a rename would do. (A store that tells no birth times leaves that last gap open.)
    fn made(&self, dir: BorrowedFd<'_>, name: &CStr, kind: Kind) -> Result<OwnedFd> {
        let pinned = self.backing().pin(dir, name)?;
        let stat = backing::stat(Object::Pinned(pinned.as_fd()))?;
        let ours = Kind::from_mode(u32::from(stat.stx_mode)) == Some(kind)
            && (kind == Kind::Directory || stat.stx_nlink == 1)
            && untouched(&stat);
        if ours || !self.as_root {
            Ok(pinned)
        } else {
            Err(Error::Stale)
        }
    }

    /// Passes on what became of making an entry. Where there is none now, its side file goes again: it says nothing to
    /// anyone, and the disk may be full.
    pub(super) fn entry_made<T, E: Into<Error>>(
        &self,
        handle: BorrowedFd<'_>,
        sealed: &Sealed,
        made: Result<T, E>,
    ) -> Result<T> {
        made.map_err(Into::into).inspect_err(|_| {
            if sealed.side.is_some() && self.no_file(handle, sealed).is_ok() {
                self.drop_side(handle, sealed);
            }
        })
    }

    /// Gives a new object to the caller, as the kernel does: the group is the parent's where that is set-group-ID. Returns
    /// its attributes.
    fn own(
        &self,
        parent: &Arc<Node>,
        object: Object<'_>,
        mode: u32,
        caller: &Caller,
    ) -> Result<Statx> {
        let stat = backing::stat(object)?;
        if !self.as_root || (stat.stx_uid, stat.stx_gid) == (caller.uid, caller.gid) {
            return Ok(stat);
        }
        let inherits = self.with_object(parent, |object| {
            Ok(backing::stat(object)?.stx_mode & 0o2000 != 0)
        });
        let uid = (stat.stx_uid != caller.uid).then_some(caller.uid);
        let gid = (stat.stx_gid != caller.gid && !inherits?).then_some(caller.gid);
        self.backing().set_owner(object, uid, gid)?;
        // A change of owner clears these on files.
        let is_link = Kind::from_mode(u32::from(stat.stx_mode)) == Some(Kind::Symlink);
        if mode & 0o6000 != 0 && !is_link {
            self.backing().set_mode(object, u32::from(stat.stx_mode))?;
        }
        Ok(backing::stat(object)?)
    }
}

/// Whether an inode is as it was made, as far as its time stamps tell. They may be a tick apart, and a second where the
/// store rounds them.
fn untouched(stat: &Statx) -> bool {
    let changed = backing::time(stat.stx_ctime);
    backing::born(stat).is_none_or(|born| changed.sec <= born.sec + 1)
}
