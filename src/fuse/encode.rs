//! Our answers as the structs of `fuse.h` that the kernel reads.
use std::os::unix::ffi::OsStrExt;

use super::wire::{Malformed, Reply};
use crate::fs::{Attr, DirEntry, Entry, Handle, NodeId, Statfs, Time};

/// Seconds for which the kernel may trust names and attributes. The mount is the only writer of the volume, and all its
/// changes pass through the kernel, so only memory pressure need end it.
const TTL: u64 = 3600;

/// STATX_BASIC_STATS and STATX_BTIME of statx(2).
const STATX_BASIC: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;

/// Appends fields of any integer type in order.
macro_rules! fields {
    ($reply:expr, $($field:expr),* $(,)?) => { { $($reply.put(&$field.to_ne_bytes())?;)* } };
}

/// `fuse_attr`.
fn attr(reply: &mut Reply, a: &Attr) -> Result<(), Malformed> {
    fields!(reply, a.ino, a.size, a.blocks);
    fields!(reply, a.atime.sec, a.mtime.sec, a.ctime.sec);
    fields!(reply, a.atime.nsec, a.mtime.nsec, a.ctime.nsec);
    fields!(
        reply,
        a.kind.mode_bits() | a.mode & 0o7777,
        a.nlink,
        a.uid,
        a.gid
    );
    // The low 32 bits of makedev(3) are the kernel's own encoding for majors below 4096.
    fields!(reply, a.rdev as u32, a.blksize, 0u32);
    Ok(())
}

/// `fuse_attr_out`.
pub(super) fn attr_out(reply: &mut Reply, a: &Attr) -> Result<(), Malformed> {
    fields!(reply, TTL, 0u32, 0u32);
    attr(reply, a)
}

/// `fuse_statx_out`.
pub(super) fn statx_out(reply: &mut Reply, a: &Attr) -> Result<(), Malformed> {
    let (mask, btime) = match a.btime {
        Some(btime) => (STATX_BASIC | STATX_BTIME, btime),
        None => (STATX_BASIC, Time::default()),
    };
    fields!(reply, TTL, 0u32, 0u32, 0u64, 0u64);
    fields!(reply, mask, a.blksize, 0u64, a.nlink, a.uid, a.gid);
    fields!(reply, (a.kind.mode_bits() | a.mode & 0o7777) as u16, 0u16);
    fields!(reply, a.ino, a.size, a.blocks, 0u64);
    for time in [a.atime, btime, a.ctime, a.mtime] {
        fields!(reply, time.sec, time.nsec, 0u32);
    }
    fields!(
        reply,
        rustix::fs::major(a.rdev),
        rustix::fs::minor(a.rdev),
        0u32,
        0u32
    );
    reply.put(&[0; 14 * 8])
}

/// `fuse_entry_out`.
pub(super) fn entry_out(reply: &mut Reply, entry: &Entry) -> Result<(), Malformed> {
    fields!(reply, entry.node, 0u64, TTL, TTL, 0u32, 0u32);
    attr(reply, &entry.attr)
}

/// `fuse_entry_out` that lets the kernel remember that there is no such name.
pub(super) fn negative_entry_out(reply: &mut Reply) -> Result<(), Malformed> {
    fields!(reply, 0u64, 0u64, TTL, 0u64, 0u32, 0u32);
    reply.put(&[0; 88])
}

/// `fuse_open_out`.
pub(super) fn open_out(reply: &mut Reply, handle: Handle, flags: u32) -> Result<(), Malformed> {
    fields!(reply, handle, flags, 0u32);
    Ok(())
}

/// `fuse_write_out`, `fuse_getxattr_out`: a size, padded.
pub(super) fn size_out(reply: &mut Reply, size: u32) -> Result<(), Malformed> {
    fields!(reply, size, 0u32);
    Ok(())
}

/// `fuse_ioctl_out` of a request that has no result of its own.
pub(super) fn ioctl_out(reply: &mut Reply) -> Result<(), Malformed> {
    fields!(reply, 0u32, 0u32, 0u32, 0u32);
    Ok(())
}

/// `fuse_lseek_out`, `fuse_copy_file_range_out`: one number.
pub(super) fn number_out(reply: &mut Reply, number: u64) -> Result<(), Malformed> {
    fields!(reply, number);
    Ok(())
}

/// `fuse_statfs_out`.
pub(super) fn statfs_out(reply: &mut Reply, s: &Statfs) -> Result<(), Malformed> {
    fields!(reply, s.blocks, s.bfree, s.bavail, s.files, s.ffree);
    fields!(reply, s.bsize, s.namelen, s.bsize, 0u32);
    reply.put(&[0; 6 * 4])
}

/// A notification without request: drop the pages of `node`, all of them.
pub(super) fn drop_pages(reply: &mut Reply, node: NodeId) -> &[u8] {
    const NOTIFY_INVAL_INODE: i32 = 2;
    reply.clear();
    let body = [node, 0, 0].map(u64::to_ne_bytes).concat();
    let _ = reply.put(&body);
    reply.finish_with(0, NOTIFY_INVAL_INODE)
}

/// A notification without request: names and attributes that the kernel has of this session are no longer valid.
pub(super) fn next_epoch(reply: &mut Reply) -> &[u8] {
    const NOTIFY_INC_EPOCH: i32 = 8;
    reply.clear();
    reply.finish_with(0, NOTIFY_INC_EPOCH)
}

/// `fuse_dirent`, if it fits in a listing of at most `limit` bytes.
pub(super) fn dirent(reply: &mut Reply, limit: usize, entry: &DirEntry<'_>) -> bool {
    fits(reply, limit, dirent_len(entry)) && put_dirent(reply, entry).is_ok()
}

/// `fuse_direntplus`, if it fits in a listing of at most `limit` bytes. No node: "." and "..".
pub(super) fn direntplus(
    reply: &mut Reply,
    limit: usize,
    entry: &DirEntry<'_>,
    node: Option<&Entry>,
) -> bool {
    const ENTRY_OUT: usize = 128;
    if !fits(reply, limit, ENTRY_OUT + dirent_len(entry)) {
        return false;
    }
    let head = match node {
        Some(node) => entry_out(reply, node),
        None => reply.put(&[0; ENTRY_OUT]),
    };
    head.is_ok() && put_dirent(reply, entry).is_ok()
}

/// Whether `len` more bytes fit in the kernel's buffer, and in ours.
fn fits(reply: &mut Reply, limit: usize, len: usize) -> bool {
    reply.len() + len <= limit && reply.space(len).is_ok()
}

fn dirent_len(entry: &DirEntry<'_>) -> usize {
    (24 + entry.name.len()).next_multiple_of(8)
}

fn put_dirent(reply: &mut Reply, entry: &DirEntry<'_>) -> Result<(), Malformed> {
    let name = entry.name.as_bytes();
    fields!(
        reply,
        entry.ino,
        entry.next,
        name.len() as u32,
        entry.kind.mode_bits() >> 12
    );
    reply.put(name)?;
    reply.put(&[0; 8][..dirent_len(entry) - 24 - name.len()])
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::fs::Kind;

    const ATTR: Attr = Attr {
        ino: 9,
        kind: Kind::File,
        mode: 0o644,
        nlink: 1,
        uid: 2,
        gid: 3,
        rdev: 0,
        size: 5,
        blocks: 8,
        blksize: 4096,
        atime: Time { sec: -1, nsec: 7 },
        mtime: Time { sec: 1, nsec: 8 },
        ctime: Time { sec: 2, nsec: 9 },
        btime: Some(Time { sec: 3, nsec: 10 }),
    };

    /// The payload's length after `write`.
    fn length(write: impl FnOnce(&mut Reply) -> Result<(), Malformed>) -> usize {
        let mut reply = Reply::new(4096);
        write(&mut reply).unwrap();
        reply.len()
    }

    #[test]
    fn structs_have_the_kernels_sizes() {
        let entry = Entry {
            node: 4,
            attr: ATTR,
        };
        assert_eq!(length(|r| attr(r, &ATTR)), 88);
        assert_eq!(length(|r| attr_out(r, &ATTR)), 104);
        assert_eq!(length(|r| entry_out(r, &entry)), 128);
        assert_eq!(length(negative_entry_out), 128);
        assert_eq!(length(|r| statx_out(r, &ATTR)), 288);
        assert_eq!(length(|r| open_out(r, 1, 0)), 16);
        assert_eq!(length(|r| statfs_out(r, &Statfs::default())), 80);
    }

    #[test]
    fn a_listing_stops_at_its_limit() {
        let mut reply = Reply::new(4096);
        let name = OsStr::new("abcdefghi");
        let entry = DirEntry {
            ino: 1,
            next: 1,
            kind: Kind::Directory,
            name,
        };
        assert!(dirent(&mut reply, 80, &entry));
        assert_eq!(reply.len(), 40);
        assert!(dirent(&mut reply, 80, &entry));
        assert!(!dirent(&mut reply, 80, &entry));
        assert!(!direntplus(&mut reply, 247, &entry, None));
        assert!(direntplus(&mut reply, 248, &entry, None));
        assert_eq!(reply.len(), 248);
    }
}
