//! Making: files, directories, links.
use super::acl::{self, Acl};
use super::core::{Core, check_name};
use super::inode::{self, ACCESS_ACL, DEFAULT_ACL, XATTRS};
use super::items::Items;
use super::key;
use super::store::Change;
use crate::codec::InodeRecord;
use crate::fs::{Caller, Entry, Error, Kind, NodeId, Result};
use std::sync::atomic::Ordering::Relaxed;

/// The longest target of a symbolic link (PATH_MAX without the NUL).
const MAX_TARGET: usize = 4095;

/// What is to be made.
pub struct Plan<'a> {
    /// Type and permissions, before the umask.
    pub mode: u32,
    /// Of a device.
    pub rdev: u32,
    /// Of a symbolic link.
    pub target: &'a [u8],
}

impl Core {
    /// Makes something under a name.
    pub fn make(
        &self,
        parent: NodeId,
        name: &[u8],
        plan: &Plan<'_>,
        caller: &Caller,
    ) -> Result<Entry> {
        let name = check_name(name)?;
        let kind = Kind::from_mode(plan.mode).ok_or(Error::Invalid)?;
        if kind == Kind::Symlink {
            match plan.target.len() {
                0 => return Err(Error::NotFound),
                1..=MAX_TARGET => {}
                _ => return Err(Error::NameTooLong),
            }
        }
        let (ino, inode) = self.store.change(Some(4), |change| {
            let above = change.vacant(parent, name)?;
            let ino = self.store.new_inode();
            let mut inode = change.new_inode(ino, (parent, &above), plan, caller)?;
            if kind == Kind::Symlink {
                inode.size = plan.target.len() as u64;
                change.put_chunks(&key::inline(ino), plan.target)?;
            }
            change.put_inode(ino, &inode)?;
            change.set_name(parent, name, ino, kind)?;
            let below = u32::from(kind == Kind::Directory);
            change.edit(parent, |above| {
                above.nlink = above.nlink.saturating_add(below);
                above.modified(inode::now());
            })?;
            Ok((ino, inode))
        })?;
        self.entry(ino, &inode)
    }

    /// Makes a file without a name.
    pub fn make_nameless(
        &self,
        parent: NodeId,
        mode: u32,
        unlinkable: bool,
        caller: &Caller,
    ) -> Result<Entry> {
        let plan = Plan {
            mode: Kind::File.mode_bits() | mode & 0o7777,
            rdev: 0,
            target: &[],
        };
        let (ino, inode) = self.store.change(Some(4), |change| {
            let above = change.inode(parent)?.dir()?;
            let ino = self.store.new_inode();
            let mut inode = change.new_inode(ino, (parent, &above), &plan, caller)?;
            inode.nlink = 0;
            change.put_inode(ino, &inode)?;
            change.put(&key::orphan(ino), &[])?;
            Ok((ino, inode))
        })?;
        let entry = self.entry(ino, &inode)?;
        let node = self.nodes.get(ino)?;
        node.unlinkable.store(unlinkable, Relaxed);
        node.nameless.store(true, Relaxed);
        Ok(entry)
    }

    /// Gives an inode one more name.
    pub fn link(&self, ino: NodeId, parent: NodeId, name: &[u8]) -> Result<Entry> {
        let name = check_name(name)?;
        let node = self.nodes.get(ino)?;
        let inode = self.store.change(Some(4), |change| {
            change.vacant(parent, name)?;
            let mut inode = change.inode(ino)?;
            let kind = inode.kind()?;
            if kind == Kind::Directory {
                return Err(Error::NotPermitted);
            }
            if inode.nlink == 0 && (!node.nameless.load(Relaxed) || node.unlinkable.load(Relaxed)) {
                return Err(Error::NotFound);
            }
            inode.nlink = inode.nlink.checked_add(1).ok_or(Error::TooBig)?;
            inode.ctime = inode::now();
            change.put_inode(ino, &inode)?;
            change.remove(&key::orphan(ino))?;
            change.set_name(parent, name, ino, kind)?;
            change.touch_dir(parent, inode.ctime)?;
            Ok(inode)
        })?;
        node.nameless.store(false, Relaxed);
        self.entry(ino, &inode)
    }
}

impl Change<'_> {
    /// A new inode with owner, mode and ACLs as its future directory and the caller say; the caller of this puts it.
    fn new_inode(
        &mut self,
        ino: u64,
        (parent, above): (u64, &InodeRecord),
        plan: &Plan<'_>,
        caller: &Caller,
    ) -> Result<InodeRecord> {
        let mut inode = InodeRecord::new(plan.mode, (caller.uid, caller.gid), inode::now());
        let kind = inode.kind()?;
        if kind != Kind::Symlink {
            self.inherit(ino, (parent, above), &mut inode, caller)?;
        }
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            inode.rdev = plan.rdev.into();
        }
        if above.mode & 0o2000 != 0 {
            inode.gid = above.gid;
            if kind == Kind::Directory {
                inode.mode |= 0o2000;
            }
        }
        if kind == Kind::Directory {
            inode.nlink = 2;
            inode.parent = parent;
        }
        Ok(inode)
    }

    /// The parent's default ACL, or the caller's umask.
    fn inherit(
        &mut self,
        ino: u64,
        (parent, above): (u64, &InodeRecord),
        inode: &mut InodeRecord,
        caller: &Caller,
    ) -> Result<()> {
        let default = match above.has(DEFAULT_ACL) {
            true => self.chunks(&key::xattr(parent, acl::DEFAULT))?,
            false => None,
        };
        let Some((bytes, default)) = default
            .and_then(|b| Some((Acl::parse(&b)?, b)))
            .map(|(acl, bytes)| (bytes, acl))
        else {
            inode.mode &= !caller.umask | !0o777;
            return Ok(());
        };
        if inode.is_dir() {
            self.put_chunks(&key::xattr(ino, acl::DEFAULT), &bytes)?;
            inode.set(DEFAULT_ACL | XATTRS, true);
        }
        let (access, mode) = default.inherited(inode.mode);
        inode.mode = mode;
        if !access.is_minimal() {
            self.put_chunks(&key::xattr(ino, acl::ACCESS), &access.encode())?;
            inode.set(ACCESS_ACL | XATTRS, true);
        }
        Ok(())
    }
}
