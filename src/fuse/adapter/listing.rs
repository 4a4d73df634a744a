//! Open directories.
use super::{Answer, Call};
use crate::fs;
use crate::fuse::abi::{
    FOPEN_CACHE_DIR, FOPEN_KEEP_CACHE, FSYNC_FDATASYNC, FsyncIn, OpenIn, ReadIn, ReleaseIn,
};
use crate::fuse::encode;

impl Call<'_> {
    pub(super) fn opendir(&mut self) -> Answer {
        OpenIn::parse(&mut self.body)?;
        let handle = self.fs.opendir(self.node())?;
        Ok(encode::open_out(
            self.reply,
            handle,
            FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE,
        )?)
    }

    pub(super) fn readdir(&mut self) -> Answer {
        let arg = ReadIn::parse(&mut self.body)?;
        let (node, limit, reply) = (self.header.nodeid, arg.size as usize, &mut *self.reply);
        let end = self.fs.readdir(node, arg.fh, arg.offset, &mut |entry| {
            !encode::dirent(reply, limit, entry)
        });
        self.listed(end)
    }

    pub(super) fn readdirplus(&mut self) -> Answer {
        let arg = ReadIn::parse(&mut self.body)?;
        let (node, limit, reply) = (self.header.nodeid, arg.size as usize, &mut *self.reply);
        let shared = self.shared;
        let end = self
            .fs
            .readdirplus(node, arg.fh, arg.offset, &mut |entry, found| {
                let found = found.map(|found| shared.with_times(*found));
                !encode::direntplus(reply, limit, entry, found.as_ref())
            });
        self.listed(end)
    }

    /// What was listed before an error is delivered, with the references that it holds; the error meets the next call.
    fn listed(&self, end: fs::Result<()>) -> Answer {
        match end {
            Err(error) if self.reply.len() == 0 => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn releasedir(&mut self) -> Answer {
        let arg = ReleaseIn::parse(&mut self.body)?;
        self.fs.releasedir(self.node(), arg.fh);
        Ok(())
    }

    pub(super) fn fsyncdir(&mut self) -> Answer {
        let arg = FsyncIn::parse(&mut self.body)?;
        let data_only = arg.fsync_flags & FSYNC_FDATASYNC != 0;
        Ok(self.fs.fsyncdir(self.node(), data_only)?)
    }
}
