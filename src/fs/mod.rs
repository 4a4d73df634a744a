//! One trait in POSIX words. Every kind of volume implements it; FUSE, recover and the tests call it.
mod error;
mod types;

pub use error::{Damage, Error, Result};
pub use types::*;

use std::ffi::OsStr;

/// A mounted file system.
///
/// Nodes are counted: every [`Entry`] handed out by `lookup`, `readdirplus` and the calls that create adds one reference,
/// `forget` takes them away. Names are bytes without NUL and slash, 1 to 255 of them. Permission checks are the caller's
/// (the kernel's `default_permissions`); ownership of new files is taken from [`Caller`].
///
/// The content of a regular file can be read and changed by whoever has a reference, with [`NO_HANDLE`]; a name may go
/// away meanwhile. A handle keeps it open in between.
pub trait FileSystem: Send + Sync + 'static {
    /// Finds `name` in `parent`; takes one reference.
    fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry>;
    /// Gives back `count` references.
    fn forget(&self, node: NodeId, count: u64);
    /// Attributes.
    fn getattr(&self, node: NodeId) -> Result<Attr>;
    /// Changes attributes: mode, owner, size, times, in this order.
    fn setattr(&self, node: NodeId, set: &SetAttr) -> Result<Attr>;
    /// The target of a symbolic link.
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>>;

    /// Makes a regular file, FIFO, socket or device (the type is in `mode`).
    fn mknod(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
        caller: &Caller,
    ) -> Result<Entry>;
    /// Makes a directory.
    fn mkdir(&self, parent: NodeId, name: &OsStr, mode: u32, caller: &Caller) -> Result<Entry>;
    /// Makes a symbolic link.
    fn symlink(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
        caller: &Caller,
    ) -> Result<Entry>;
    /// Makes a hard link.
    fn link(&self, node: NodeId, parent: NodeId, name: &OsStr) -> Result<Entry>;
    /// Removes a name that is not a directory's.
    fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()>;
    /// Removes an empty directory.
    fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()>;
    /// Renames; see [`Rename`].
    fn rename(&self, from: (NodeId, &OsStr), to: (NodeId, &OsStr), how: Rename) -> Result<()>;

    /// Opens a regular file.
    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<Handle>;
    /// Makes and opens a regular file; `EEXIST` if the name is taken.
    fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)>;
    /// Makes and opens a file without a name (`O_TMPFILE`); `link` may give it one.
    fn tmpfile(
        &self,
        parent: NodeId,
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Entry, Handle)>;
    /// Reads into `buf`; fewer bytes than asked only at the end of the file.
    fn read(&self, node: NodeId, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// Writes all of `data` or fails. `kill_privileges`: clear set-user-ID and set-group-ID first.
    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<()>;
    /// The last descriptor of this handle is gone. The program that closed it hears of no error: all that it wrote is
    /// written, and what may fail here must be made good by the next open or mount.
    fn release(&self, node: NodeId, handle: Handle) -> Result<()>;
    /// Makes the file's content durable (and its attributes, unless `data_only`).
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()>;
    /// Reserves, punches or zeroes a range; see [`Allocate`].
    fn fallocate(
        &self,
        node: NodeId,
        handle: Handle,
        how: Allocate,
        offset: u64,
        length: u64,
    ) -> Result<()>;
    /// The next data or hole at or after `offset`; `Error::NoSuchAddress` past the end.
    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: Whence) -> Result<u64>;
    /// Copies a range between two open files; returns the bytes copied.
    fn copy_file_range(
        &self,
        from: (NodeId, Handle, u64),
        to: (NodeId, Handle, u64),
        length: u64,
    ) -> Result<u64>;

    /// Opens a directory for reading.
    fn opendir(&self, node: NodeId) -> Result<Handle>;
    /// Lists from `offset` (0, or what an earlier entry said) until `sink` returns true (full). "." and ".." included.
    fn readdir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()>;
    /// As `readdir`, each entry with its attributes. An entry for which `sink` returned false took one reference, except "."
    /// and "..", whose `entry` is `None`.
    fn readdirplus(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()>;
    /// Closes a directory.
    fn releasedir(&self, node: NodeId, handle: Handle);
    /// Makes the directory's entries durable.
    fn fsyncdir(&self, node: NodeId, data_only: bool) -> Result<()>;

    /// Sizes of the whole.
    fn statfs(&self) -> Result<Statfs>;
    /// An extended attribute's value; `Error::NoAttribute` if there is none.
    fn getxattr(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>>;
    /// Sets an extended attribute; `how`: create only, replace only, or either.
    fn setxattr(&self, node: NodeId, name: &OsStr, value: &[u8], how: SetXattr) -> Result<()>;
    /// Names of the extended attributes.
    fn listxattr(&self, node: NodeId) -> Result<Vec<Vec<u8>>>;
    /// Removes an extended attribute.
    fn removexattr(&self, node: NodeId, name: &OsStr) -> Result<()>;

    /// The nodes to which the caller has references, in no order; directories and the like may be among them.
    fn referenced(&self) -> Vec<NodeId> {
        Vec::new()
    }
    /// Counts the states of the whole that became durable; 0 where they are not counted.
    fn generation(&self) -> u64 {
        0
    }
    /// Keeps what is there now under a name; durable when it returns.
    fn create_snapshot(&self, _name: &OsStr) -> Result<()> {
        Err(Error::NotSupported)
    }
    /// Gives up a snapshot and what only it refers to; durable when it returns.
    fn delete_snapshot(&self, _name: &OsStr) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Makes all of it durable (`syncfs`).
    fn sync(&self) -> Result<()>;
    /// Ends the session cleanly: all durable, then marked as clean. Nothing is called after it.
    fn close(&self) -> Result<()>;
}
