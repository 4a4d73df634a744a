//! Requests as bytes against a file system that says yes to everything: what the kernel reads must always be well formed.
use std::ffi::OsStr;

use proptest::prelude::*;

use super::{Call, Outcome};
use crate::fs::*;
use crate::fuse::abi::{self, InHeader};
use crate::fuse::counters::Counters;
use crate::fuse::lost::Lost;
use crate::fuse::mtimes::Mtimes;
use crate::fuse::wire::{Reader, Reply};
use crate::fuse::worker::Shared;

const ATTR: Attr = Attr {
    ino: 7,
    kind: Kind::File,
    mode: 0o2755,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 10,
    blocks: 8,
    blksize: 4096,
    atime: Time { sec: 0, nsec: 0 },
    mtime: Time { sec: 0, nsec: 0 },
    ctime: Time { sec: 0, nsec: 0 },
    btime: None,
};
const ENTRY: Entry = Entry {
    node: 5,
    attr: ATTR,
};

/// Says yes, and fills what it is given.
struct Yes;

#[allow(unused_variables)]
impl FileSystem for Yes {
    fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        if name == "missing" {
            Err(Error::NotFound)
        } else {
            Ok(ENTRY)
        }
    }
    fn forget(&self, node: NodeId, count: u64) {}
    fn getattr(&self, node: NodeId) -> Result<Attr> {
        Ok(ATTR)
    }
    fn setattr(&self, node: NodeId, set: &SetAttr) -> Result<Attr> {
        Ok(ATTR)
    }
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        Ok(b"target".to_vec())
    }
    fn mknod(&self, p: NodeId, n: &OsStr, m: u32, r: u32, c: &Caller) -> Result<Entry> {
        Ok(ENTRY)
    }
    fn mkdir(&self, parent: NodeId, name: &OsStr, mode: u32, caller: &Caller) -> Result<Entry> {
        Ok(ENTRY)
    }
    fn symlink(&self, parent: NodeId, name: &OsStr, to: &OsStr, c: &Caller) -> Result<Entry> {
        Ok(ENTRY)
    }
    fn link(&self, node: NodeId, parent: NodeId, name: &OsStr) -> Result<Entry> {
        Ok(ENTRY)
    }
    fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        Ok(())
    }
    fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        Ok(())
    }
    fn rename(&self, from: (NodeId, &OsStr), to: (NodeId, &OsStr), how: Rename) -> Result<()> {
        Ok(())
    }
    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<Handle> {
        Ok(3)
    }
    fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)> {
        Ok((ENTRY, 3))
    }
    fn tmpfile(&self, p: NodeId, m: u32, f: OpenFlags, c: &Caller) -> Result<(Entry, Handle)> {
        Ok((ENTRY, 3))
    }
    fn read(&self, node: NodeId, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        buf.fill(1);
        Ok(buf.len())
    }
    fn write(&self, n: NodeId, h: Handle, offset: u64, data: &[u8], kill: bool) -> Result<()> {
        Ok(())
    }
    fn release(&self, node: NodeId, handle: Handle) -> Result<()> {
        Ok(())
    }
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        Ok(())
    }
    fn fallocate(&self, n: NodeId, h: Handle, how: Allocate, at: u64, len: u64) -> Result<()> {
        Ok(())
    }
    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: Whence) -> Result<u64> {
        Ok(offset)
    }
    fn copy_file_range(
        &self,
        from: (NodeId, Handle, u64),
        to: (NodeId, Handle, u64),
        length: u64,
    ) -> Result<u64> {
        Ok(length)
    }
    fn opendir(&self, node: NodeId) -> Result<Handle> {
        Ok(3)
    }
    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        while !sink(&dirent()) {}
        Ok(())
    }
    fn readdirplus(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        while !sink(&dirent(), Some(&ENTRY)) {}
        Ok(())
    }
    fn releasedir(&self, node: NodeId, handle: Handle) {}
    fn fsyncdir(&self, node: NodeId, data_only: bool) -> Result<()> {
        Ok(())
    }
    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs::default())
    }
    fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        match name.to_str() {
            Some("system.posix_acl_access") => Err(Error::NotSupported),
            Some("security.selinux") => Err(Error::NoAttribute),
            _ => Ok(b"value".to_vec()),
        }
    }
    fn setxattr(&self, node: NodeId, name: &OsStr, value: &[u8], how: SetXattr) -> Result<()> {
        Ok(())
    }
    fn listxattr(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        Ok(vec![b"user.a".to_vec(), b"user.b".to_vec()])
    }
    fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()> {
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn dirent() -> DirEntry<'static> {
    DirEntry {
        ino: 7,
        next: 1,
        kind: Kind::File,
        name: OsStr::new("name"),
    }
}

/// The whole reply to a request, as errno and payload; `None` if there is none.
fn answer(opcode: u32, body: &[u8], capacity: usize) -> Option<(i32, Vec<u8>)> {
    let header = InHeader {
        len: 0,
        opcode,
        unique: 9,
        nodeid: 1,
        uid: 0,
        gid: 0,
        pid: 0,
        total_extlen: 0,
        padding: 0,
    };
    let mut reply = Reply::new(capacity);
    let shared = Shared {
        file_system: &Yes,
        mtimes: Mtimes::default(),
        lost: Lost::default(),
        setxattr_ext: true,
        counters: &Counters::new(0),
        ending: &crate::fuse::ending::Ending::default(),
    };
    let mut call = Call {
        fs: &Yes,
        shared: &shared,
        header: &header,
        body: Reader::new(body),
        reply: &mut reply,
    };
    let errno = match call.serve() {
        Outcome::Silent => return None,
        Outcome::Reply(answer) => answer.err().map_or(0, |failure| failure.errno()),
    };
    Some((errno, reply.finish(9, errno)[16..].to_vec()))
}

/// The fields of a request, each in its own width.
fn body(fields: &[&[u8]]) -> Vec<u8> {
    fields.concat()
}

proptest! {
    /// Whatever the kernel sends: an answer or an errno that it takes, and never more than fits.
    #[test]
    fn any_request_has_a_sound_answer(
        opcode in 0u32..64,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Some((errno, payload)) = answer(opcode, &bytes, 4096) {
            prop_assert!((0..512).contains(&errno));
            prop_assert!(payload.len() <= 4096);
            prop_assert!(errno == 0 || payload.is_empty());
        }
    }
}

#[test]
fn a_missing_name_is_an_entry_without_a_node() {
    let (errno, payload) = answer(abi::LOOKUP, b"missing\0", 4096).unwrap();
    assert_eq!((errno, payload.len()), (0, 128));
    assert_eq!(payload[..8], [0; 8]);
    assert_ne!(payload[16..24], [0; 8], "the kernel may remember it");
}

#[test]
fn what_is_newer_than_we_are_is_unknown() {
    let enosys = rustix::io::Errno::NOSYS.raw_os_error();
    assert_eq!(answer(abi::ACCESS, &[0; 8], 4096), Some((enosys, vec![])));
    assert_eq!(answer(4000, &[], 4096), Some((enosys, vec![])));
    assert_eq!(answer(abi::FORGET, &[0; 8], 4096), None);
    assert_eq!(answer(abi::INTERRUPT, &[0; 8], 4096), None);
}

#[test]
fn a_listing_fills_the_kernels_buffer_and_no_more() {
    let read = |size: u32| body(&[&[0; 16], &size.to_ne_bytes(), &[0; 20]]);
    let (_, plain) = answer(abi::READDIR, &read(100), 4096).unwrap();
    assert_eq!(plain.len(), 96);
    let (_, plus) = answer(abi::READDIRPLUS, &read(1000), 4096).unwrap();
    assert_eq!(plus.len(), 960);
    let (_, capped) = answer(abi::READDIR, &read(u32::MAX), 4096).unwrap();
    assert_eq!(capped.len(), 4096);
}

#[test]
fn an_xattr_is_measured_fetched_or_too_large() {
    let get = |size: u32, name: &[u8]| body(&[&size.to_ne_bytes(), &[0; 4], name]);
    let ask = |size, name| answer(abi::GETXATTR, &get(size, name), 4096).unwrap();
    assert_eq!(
        ask(0, b"user.a\0"),
        (0, body(&[&5u32.to_ne_bytes(), &[0; 4]]))
    );
    assert_eq!(ask(5, b"user.a\0"), (0, b"value".to_vec()));
    assert_eq!(ask(4, b"user.a\0").0, Error::Range.errno());
    assert_eq!(
        ask(9, b"system.posix_acl_access\0").0,
        Error::NoAttribute.errno()
    );
    assert_eq!(ask(9, b"security.selinux\0").0, Error::NotSupported.errno());
    let (_, list) = answer(abi::LISTXATTR, &get(100, b""), 4096).unwrap();
    assert_eq!(list, b"user.a\0user.b\0");
}

#[test]
fn modes_that_move_data_are_refused() {
    let fallocate = |mode: u32| body(&[&[0; 24], &mode.to_ne_bytes(), &[0; 4]]);
    let errno = |mode| answer(abi::FALLOCATE, &fallocate(mode), 4096).unwrap().0;
    for mode in [0, 1, 3, 0x10, 0x11] {
        assert_eq!(errno(mode), 0, "{mode:#x}");
    }
    for mode in [2, 4, 8, 0x13, 0x20, 0x40, 0x80] {
        assert_eq!(errno(mode), Error::NotSupported.errno(), "{mode:#x}");
    }
}

#[test]
fn a_rename_takes_one_flag_at_most() {
    let rename = |flags: u32| body(&[&[0; 8], &flags.to_ne_bytes(), &[0; 4], b"a\0b\0"]);
    let errno = |flags| answer(abi::RENAME2, &rename(flags), 4096).unwrap().0;
    assert_eq!([errno(0), errno(1), errno(2), errno(4)], [0; 4]);
    assert_eq!([errno(3), errno(5), errno(8)], [Error::Invalid.errno(); 3]);
}

#[test]
fn a_write_shorter_than_it_says_is_refused() {
    let write = |size: u32| body(&[&[0; 16], &size.to_ne_bytes(), &[0; 20], b"12345"]);
    assert_eq!(answer(abi::WRITE, &write(5), 4096).unwrap().0, 0);
    assert_ne!(answer(abi::WRITE, &write(6), 4096).unwrap().0, 0);
}
