//! Removing and renaming.
use super::super::name::{DirId, Sealed, Shape};
use super::identity::same;
use super::node::{Children, Upwards};
use super::*;
use parking_lot::RwLockWriteGuard;
use rustix::fd::BorrowedFd;
use rustix::fs::Statx;
use rustix::io::Errno;
use std::ffi::CString;

impl Directory {
    pub(super) fn remove_file(&self, parent: &Arc<Node>, name: &[u8]) -> Result<()> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        let sealed = self.names.file(dir.id, name);
        let stat = match backing::stat(Object::At(handle.as_fd(), &sealed.entry)) {
            Err(Errno::NOENT) => {
                self.scan(parent, &mut children)?;
                return Err(if children.get(name).is_some() {
                    Error::IsDirectory
                } else {
                    Error::NotFound
                });
            }
            stat => stat?,
        };
        let long = self.long_target(handle.as_fd(), &sealed.entry, &stat);
        self.hold(parent, &sealed, &stat)?;
        self.backing().unlink(handle.as_fd(), &sealed.entry)?;
        self.unlinked(parent, &sealed, &stat);
        self.drop_side(handle.as_fd(), &sealed);
        self.drop_long_target(long);
        Ok(())
    }

    pub(super) fn remove_directory(&self, parent: &Arc<Node>, name: &[u8]) -> Result<()> {
        let dir = parent.dir()?;
        let handle = self.handle(parent)?;
        let mut children = dir.children.write();
        self.scan(parent, &mut children)?;
        let Some(id) = children.get(name) else {
            self.no_file(handle.as_fd(), &self.names.file(dir.id, name))
                .map_err(|error| match error {
                    Error::Exists => Error::NotDirectory,
                    other => other,
                })?;
            return Err(Error::NotFound);
        };
        self.remove_empty(parent, handle.as_fd(), &mut children, name, id)
    }

    fn remove_empty(
        &self,
        parent: &Arc<Node>,
        handle: BorrowedFd<'_>,
        children: &mut Children,
        name: &[u8],
        id: DirId,
    ) -> Result<()> {
        let sealed = self.names.directory(parent.dir()?.id, name, id);
        let stat = backing::stat(Object::At(handle, &sealed.entry))?;
        match self.backing().rmdir(handle, &sealed.entry) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                self.sweep(handle, &sealed)?;
                self.backing().rmdir(handle, &sealed.entry)?;
            }
            removed => removed?,
        }
        children.remove(name);
        self.unlinked(parent, &sealed, &stat);
        self.drop_side(handle, &sealed);
        Ok(())
    }

    /// Removes side files that a crash left behind in an otherwise empty directory.
    fn sweep(&self, parent: BorrowedFd<'_>, sealed: &Sealed) -> Result<()> {
        let handle = self.backing().open_dir(parent, &sealed.entry)?;
        let mut sides = Vec::new();
        let mut others = false;
        list::for_each(self.backing(), handle.as_fd(), |entry| {
            match self.names.shape(entry) {
                Shape::Reserved if matches!(entry, b"." | b"..") => {}
                Shape::Side => sides.extend(CString::new(entry)),
                _ => others = true,
            }
        })?;
        if others {
            return Err(Error::NotEmpty);
        }
        for side in sides {
            self.backing().unlink(handle.as_fd(), &side)?;
        }
        Ok(())
    }

    /// A name is gone: its node must not be looked for there any more.
    fn unlinked(&self, parent: &Node, sealed: &Sealed, stat: &Statx) {
        let Some(node) = self.nodes.find(stat) else {
            return;
        };
        let nameless = node.remove_place(parent, &sealed.entry);
        if nameless && (stat.stx_nlink <= 1 || node.kind == Kind::Directory) {
            let mut attr = self.attr(&node, stat);
            attr.nlink = 0;
            *node.gone.lock() = Some(Box::new(attr));
            self.nodes.detach(&node); // the inode number will be free to be used again
        }
    }

    /// Best effort: a side file without an entry says nothing to anyone, and check lists it.
    pub(super) fn drop_side(&self, handle: BorrowedFd<'_>, sealed: &Sealed) {
        if let Some(side) = &sealed.side {
            let _ = self.backing().unlink(handle, &side.name);
        }
    }

    pub(super) fn rename_entry(
        &self,
        old: (&Arc<Node>, &[u8]),
        new: (&Arc<Node>, &[u8]),
        how: Rename,
    ) -> Result<()> {
        let (old_dir, new_dir) = (old.0.dir()?, new.0.dir()?);
        let mut locked = if old.0.ino == new.0.ino {
            Locked::One(old_dir.children.write())
        } else if old.0.ino < new.0.ino {
            let first = old_dir.children.write();
            Locked::Two {
                old: first,
                new: new_dir.children.write(),
            }
        } else {
            let first = new_dir.children.write();
            Locked::Two {
                old: old_dir.children.write(),
                new: first,
            }
        };
        self.scan(old.0, locked.source())?;
        self.scan(new.0, locked.target())?;
        match (locked.source().get(old.1), how) {
            (Some(_), _)
                if old.0.ino == new.0.ino && old.1 == new.1 && how != Rename::NoReplace =>
            {
                Ok(())
            }
            (Some(_), Rename::Exchange) => self.refuse_exchange(new, locked.target()),
            (Some(id), Rename::Whiteout) => {
                self.rename_directory(old, new, id, &mut locked, how)?;
                self.whiteout(old, new, id, &mut locked)
            }
            (Some(id), _) => self.rename_directory(old, new, id, &mut locked, how),
            (None, Rename::Exchange) => self.exchange(old, new, &mut locked),
            (None, _) => self.rename_file(old, new, &mut locked, how),
        }
    }

    fn rename_file(
        &self,
        old: (&Arc<Node>, &[u8]),
        new: (&Arc<Node>, &[u8]),
        locked: &mut Locked<'_>,
        how: Rename,
    ) -> Result<()> {
        let (from, to) = (self.handle(old.0)?, self.handle(new.0)?);
        let (source, target) = (
            self.names.file(old.0.dir()?.id, old.1),
            self.names.file(new.0.dir()?.id, new.1),
        );
        let moved = backing::stat(Object::At(from.as_fd(), &source.entry))?;
        if let Some(target) = locked.target().get(new.1) {
            return Err(match how {
                Rename::NoReplace => Error::Exists,
                _ if inside(old.0, target) => Error::NotEmpty, // what do_renameat2() in Linux finds first
                _ => Error::IsDirectory,
            });
        }
        let replaced = optional(backing::stat(Object::At(to.as_fd(), &target.entry)))?;
        match &replaced {
            Some(_) if how == Rename::NoReplace => return Err(Error::Exists),
            Some(stat) if same(stat, &moved) => return Ok(()), // two names of one file: rename(2) does nothing
            _ => {}
        }
        let long = replaced
            .as_ref()
            .and_then(|stat| self.long_target(to.as_fd(), &target.entry, stat));
        if let Some(stat) = &replaced {
            self.hold(new.0, &target, stat)?;
        }
        self.write_side(to.as_fd(), target.side.as_ref())?;
        let (from_name, to_name) = ((from.as_fd(), &*source.entry), (to.as_fd(), &*target.entry));
        let renamed = match how {
            Rename::NoReplace => self.backing().rename_new(from_name, to_name),
            how => self.backing().rename(from_name, to_name, how),
        };
        self.entry_made(to.as_fd(), &target, renamed)?;
        if let Some(stat) = &replaced {
            self.unlinked(new.0, &target, stat);
        }
        self.moved(&moved, (old.0, &source), (new.0, &target));
        if how != Rename::Whiteout {
            self.drop_side(from.as_fd(), &source); // a whiteout has the same name
        }
        self.drop_long_target(long);
        Ok(())
    }

    /// A directory's backing name holds its id, so an empty target has another backing name: it is removed first.
    fn rename_directory(
        &self,
        old: (&Arc<Node>, &[u8]),
        new: (&Arc<Node>, &[u8]),
        id: DirId,
        locked: &mut Locked<'_>,
        how: Rename,
    ) -> Result<()> {
        let (from, to) = (self.handle(old.0)?, self.handle(new.0)?);
        let source = self.names.directory(old.0.dir()?.id, old.1, id);
        let target = self.names.directory(new.0.dir()?.id, new.1, id);
        let moved = backing::stat(Object::At(from.as_fd(), &source.entry))?;
        let file = self.names.file(new.0.dir()?.id, new.1);
        let file = optional(backing::stat(Object::At(to.as_fd(), &file.entry)))?.is_some();
        let replaced = locked.target().get(new.1);
        if how == Rename::NoReplace && (file || replaced.is_some()) {
            return Err(Error::Exists);
        }
        if inside(new.0, id) {
            return Err(Error::Invalid);
        }
        match replaced {
            _ if file => return Err(Error::NotDirectory),
            Some(same) if same == id => return Ok(()),
            Some(other) => self.remove_empty(new.0, to.as_fd(), locked.target(), new.1, other)?,
            None => {}
        }
        self.write_side(to.as_fd(), target.side.as_ref())?;
        let renamed = self
            .backing()
            .rename_new((from.as_fd(), &source.entry), (to.as_fd(), &target.entry));
        self.entry_made(to.as_fd(), &target, renamed)?;
        locked.source().remove(old.1);
        locked.target().insert(new.1, id);
        self.moved(&moved, (old.0, &source), (new.0, &target));
        self.drop_side(from.as_fd(), &source);
        Ok(())
    }

    /// Leaves a whiteout where a directory was. The backing name of a directory is not one that a device can have, so
    /// this is a second step: after a crash in between, overlayfs shows what the lower layer has under the old name.
    fn whiteout(
        &self,
        old: (&Arc<Node>, &[u8]),
        new: (&Arc<Node>, &[u8]),
        id: DirId,
        locked: &mut Locked<'_>,
    ) -> Result<()> {
        let handle = self.handle(old.0)?;
        let sealed = self.names.file(old.0.dir()?.id, old.1);
        let device = Kind::CharDevice.mode_bits();
        let made = self
            .write_side(handle.as_fd(), sealed.side.as_ref())
            .and_then(|()| {
                let backing = self.backing();
                Ok(backing.mknod(handle.as_fd(), &sealed.entry, device, 0)?)
            });
        if made.is_err() {
            locked.swap();
            let _ = self.rename_directory(new, old, id, locked, Rename::Replace);
        }
        made
    }

    /// Exchanges two files. Directories cannot be: their ids are part of their backing names, and two renames are not one.
    fn exchange(
        &self,
        old: (&Arc<Node>, &[u8]),
        new: (&Arc<Node>, &[u8]),
        locked: &mut Locked<'_>,
    ) -> Result<()> {
        if locked.target().get(new.1).is_some() {
            return self.refuse_exchange(old, locked.source());
        }
        let (from, to) = (self.handle(old.0)?, self.handle(new.0)?);
        let (first, second) = (
            self.names.file(old.0.dir()?.id, old.1),
            self.names.file(new.0.dir()?.id, new.1),
        );
        let (a, b) = (
            backing::stat(Object::At(from.as_fd(), &first.entry))?,
            backing::stat(Object::At(to.as_fd(), &second.entry))?,
        );
        if same(&a, &b) {
            return Ok(());
        }
        self.backing().rename(
            (from.as_fd(), &first.entry),
            (to.as_fd(), &second.entry),
            Rename::Exchange,
        )?;
        self.moved(&a, (old.0, &first), (new.0, &second));
        self.moved(&b, (new.0, &second), (old.0, &first));
        Ok(())
    }

    /// One of the two is a directory: EINVAL, if there is the other.
    fn refuse_exchange(&self, other: (&Arc<Node>, &[u8]), children: &Children) -> Result<()> {
        if children.get(other.1).is_none() {
            let handle = self.handle(other.0)?;
            let sealed = self.names.file(other.0.dir()?.id, other.1);
            backing::stat(Object::At(handle.as_fd(), &sealed.entry))?;
        }
        Err(Error::Invalid)
    }

    fn moved(&self, stat: &Statx, old: (&Arc<Node>, &Sealed), new: (&Arc<Node>, &Sealed)) {
        if let Some(node) = self.nodes.find(stat) {
            node.add_place(new.0, &new.1.entry); // first: it must not be without any
            node.remove_place(old.0, &old.1.entry);
        }
    }
}

/// True if `node` is the directory `id` or lies below it.
fn inside(node: &Arc<Node>, id: DirId) -> bool {
    let (mut at, mut walk) = (node.clone(), Upwards::default());
    loop {
        if at.dir().is_ok_and(|dir| dir.id == id) || walk.returns(&at) {
            return true;
        }
        match at.place() {
            Some(place) => at = place.parent,
            None => return false,
        }
    }
}

/// The per-parent locks of a rename.
enum Locked<'a> {
    One(RwLockWriteGuard<'a, Children>),
    Two {
        old: RwLockWriteGuard<'a, Children>,
        new: RwLockWriteGuard<'a, Children>,
    },
}

impl Locked<'_> {
    /// For the way back.
    fn swap(&mut self) {
        if let Self::Two { old, new } = self {
            std::mem::swap(old, new);
        }
    }

    fn source(&mut self) -> &mut Children {
        match self {
            Self::One(children) | Self::Two { old: children, .. } => children,
        }
    }

    fn target(&mut self) -> &mut Children {
        match self {
            Self::One(children) | Self::Two { new: children, .. } => children,
        }
    }
}

fn optional<T>(result: rustix::io::Result<T>) -> Result<Option<T>> {
    match result {
        Err(Errno::NOENT) => Ok(None),
        result => Ok(Some(result?)),
    }
}
