//! Changing the tree: making, linking, renaming and removing names.
use rustix::fs::{OFlags, RenameFlags};

use super::file::open_flags;
use super::{Answer, Call};
use crate::fs::{Entry, Error, Handle, NO_HANDLE, Rename};
use crate::fuse::abi::{CreateIn, FOPEN_KEEP_CACHE, LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn};
use crate::fuse::encode;

impl Call<'_> {
    pub(super) fn mknod(&mut self) -> Answer {
        let arg = MknodIn::parse(&mut self.body)?;
        let name = self.body.name()?;
        let caller = self.caller(arg.umask);
        let entry = self
            .fs
            .mknod(self.node(), name, arg.mode, arg.rdev, &caller)?;
        Ok(encode::entry_out(self.reply, &entry)?)
    }

    pub(super) fn mkdir(&mut self) -> Answer {
        let arg = MkdirIn::parse(&mut self.body)?;
        let name = self.body.name()?;
        let entry = self
            .fs
            .mkdir(self.node(), name, arg.mode, &self.caller(arg.umask))?;
        Ok(encode::entry_out(self.reply, &entry)?)
    }

    pub(super) fn symlink(&mut self) -> Answer {
        let name = self.body.name()?;
        let target = self.body.name()?;
        let entry = self
            .fs
            .symlink(self.node(), name, target, &self.caller(0))?;
        Ok(encode::entry_out(self.reply, &entry)?)
    }

    pub(super) fn link(&mut self) -> Answer {
        let arg = LinkIn::parse(&mut self.body)?;
        let name = self.body.name()?;
        let entry = self.fs.link(arg.oldnodeid, self.node(), name)?;
        Ok(encode::entry_out(self.reply, &entry)?)
    }

    pub(super) fn unlink(&mut self) -> Answer {
        let name = self.body.name()?;
        Ok(self.fs.unlink(self.node(), name)?)
    }

    pub(super) fn rmdir(&mut self) -> Answer {
        let name = self.body.name()?;
        Ok(self.fs.rmdir(self.node(), name)?)
    }

    pub(super) fn rename(&mut self, with_flags: bool) -> Answer {
        let (newdir, flags) = if with_flags {
            let arg = Rename2In::parse(&mut self.body)?;
            (arg.newdir, RenameFlags::from_bits_retain(arg.flags))
        } else {
            (
                RenameIn::parse(&mut self.body)?.newdir,
                RenameFlags::empty(),
            )
        };
        let how = how(flags)?;
        let from = self.body.name()?;
        let to = self.body.name()?;
        Ok(self.fs.rename((self.node(), from), (newdir, to), how)?)
    }

    pub(super) fn create(&mut self) -> Answer {
        let arg = CreateIn::parse(&mut self.body)?;
        let name = self.body.name()?;
        let flags = open_flags(arg.flags, arg.open_flags);
        let caller = self.caller(arg.umask);
        let created = self
            .fs
            .create(self.node(), name, arg.mode, flags, &caller)?;
        self.created(created)
    }

    pub(super) fn tmpfile(&mut self) -> Answer {
        let arg = CreateIn::parse(&mut self.body)?;
        let mut flags = open_flags(arg.flags, arg.open_flags);
        flags.unlinkable = OFlags::from_bits_retain(arg.flags).contains(OFlags::EXCL);
        let created = self
            .fs
            .tmpfile(self.node(), arg.mode, flags, &self.caller(arg.umask))?;
        self.created(created)
    }

    fn created(&mut self, (entry, handle): (Entry, Handle)) -> Answer {
        // What the kernel need not open it does not close either.
        self.fs.release(entry.node, handle)?;
        encode::entry_out(self.reply, &entry)?;
        Ok(encode::open_out(self.reply, NO_HANDLE, FOPEN_KEEP_CACHE)?)
    }
}

/// How renameat2(2) treats an existing target; combinations and unknown flags are refused.
fn how(flags: RenameFlags) -> Result<Rename, Error> {
    if flags.is_empty() {
        Ok(Rename::Replace)
    } else if flags == RenameFlags::NOREPLACE {
        Ok(Rename::NoReplace)
    } else if flags == RenameFlags::EXCHANGE {
        Ok(Rename::Exchange)
    } else if flags == RenameFlags::WHITEOUT {
        Ok(Rename::Whiteout)
    } else {
        Err(Error::Invalid)
    }
}
