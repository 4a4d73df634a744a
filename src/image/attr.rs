//! Changing attributes, and the sizes of the whole.
use super::acl::{self, Acl};
use super::core::{Core, MAX_NAME};
use super::inode::{self, ACCESS_ACL, CAPABILITY};
use super::items::Items;
use super::key;
use super::layout::PAGE;
use super::store::{CHANGE, Change};
use crate::codec::InodeRecord;
use crate::fs::{Attr, Error, Kind, NodeId, Result, SetAttr, Statfs};

impl Core {
    /// Changes attributes: mode, owner, size, times, in this order.
    pub fn set_attributes(&self, ino: NodeId, set: &SetAttr) -> Result<Attr> {
        if set.mode.is_some() && self.store.inode(ino)?.kind()? == Kind::Symlink {
            return Err(Error::NotSupported);
        }
        if let Some(size) = set.size {
            self.store.inode(ino)?.file()?;
            super::content::check_end(size, 0)?;
        }
        self.store
            .change(None, |change| change.set_mode_and_owner(ino, set))?;
        if let Some(size) = set.size {
            self.truncate(ino, size)?;
        }
        if set.atime.is_some() || set.mtime.is_some() || set.ctime.is_some() {
            let now = inode::now();
            self.store.change(None, |change| {
                change.edit(ino, |inode| {
                    inode.atime = set
                        .atime
                        .map_or(inode.atime, |time| inode::stamp(time, now));
                    inode.mtime = set
                        .mtime
                        .map_or(inode.mtime, |time| inode::stamp(time, now));
                    inode.ctime = set.ctime.map_or(now, |time| (time.sec, time.nsec));
                })
            })?;
        }
        self.store.inode(ino)?.attr(ino)
    }

    /// Sizes of the whole, as they are: of a sparse image no more is free than the file system below it has.
    pub fn sizes(&self) -> Statfs {
        let space = self.store.ground.space.lock();
        let fixed: u64 = space.fixed().iter().map(|r| r.end - r.start).sum();
        let free = space.available() + space.waiting();
        let (blocks, in_use) = (space.pages() - fixed, space.in_use());
        let mut room = (space.room() + space.waiting()).saturating_sub(CHANGE);
        let cushion = space.reserve();
        drop(space);
        if let Some(below) = self.store.ground.pages.device.room_below(in_use) {
            room = room.min(below.saturating_sub(cushion));
        }
        Statfs {
            bsize: PAGE as u32,
            blocks,
            bfree: free,
            bavail: room,
            files: self.store.next_inode().saturating_add(free),
            ffree: free,
            namelen: MAX_NAME as u32,
        }
    }
}

impl Change<'_> {
    fn set_mode_and_owner(&mut self, ino: u64, set: &SetAttr) -> Result<()> {
        let owner = set.uid.is_some() || set.gid.is_some();
        if set.mode.is_none() && !owner && !set.kill_privileges {
            return Ok(());
        }
        let mut inode = self.inode(ino)?;
        if let Some(mode) = set.mode {
            inode.set_mode(mode);
            self.mode_to_acl(ino, &inode)?;
            inode.ctime = inode::now();
        }
        if owner {
            inode.uid = set.uid.unwrap_or(inode.uid);
            inode.gid = set.gid.unwrap_or(inode.gid);
            inode.ctime = inode::now();
        }
        if owner || set.kill_privileges {
            inode.kill_privileges();
            self.drop_capability(ino, &mut inode)?;
        }
        self.put_inode(ino, &inode)
    }

    /// The access ACL says what the mode says.
    fn mode_to_acl(&mut self, ino: u64, inode: &InodeRecord) -> Result<()> {
        if !inode.has(ACCESS_ACL) {
            return Ok(());
        }
        let place = key::xattr(ino, acl::ACCESS);
        if let Some(mut acl) = self.chunks(&place)?.and_then(|bytes| Acl::parse(&bytes)) {
            acl.set_mode(inode.mode);
            self.put_chunks(&place, &acl.encode())?;
        }
        Ok(())
    }

    /// File capabilities do not outlive a change of content or owner.
    pub(super) fn drop_capability(&mut self, ino: u64, inode: &mut InodeRecord) -> Result<()> {
        if inode.has(CAPABILITY) {
            self.remove_chunks(&key::xattr(ino, super::xattr::CAPABILITY_NAME))?;
            inode.set(CAPABILITY, false);
        }
        Ok(())
    }
}
