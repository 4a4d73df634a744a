//! Changing attributes.
use super::*;

impl Directory {
    pub(super) fn set_attributes(&self, node: &Arc<Node>, set: &SetAttr) -> Result<Attr> {
        if node.remembered().is_some() {
            return set_gone(node, set);
        }
        if let Some(mode) = set.mode {
            self.hold_inside(node, mode)?;
            self.found(node, || {
                self.with_object(node, |object| match node.id {
                    ROOT => self.root_mode.set(self.backing(), object, mode & 0o7777),
                    _ => Ok(self.backing().set_mode(object, mode)?),
                })
            })?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            self.found(node, || {
                self.with_object(node, |object| {
                    Ok(self.backing().set_owner(object, set.uid, set.gid)?)
                })
            })?;
        }
        if let Some(size) = set.size {
            self.set_size(node, size)?;
        }
        if set.kill_privileges {
            self.kill_privileges(node)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let file = node.open.lock().file.clone();
            if let Some(file) = file {
                file.settle_length()?; // or it would change mtime later
            }
            self.found(node, || {
                self.with_object(node, |object| {
                    Ok(self.backing().set_times(object, set.atime, set.mtime)?)
                })
            })?;
        }
        self.attributes(node)
    }

    /// Clears set-user-ID, and set-group-ID where the group may execute, as a write does.
    pub(super) fn kill_privileges(&self, node: &Arc<Node>) -> Result<()> {
        let kill = |object: Object<'_>| {
            let mode = u32::from(backing::stat(object)?.stx_mode) & 0o7777;
            let mut cleared = mode & !0o4000;
            if mode & 0o010 != 0 {
                cleared &= !0o2000;
            }
            if cleared != mode {
                self.backing().set_mode(object, cleared)?;
            }
            Ok(())
        };
        self.found(node, || self.with_object(node, kill))
    }

    pub(super) fn sizes(&self) -> Result<Statfs> {
        let root = self
            .backing()
            .read_dir(self.handle(&self.nodes.get(ROOT)?)?.as_fd())?;
        let sizes = rustix::fs::fstatvfs(&root)?;
        Ok(Statfs {
            bsize: u32::try_from(sizes.f_frsize).unwrap_or(4096),
            blocks: sizes.f_blocks,
            bfree: sizes.f_bfree,
            bavail: sizes.f_bavail,
            files: sizes.f_files,
            ffree: sizes.f_ffree,
            namelen: super::super::name::MAX_NAME as u32,
        })
    }
}

/// What has neither a name nor content any more is only remembered: the kernel still writes back the times of an unlinked
/// file after its last descriptor was closed.
fn set_gone(node: &Node, set: &SetAttr) -> Result<Attr> {
    let mut gone = node.gone.lock();
    let attr = gone.as_deref_mut().ok_or(Error::Stale)?;
    attr.mode = set.mode.unwrap_or(attr.mode);
    attr.uid = set.uid.unwrap_or(attr.uid);
    attr.gid = set.gid.unwrap_or(attr.gid);
    for (time, set) in [(&mut attr.atime, set.atime), (&mut attr.mtime, set.mtime)] {
        if let Some(SetTime::At(at)) = set {
            *time = at;
        }
    }
    Ok(*attr)
}
