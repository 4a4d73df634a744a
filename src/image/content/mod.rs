//! Content of files.
//!
//! A small file (up to [`INLINE_MAX`] bytes) lies in an item of the tree beside its inode. A larger one has pages: each
//! group of 16 has an item with their pointers; what has none is a hole. Bytes of the last page beyond the end are zeros.
//! A write of any size puts whole new pages, or, inside of them, what is there with the change: pages are never changed.
//!
//! Content is written to the image at once, pointers with the next commit; so no content waits in memory.
mod extents;
mod read;
mod space;
#[cfg(test)]
mod tests;
mod write;

pub use extents::{decode as decode_group, pages};

use super::core::Core;
use super::inode::INLINE;
use super::items::Items;
use super::key;
use super::layout::PAGE;
use crate::codec::InodeRecord;
use crate::fs::{Error, Handle, NodeId, OpenFlags, Result};

/// The largest file that has no pages.
pub const INLINE_MAX: u64 = super::items::CHUNK as u64;
/// The largest file, as ext4's with 4 KiB blocks.
pub const LARGEST: u64 = (1 << 44) - 4096;
/// Pages read or written at a time.
const BATCH: u64 = 256;

/// The end of a range, if a file may reach so far.
pub fn check_end(offset: u64, length: u64) -> Result<u64> {
    let end = offset.checked_add(length).ok_or(Error::FileTooLarge)?;
    match end > LARGEST {
        true => Err(Error::FileTooLarge),
        false => Ok(end),
    }
}

/// The page of an offset.
fn page_of(offset: u64) -> u64 {
    offset / PAGE as u64
}

/// True if the content lies in pages.
fn paged(inode: &InodeRecord) -> bool {
    !inode.has(INLINE)
}

impl Core {
    /// Opens a regular file.
    pub fn open_file(&self, ino: NodeId, flags: OpenFlags) -> Result<Handle> {
        self.store.inode(ino)?.file()?;
        if flags.truncate {
            self.truncate(ino, 0)?;
            if flags.kill_privileges {
                self.store.change(None, |change| {
                    change.edit(ino, InodeRecord::kill_privileges)
                })?;
            }
        }
        self.nodes.open(ino);
        Ok(0)
    }

    /// Content of a file that has no pages: exactly as long as the file.
    fn inline(&self, ino: NodeId, inode: &InodeRecord) -> Result<Vec<u8>> {
        let mut bytes = match inode.size {
            0 => Vec::new(),
            _ => self.store.chunks(&key::inline(ino))?.unwrap_or_default(),
        };
        bytes.resize(inode.size.min(INLINE_MAX) as usize, 0);
        Ok(bytes)
    }

    /// A buffer of so many bytes, whose content is arbitrary.
    fn buffer(&self, size: usize) -> Vec<u8> {
        let mut buffer = self.buffers.lock().pop().unwrap_or_default();
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        buffer
    }

    /// Keeps a buffer for the next one who needs it. Only ever ciphertext.
    fn give_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock();
        if buffers.len() < 4 {
            buffers.push(buffer);
        }
    }
}
