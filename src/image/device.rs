//! The image file or block device: the one place that reads and writes it, and the seam through which tests see what is
//! done to it, in order.
use super::layout::PAGE;
use crate::fs::Result;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One change of the image that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Write { offset: u64, data: Vec<u8> },
    Punch { offset: u64, length: u64 },
    Flush,
}

/// Told of every change, after it was done.
pub trait Recorder: Send + Sync {
    /// One change.
    fn record(&self, op: Op);
}

/// An open image.
pub struct Device {
    file: File,
    /// Freed space can be given back to what lies below.
    punch: AtomicBool,
    recorder: Option<Arc<dyn Recorder>>,
}

impl Device {
    /// `punch`: give freed space of an image file back (never of a block device).
    pub fn new(fd: OwnedFd, punch: bool, recorder: Option<Arc<dyn Recorder>>) -> Result<Self> {
        let file = File::from(fd);
        let block = file.metadata()?.file_type().is_block_device();
        Ok(Self {
            file,
            punch: AtomicBool::new(punch && !block),
            recorder,
        })
    }

    /// Its length in bytes; of a block device too.
    pub fn length(&self) -> Result<u64> {
        use std::io::{Seek, SeekFrom};
        Ok((&self.file).seek(SeekFrom::End(0))?)
    }

    /// Pages that the file system below an image file can still give to an image of which so many are in use, those it
    /// has given and that are free again included; `None` for a block device, which has all it needs.
    pub fn room_below(&self, in_use: u64) -> Option<u64> {
        let file = self.file.metadata().ok().filter(|file| file.is_file())?;
        let given = file.blocks() / (PAGE as u64 / 512);
        let sizes = rustix::fs::fstatvfs(&self.file).ok()?;
        let left = sizes.f_bavail.saturating_mul(sizes.f_frsize) / PAGE as u64;
        Some(left.saturating_add(given.saturating_sub(in_use)))
    }

    /// Reads whole pages. What lies beyond the end reads as zeros, which no tag fits.
    pub fn read(&self, page: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let offset = page * PAGE as u64 + done as u64;
            match self.file.read_at(&mut buf[done..], offset) {
                Ok(0) => {
                    buf[done..].fill(0);
                    break;
                }
                Ok(count) => done += count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Writes whole pages.
    pub fn write(&self, page: u64, data: &[u8]) -> Result<()> {
        let offset = page * PAGE as u64;
        self.file.write_all_at(data, offset)?;
        if let Some(recorder) = &self.recorder {
            let data = data.to_vec();
            recorder.record(Op::Write { offset, data });
        }
        Ok(())
    }

    /// Everything that was written is durable when this returns.
    pub fn flush(&self) -> Result<()> {
        self.file.sync_data()?;
        if let Some(recorder) = &self.recorder {
            recorder.record(Op::Flush);
        }
        Ok(())
    }

    /// Has the file system below set space aside for pages. False: it has none. Where freed space is not given back there
    /// is nothing to be done.
    pub fn set_aside(&self, pages: Range<u64>) -> bool {
        if !self.punch.load(Relaxed) {
            return true;
        }
        let (offset, length) = bytes(&pages);
        let set_aside = fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, length);
        !matches!(set_aside, Err(Errno::NOSPC | Errno::DQUOT))
    }

    /// Whether freed space can be given back.
    pub fn can_punch(&self) -> bool {
        self.punch.load(Relaxed)
    }

    /// Gives pages back to the file system below, where it can take them.
    pub fn punch(&self, pages: Range<u64>) {
        if !self.punch.load(Relaxed) {
            return;
        }
        let (offset, length) = bytes(&pages);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, length) {
            Ok(()) => {
                if let Some(recorder) = &self.recorder {
                    recorder.record(Op::Punch { offset, length });
                }
            }
            // FAT, exFAT and some NFS servers cannot: the space stays with the image, which reuses it.
            Err(_) => self.punch.store(false, Relaxed),
        }
    }
}

/// Offset and length.
fn bytes(pages: &Range<u64>) -> (u64, u64) {
    let length = (pages.end - pages.start) * PAGE as u64;
    (pages.start * PAGE as u64, length)
}
