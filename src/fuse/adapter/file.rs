//! Content. There is no OPEN: see [`Call::serve`].
use rustix::fs::{FallocateFlags, OFlags};

use super::{Answer, Call};
use crate::fs::{Allocate, Error, NodeId, OpenFlags, Whence};
use crate::fuse::abi::{self, CopyFileRangeIn, FallocateIn, FsyncIn, LseekIn, ReadIn, WriteIn};
use crate::fuse::encode;
use crate::fuse::mtimes::Times;

impl Call<'_> {
    pub(super) fn read(&mut self) -> Answer {
        let arg = ReadIn::parse(&mut self.body)?;
        let room = self.reply.space(arg.size as usize)?;
        let count = self.fs.read(self.header.nodeid, arg.fh, arg.offset, room)?;
        self.reply.advance(count.min(arg.size as usize));
        Ok(())
    }

    pub(super) fn write(&mut self) -> Answer {
        let arg = WriteIn::parse(&mut self.body)?;
        let data = self.body.bytes(arg.size as usize)?;
        let kill_privileges = arg.write_flags & abi::WRITE_KILL_SUIDGID != 0;
        let cached = arg.write_flags & abi::WRITE_CACHE != 0;
        if cached {
            self.modifies(self.node());
        }
        let (node, lost) = (self.node(), &self.shared.lost);
        let bytes = arg.offset..arg.offset.saturating_add(arg.size.into());
        self.fs
            .write(node, arg.fh, arg.offset, data, kill_privileges)
            .inspect_err(|error| {
                if cached {
                    lost.refused(node, bytes.clone(), error);
                }
            })?;
        lost.settled(node, &bytes);
        Ok(encode::size_out(self.reply, arg.size)?)
    }

    /// Call before an operation that moves the times of modification and change, which the kernel keeps: see [`super::super::mtimes`].
    fn modifies(&self, node: NodeId) {
        let known = || self.fs.getattr(node).map(|attr| Times::of(&attr)).ok();
        if let Some((node, times)) = self.shared.mtimes.changes(node, known) {
            self.shared.restore_times(node, times);
        }
    }

    pub(super) fn fsync(&mut self) -> Answer {
        let arg = FsyncIn::parse(&mut self.body)?;
        let data_only = arg.fsync_flags & abi::FSYNC_FDATASYNC != 0;
        Ok(self.fs.fsync(self.node(), arg.fh, data_only)?)
    }

    pub(super) fn fallocate(&mut self) -> Answer {
        let arg = FallocateIn::parse(&mut self.body)?;
        let how = allocate(FallocateFlags::from_bits_retain(arg.mode))?;
        self.modifies(self.node());
        Ok(self
            .fs
            .fallocate(self.node(), arg.fh, how, arg.offset, arg.length)?)
    }

    pub(super) fn lseek(&mut self) -> Answer {
        const SEEK_DATA: u32 = 3;
        const SEEK_HOLE: u32 = 4;
        let arg = LseekIn::parse(&mut self.body)?;
        let whence = match arg.whence {
            SEEK_DATA => Whence::Data,
            SEEK_HOLE => Whence::Hole,
            _ => return Err(Error::Invalid.into()),
        };
        let offset = self.fs.lseek(self.node(), arg.fh, arg.offset, whence)?;
        Ok(encode::number_out(self.reply, offset)?)
    }

    /// `wide`: the answer has 64 bits. The kernel asks for no more than the narrow one holds.
    pub(super) fn copy_file_range(&mut self, wide: bool) -> Answer {
        let arg = CopyFileRangeIn::parse(&mut self.body)?;
        if arg.flags != 0 {
            return Err(Error::Invalid.into());
        }
        let length = if wide {
            arg.len
        } else {
            arg.len.min(u32::MAX.into())
        };
        let from = (self.node(), arg.fh_in, arg.off_in);
        let to = (arg.nodeid_out, arg.fh_out, arg.off_out);
        self.modifies(arg.nodeid_out);
        let copied = self.fs.copy_file_range(from, to, length)?;
        if wide {
            encode::number_out(self.reply, copied)?;
        } else {
            encode::size_out(self.reply, u32::try_from(copied)?)?;
        }
        Ok(())
    }
}

/// `O_APPEND` is applied by the kernel, and with its writeback cache every handle must be readable: neither is passed on.
pub(super) fn open_flags(flags: u32, fuse_flags: u32) -> OpenFlags {
    let flags = OFlags::from_bits_retain(flags);
    OpenFlags {
        write: !(flags & OFlags::ACCMODE).is_empty(),
        truncate: flags.contains(OFlags::TRUNC),
        kill_privileges: fuse_flags & abi::OPEN_KILL_SUIDGID != 0,
        unlinkable: false,
    }
}

/// The modes of fallocate(2) that do not move data.
fn allocate(mode: FallocateFlags) -> Result<Allocate, Error> {
    let keep_size = mode.contains(FallocateFlags::KEEP_SIZE);
    let mode = mode - FallocateFlags::KEEP_SIZE;
    if mode.is_empty() {
        Ok(Allocate::Reserve { keep_size })
    } else if mode == FallocateFlags::PUNCH_HOLE && keep_size {
        Ok(Allocate::Punch)
    } else if mode == FallocateFlags::ZERO_RANGE {
        Ok(Allocate::Zero { keep_size })
    } else {
        Err(Error::NotSupported)
    }
}
