//! Finding nodes, and their attributes.
use super::{Answer, Call, Failure};
use crate::fs::{Error, NodeId, SetAttr, SetTime, Time};
use crate::fuse::abi::{BATCH_FORGET, BatchForgetIn, ForgetIn, ForgetOne, SetattrIn, fattr};
use crate::fuse::encode;
use crate::fuse::wire::Malformed;

impl Call<'_> {
    pub(super) fn lookup(&mut self) -> Answer {
        let name = self.body.name()?;
        match self.fs.lookup(self.node(), name) {
            Ok(entry) => encode::entry_out(self.reply, &self.shared.with_times(entry))?,
            Err(Error::NotFound) => encode::negative_entry_out(self.reply)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// There is no reply, so a request cut short is forgotten as far as it goes.
    pub(super) fn forget(&mut self) {
        if self.header.opcode == BATCH_FORGET {
            let _ = self.forget_batch();
        } else if let Ok(one) = ForgetIn::parse(&mut self.body) {
            self.forget_one(self.node(), one.nlookup);
        }
    }

    fn forget_one(&self, node: NodeId, count: u64) {
        if let Some(times) = self.shared.mtimes.of(node) {
            self.shared.restore_times(node, times);
        }
        self.shared.drop_if_unlinked(node);
        self.fs.forget(node, count);
    }

    fn forget_batch(&mut self) -> Result<(), Malformed> {
        let batch = BatchForgetIn::parse(&mut self.body)?;
        for _ in 0..batch.count {
            let one = ForgetOne::parse(&mut self.body)?;
            self.forget_one(one.nodeid, one.nlookup);
        }
        Ok(())
    }

    pub(super) fn getattr(&mut self) -> Answer {
        let attr = self.fs.getattr(self.node())?;
        Ok(encode::attr_out(self.reply, &attr)?)
    }

    pub(super) fn statx(&mut self) -> Answer {
        let attr = self.fs.getattr(self.node())?;
        Ok(encode::statx_out(self.reply, &attr)?)
    }

    pub(super) fn setattr(&mut self) -> Answer {
        let set = changes(&SetattrIn::parse(&mut self.body)?);
        let attr = self.fs.setattr(self.node(), &set)?;
        if let Some(size) = set.size {
            self.shared.lost.settled(self.node(), &(size..u64::MAX));
        }
        match (set.mtime, set.ctime) {
            (Some(_), _) => self.shared.mtimes.told(self.node()),
            (None, Some(ctime)) => self.shared.mtimes.told_ctime(self.node(), ctime),
            (None, None) => {}
        }
        Ok(encode::attr_out(self.reply, &attr)?)
    }

    pub(super) fn readlink(&mut self) -> Answer {
        let target = self.fs.readlink(self.node())?;
        Ok(self.reply.put(&target)?)
    }

    pub(super) fn statfs(&mut self) -> Answer {
        let sizes = self.fs.statfs()?;
        Ok(encode::statfs_out(self.reply, &sizes)?)
    }
}

/// The attributes that a SETATTR changes. With its writeback cache the kernel keeps the ctime of regular files itself, and shows
/// programs its own until it forgets the file: another one stored here would be a change where nothing changed.
fn changes(set: &SetattrIn) -> SetAttr {
    let has = |bit| set.valid & bit != 0;
    let time = |given, now, sec, nsec| match (has(now), has(given)) {
        (true, _) => Some(SetTime::Now),
        (false, true) => Some(SetTime::At(Time { sec, nsec })),
        (false, false) => None,
    };
    SetAttr {
        mode: has(fattr::MODE).then_some(set.mode & 0o7777),
        uid: has(fattr::UID).then_some(set.uid),
        gid: has(fattr::GID).then_some(set.gid),
        size: has(fattr::SIZE).then_some(set.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, set.atime, set.atimensec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, set.mtime, set.mtimensec),
        ctime: has(fattr::CTIME).then_some(Time {
            sec: set.ctime,
            nsec: set.ctimensec,
        }),
        kill_privileges: has(fattr::KILL_SUIDGID),
        handle: has(fattr::FH).then_some(set.fh),
    }
}

impl From<std::num::TryFromIntError> for Failure {
    fn from(_: std::num::TryFromIntError) -> Self {
        Self::Malformed
    }
}
