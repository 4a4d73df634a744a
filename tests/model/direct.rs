//! Drives a file system through the trait, as the kernel does: paths are walked by lookup, references are counted, and
//! what Linux refuses before it asks a file system (VFS) is refused here too.
use super::ops::{At, Op, SLOTS, Slot, target, xattr};
use super::rng::Rng;
use super::subject::{Answer, BLOCK, Data, Item, Outcome, READ_WHOLE, Snapshot, Subject, add_data};
use cryptfs::fs::{
    Caller, Entry, Error, FileSystem, Handle, Kind, NodeId, OpenFlags, ROOT, Rename, SetAttr,
    SetTime, Time, Whence,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

type Answered<T> = Result<T, i32>;

/// Closes (`None` is given) or opens the file system under test.
pub type Reopen = Box<dyn FnMut() -> Arc<dyn FileSystem>>;

#[derive(Clone, Copy)]
struct Opened {
    node: NodeId,
    handle: Handle,
    write: bool,
    /// Made without a name and not linked yet.
    nameless: bool,
}

/// The driver.
pub struct Direct {
    fs: Option<Arc<dyn FileSystem>>,
    reopen: Reopen,
    callers: Vec<Caller>,
    slots: [Option<Opened>; SLOTS],
    /// References taken, by node.
    held: HashMap<NodeId, u64>,
    /// Nodes held, by inode number: one inode must not have two nodes.
    nodes: HashMap<u64, NodeId>,
}

fn errno(errno: Errno) -> i32 {
    errno.raw_os_error()
}

impl Direct {
    /// `reopen` gives the file system, first and after each remount; the one before it was closed and dropped.
    pub fn new(mut reopen: Reopen, callers: &[(u32, u32)], umask: u32) -> Self {
        let callers = callers.iter().map(|(uid, gid)| Caller {
            uid: *uid,
            gid: *gid,
            umask,
        });
        Self {
            fs: Some(reopen()),
            reopen,
            callers: callers.collect(),
            slots: [None; SLOTS],
            held: HashMap::new(),
            nodes: HashMap::new(),
        }
    }

    /// Every place that has a kind, the root first.
    pub fn places(&mut self) -> Vec<(At, Kind)> {
        let mut found = vec![(At::default(), Kind::Directory)];
        let mut left = vec![(Vec::new(), ROOT)];
        while let Some((path, node)) = left.pop() {
            for (name, kind) in self.list(node).expect("the oracle lists") {
                let path = [&path[..], b"/", &name].concat();
                if kind == Kind::Directory {
                    let below = self.lookup(node, OsStr::from_bytes(&name));
                    left.push((
                        path.clone(),
                        below.expect("the oracle finds what it lists").0,
                    ));
                }
                found.push((At::known(&path).expect("one of our names"), kind));
            }
        }
        found
    }

    /// The slots that hold an open file.
    pub fn open(&self) -> Vec<Slot> {
        (0..SLOTS)
            .filter(|slot| self.slots[*slot].is_some())
            .collect()
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        Arc::clone(self.fs.as_ref().expect("open but while it is reopened"))
    }

    fn take(&mut self, entry: &Entry) -> NodeId {
        *self.held.entry(entry.node).or_default() += 1;
        let known = self.nodes.insert(entry.attr.ino, entry.node);
        if let Some(other) = known.filter(|known| *known != entry.node) {
            // The number of a file that was removed may come again while someone still remembers the file.
            let removed = self
                .fs()
                .getattr(other)
                .map_or(true, |attr| attr.nlink == 0);
            assert!(removed, "inode {} has two nodes", entry.attr.ino);
        }
        entry.node
    }

    /// Gives back every reference, but for those of open files.
    fn forget(&mut self) {
        let fs = self.fs();
        let open: BTreeSet<_> = self
            .slots
            .iter()
            .flatten()
            .map(|opened| opened.node)
            .collect();
        self.held.retain(|node, count| {
            if !open.contains(node) {
                fs.forget(*node, *count);
            }
            open.contains(node)
        });
        let held = &self.held;
        self.nodes.retain(|_, node| held.contains_key(node));
    }

    fn lookup(&mut self, parent: NodeId, name: &OsStr) -> Answered<(NodeId, Kind)> {
        let entry = self.fs().lookup(parent, name).map_err(|e| e.errno())?;
        Ok((self.take(&entry), entry.attr.kind))
    }

    fn walk(&mut self, names: &[OsString]) -> Answered<(NodeId, Kind)> {
        let mut found = (ROOT, Kind::Directory);
        for name in names {
            if found.1 != Kind::Directory {
                return Err(errno(Errno::NOTDIR));
            }
            found = self.lookup(found.0, name)?;
        }
        Ok(found)
    }

    fn node(&mut self, at: &At) -> Answered<NodeId> {
        Ok(self.walk(&at.names())?.0)
    }

    fn parent(&mut self, at: &At) -> Answered<(NodeId, OsString)> {
        let mut names = at.names();
        let name = names.pop().expect("a path below the root");
        match self.walk(&names)? {
            (parent, Kind::Directory) => Ok((parent, name)),
            _ => Err(errno(Errno::NOTDIR)),
        }
    }

    fn slot(&self, slot: Slot) -> Answered<Opened> {
        self.slots[slot].ok_or(errno(Errno::BADF))
    }

    /// An open file that may be written; Linux knows how a descriptor was opened and does not ask.
    fn writable(&self, slot: Slot) -> Answered<Opened> {
        Some(self.slot(slot)?)
            .filter(|opened| opened.write)
            .ok_or(errno(Errno::BADF))
    }

    fn fill(&mut self, slot: Slot, node: NodeId, handle: Handle, write: bool) -> Answered<()> {
        self.slots[slot] = Some(Opened {
            node,
            handle,
            write,
            nameless: false,
        });
        Ok(())
    }

    fn close(&mut self, slot: Slot) -> Answered<()> {
        let Some(opened) = self.slots[slot].take() else {
            return Ok(());
        };
        let fs = self.fs();
        fs.release(opened.node, opened.handle)
            .map_err(|e| e.errno())
    }

    fn remount(&mut self) -> Answered<()> {
        for slot in 0..SLOTS {
            self.close(slot)?;
        }
        self.forget();
        self.fs().close().map_err(|e| e.errno())?;
        self.fs = None;
        self.fs = Some((self.reopen)());
        Ok(())
    }

    /// Size of what is not a regular file: as truncate(2) has it.
    fn truncatable(kind: Kind) -> Answered<()> {
        match kind {
            Kind::File => Ok(()),
            Kind::Directory => Err(errno(Errno::ISDIR)),
            _ => Err(errno(Errno::INVAL)),
        }
    }

    fn setattr(&mut self, node: NodeId, set: &SetAttr) -> Outcome {
        let attr = self.fs().setattr(node, set).map_err(|e| e.errno())?;
        Ok(Answer::Attr(attr))
    }

    fn on_names(&mut self, op: &Op) -> Answered<()> {
        let fs = self.fs();
        let said = |error: Error| error.errno();
        match op {
            Op::Mkdir(at, mode, who) => {
                let (parent, name) = self.parent(at)?;
                let entry = fs
                    .mkdir(parent, &name, *mode, &self.callers[*who])
                    .map_err(said)?;
                self.take(&entry);
            }
            Op::Mknod(at, mode, rdev, who) => {
                let (parent, name) = self.parent(at)?;
                let made = fs.mknod(parent, &name, *mode, *rdev, &self.callers[*who]);
                self.take(&made.map_err(said)?);
            }
            Op::Symlink(at, to, who) => {
                let (parent, name) = self.parent(at)?;
                let made = fs.symlink(parent, &name, &target(*to), &self.callers[*who]);
                self.take(&made.map_err(said)?);
            }
            Op::Link(from, to) => {
                let (node, kind) = self.walk(&from.names())?;
                let (parent, name) = self.parent(to)?;
                // Of two reasons to refuse, Linux gives the one that it sees before it asks.
                if kind == Kind::Directory && self.lookup(parent, &name).is_ok() {
                    return Err(errno(Errno::EXIST));
                }
                let entry = fs.link(node, parent, &name).map_err(said)?;
                self.take(&entry);
            }
            Op::LinkSlot(slot, to) => {
                let opened = self.slot(*slot)?;
                let (parent, name) = self.parent(to)?;
                let links = fs.getattr(opened.node).map_err(said)?.nlink;
                if links == 0 && !opened.nameless {
                    // Removed for good: Linux does not ask.
                    self.lookup(parent, &name)?;
                    return Err(errno(Errno::EXIST));
                }
                let entry = fs.link(opened.node, parent, &name).map_err(said)?;
                self.take(&entry);
                self.slots[*slot] = Some(Opened {
                    nameless: false,
                    ..opened
                });
            }
            Op::Unlink(at) => {
                let (parent, name) = self.parent(at)?;
                fs.unlink(parent, &name).map_err(said)?;
            }
            Op::Rmdir(at) => {
                let (parent, name) = self.parent(at)?;
                fs.rmdir(parent, &name).map_err(said)?;
            }
            Op::Rename(from, to, how) => {
                let (parent, name) = self.parent(from)?;
                let (new_parent, new_name) = self.parent(to)?;
                self.lookup(parent, &name)?;
                let taken = match self.lookup(new_parent, &new_name) {
                    Err(none) if none == errno(Errno::NOENT) => false,
                    found => found.map(|_| true)?,
                };
                may_rename(from, to, *how, taken)?;
                if from == to {
                    return Ok(());
                }
                fs.rename((parent, &name), (new_parent, &new_name), *how)
                    .map_err(said)?;
            }
            _ => unreachable!("not an operation on names"),
        }
        Ok(())
    }

    fn on_files(&mut self, op: &Op) -> Outcome {
        let fs = self.fs();
        let said = |error: Error| error.errno();
        match op {
            Op::Create(slot, at, mode, who) => {
                self.close(*slot)?;
                let (parent, name) = self.parent(at)?;
                let made = fs.create(parent, &name, *mode, WRITE, &self.callers[*who]);
                let (entry, handle) = made.map_err(said)?;
                let node = self.take(&entry);
                self.fill(*slot, node, handle, true)?;
            }
            Op::Tmpfile(slot, at, mode, who) => {
                self.close(*slot)?;
                let (parent, kind) = self.walk(&at.names())?;
                if kind != Kind::Directory {
                    return Err(errno(Errno::NOTDIR));
                }
                let made = fs.tmpfile(parent, *mode, WRITE, &self.callers[*who]);
                let (entry, handle) = made.map_err(said)?;
                let node = self.take(&entry);
                self.fill(*slot, node, handle, true)?;
                self.slots[*slot] = self.slots[*slot].map(|opened| Opened {
                    nameless: true,
                    ..opened
                });
            }
            Op::Open {
                slot,
                at,
                write,
                truncate,
            } => {
                self.close(*slot)?;
                let (node, kind) = self.walk(&at.names())?;
                openable(kind)?;
                let flags = OpenFlags {
                    write: *write,
                    truncate: *truncate,
                    ..OpenFlags::default()
                };
                let handle = fs.open(node, flags).map_err(said)?;
                self.fill(*slot, node, handle, *write)?;
            }
            Op::Close(slot) => self.close(*slot)?,
            Op::Write {
                slot,
                offset,
                length,
                seed,
                kill,
            } => {
                let file = self.writable(*slot)?;
                let data = Rng::bytes(*seed, *length);
                fs.write(file.node, file.handle, *offset, &data, *kill)
                    .map_err(said)?;
            }
            Op::Append { slot, length, seed } => {
                let file = self.writable(*slot)?;
                let end = fs.getattr(file.node).map_err(said)?.size;
                let data = Rng::bytes(*seed, *length);
                fs.write(file.node, file.handle, end, &data, false)
                    .map_err(said)?;
            }
            Op::Read {
                slot,
                offset,
                length,
            } => {
                let file = self.slot(*slot)?;
                let mut buf = vec![0xaa; *length];
                let count = fs
                    .read(file.node, file.handle, *offset, &mut buf)
                    .map_err(said)?;
                buf.truncate(count);
                return Ok(Answer::Bytes(buf));
            }
            Op::Allocate {
                slot,
                how,
                offset,
                length,
            } => {
                let file = self.writable(*slot)?;
                fs.fallocate(file.node, file.handle, *how, *offset, *length)
                    .map_err(said)?;
                // Whether space that was there already moves the times is the backing store's choice.
                self.touch(file.node)?;
            }
            Op::Seek(slot, offset, whence) => {
                let file = self.slot(*slot)?;
                let found = fs
                    .lseek(file.node, file.handle, *offset, *whence)
                    .map_err(said)?;
                return Ok(Answer::Count(found));
            }
            Op::Copy {
                from,
                at,
                to,
                target,
                length,
            } => return self.copy((*from, *at), (*to, *target), *length),
            Op::Fsync(slot, data_only) => {
                let file = self.slot(*slot)?;
                fs.fsync(file.node, file.handle, *data_only).map_err(said)?;
            }
            Op::TruncateSlot(slot, size) => {
                let file = self.slot(*slot)?;
                if !file.write {
                    return Err(errno(Errno::INVAL));
                }
                let set = SetAttr {
                    size: Some(*size),
                    handle: Some(file.handle),
                    ..SetAttr::default()
                };
                return self.setattr(file.node, &set);
            }
            _ => unreachable!("not an operation on open files"),
        }
        Ok(Answer::Done)
    }

    /// Gives both times of a file a value that is known.
    fn touch(&mut self, node: NodeId) -> Answered<()> {
        let known = Some(SetTime::At(Time { sec: 7, nsec: 7 }));
        let set = SetAttr {
            atime: known,
            mtime: known,
            ..SetAttr::default()
        };
        self.setattr(node, &set).map(drop)
    }

    /// Copies in as many steps as it takes; by reading and writing where the file system leaves that to the kernel.
    fn copy(&mut self, from: (Slot, u64), to: (Slot, u64), length: u64) -> Outcome {
        let (source, target) = (self.slot(from.0)?, self.writable(to.0)?);
        let fs = self.fs();
        let size = fs.getattr(source.node).map_err(|e| e.errno())?.size;
        let length = length.min(size.saturating_sub(from.1));
        if source.node == target.node && from.1 < to.1 + length && to.1 < from.1 + length {
            return Err(errno(Errno::INVAL));
        }
        let mut done = 0;
        while done < length {
            let (at, out) = (from.1 + done, to.1 + done);
            let step = fs.copy_file_range(
                (source.node, source.handle, at),
                (target.node, target.handle, out),
                length - done,
            );
            let count = match step {
                Err(error) if error.errno() == errno(Errno::OPNOTSUPP) => {
                    let mut buf = vec![0; (length - done) as usize];
                    let read = fs.read(source.node, source.handle, at, &mut buf);
                    let count = read.map_err(|e| e.errno())?;
                    let written = fs.write(target.node, target.handle, out, &buf[..count], false);
                    written.map_err(|e| e.errno())?;
                    count as u64
                }
                step => step.map_err(|e| e.errno())?,
            };
            if count == 0 {
                break;
            }
            done += count;
        }
        Ok(Answer::Count(done))
    }

    fn on_attributes(&mut self, op: &Op) -> Outcome {
        let fs = self.fs();
        let said = |error: Error| error.errno();
        let mut set = SetAttr::default();
        let at = match op {
            Op::Chmod(at, mode) => {
                if self.walk(&at.names())?.1 == Kind::Symlink {
                    return Err(errno(Errno::OPNOTSUPP));
                }
                set.mode = Some(*mode);
                at
            }
            Op::Chown(at, uid, gid) => {
                (set.uid, set.gid) = (*uid, *gid);
                at
            }
            Op::Utimens(at, atime, mtime) => {
                (set.atime, set.mtime) = (atime.map(SetTime::At), mtime.map(SetTime::At));
                at
            }
            Op::Truncate(at, size) => {
                Self::truncatable(self.walk(&at.names())?.1)?;
                set.size = Some(*size);
                at
            }
            Op::SetXattr {
                at,
                name,
                length,
                seed,
                how,
            } => {
                let (node, kind) = self.walk(&at.names())?;
                has_xattrs(kind, Errno::PERM)?;
                let value = Rng::bytes(*seed, *length);
                fs.setxattr(node, &xattr(*name), &value, *how)
                    .map_err(said)?;
                return Ok(Answer::Done);
            }
            Op::GetXattr(at, name) => {
                let (node, kind) = self.walk(&at.names())?;
                has_xattrs(kind, Errno::NODATA)?;
                return fs
                    .getxattr(node, &xattr(*name))
                    .map(Answer::Bytes)
                    .map_err(said);
            }
            Op::RemoveXattr(at, name) => {
                let (node, kind) = self.walk(&at.names())?;
                has_xattrs(kind, Errno::PERM)?;
                fs.removexattr(node, &xattr(*name)).map_err(said)?;
                return Ok(Answer::Done);
            }
            Op::Stat(at) => {
                let node = self.node(at)?;
                return fs.getattr(node).map(Answer::Attr).map_err(said);
            }
            Op::Readlink(at) => {
                let (node, kind) = self.walk(&at.names())?;
                if kind != Kind::Symlink {
                    return Err(errno(Errno::INVAL));
                }
                return fs.readlink(node).map(Answer::Bytes).map_err(said);
            }
            Op::List(at) => {
                let (node, kind) = self.walk(&at.names())?;
                if kind != Kind::Directory {
                    return Err(errno(Errno::NOTDIR));
                }
                return self.list(node).map(Answer::Names);
            }
            _ => unreachable!("not an operation on attributes"),
        };
        let node = self.node(at)?;
        self.setattr(node, &set)
    }

    /// All names but "." and "..", which must be there.
    fn list(&mut self, node: NodeId) -> Answered<Vec<(Vec<u8>, Kind)>> {
        let fs = self.fs();
        let handle = fs.opendir(node).map_err(|e| e.errno())?;
        let mut names = Vec::new();
        let listed = fs.readdir(node, handle, 0, &mut |entry| {
            names.push((entry.name.as_bytes().to_vec(), entry.kind));
            false
        });
        fs.releasedir(node, handle);
        listed.map_err(|e| e.errno())?;
        for dots in [&b"."[..], b".."] {
            let at = names.iter().position(|(name, _)| name == dots);
            names.remove(at.expect("no \".\" or \"..\" in a listing"));
        }
        names.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(names)
    }

    /// Looks at what lies below a directory; listings stop every few entries and go on.
    fn look(&mut self, at: &[u8], node: NodeId, seen: &mut Snapshot) -> Result<(), String> {
        let fs = self.fs();
        let wrong = |what: &str, error: Error| format!("{what} {}: {error}", super::ops::shown(at));
        let handle = fs.opendir(node).map_err(|e| wrong("opendir", e))?;
        let mut found: BTreeMap<OsString, (Entry, Kind, u64)> = BTreeMap::new();
        let mut offset = 0;
        loop {
            let (before, mut room) = (offset, 3);
            let listed = fs.readdirplus(node, handle, offset, &mut |entry, taken| {
                if room == 0 {
                    return true;
                }
                room -= 1;
                offset = entry.next;
                if let Some(taken) = taken {
                    let twice =
                        found.insert(entry.name.to_owned(), (*taken, entry.kind, entry.ino));
                    assert!(twice.is_none(), "{:?} listed twice", entry.name);
                }
                false
            });
            listed.map_err(|e| wrong("readdirplus", e))?;
            if offset == before {
                break;
            }
        }
        fs.releasedir(node, handle);
        for (name, (entry, kind, ino)) in found {
            let path = [at, b"/", name.as_bytes()].concat();
            let node = self.take(&entry);
            assert_eq!(
                (entry.attr.kind, entry.attr.ino),
                (kind, ino),
                "a listing and its attributes"
            );
            let item = self.item(&path, node)?;
            assert_eq!(item.attr.ino, ino, "a listing and getattr");
            seen.insert(path.clone(), item);
            if kind == Kind::Directory {
                self.look(&path, node, seen)?;
            }
        }
        Ok(())
    }

    fn item(&mut self, path: &[u8], node: NodeId) -> Result<Item, String> {
        let fs = self.fs();
        let wrong =
            |what: &str, error: Error| format!("{what} {}: {error}", super::ops::shown(path));
        let attr = fs.getattr(node).map_err(|e| wrong("getattr", e))?;
        let mut item = Item {
            attr,
            xattrs: BTreeMap::new(),
            target: None,
            data: None,
        };
        for name in fs.listxattr(node).map_err(|e| wrong("listxattr", e))? {
            let value = fs.getxattr(node, &OsString::from_vec(name.clone()));
            item.xattrs
                .insert(name, value.map_err(|e| wrong("getxattr", e))?);
        }
        if attr.kind == Kind::Symlink {
            item.target = Some(fs.readlink(node).map_err(|e| wrong("readlink", e))?);
        }
        if attr.kind == Kind::File {
            let handle = fs
                .open(node, OpenFlags::default())
                .map_err(|e| wrong("open", e))?;
            let data = self.data(node, handle, attr.size);
            fs.release(node, handle).map_err(|e| wrong("release", e))?;
            item.data = Some(data.map_err(|e| wrong("read", e))?);
        }
        Ok(item)
    }

    fn data(&self, node: NodeId, handle: Handle, size: u64) -> cryptfs::fs::Result<Data> {
        let fs = self.fs();
        let mut data = Data::new();
        let mut buf = vec![0; 16 * BLOCK as usize];
        let mut at = 0;
        loop {
            if size > READ_WHOLE {
                at = match fs.lseek(node, handle, at, Whence::Data) {
                    Err(Error::NoSuchAddress) => break,
                    found => found? / BLOCK * BLOCK,
                };
            }
            let count = fs.read(node, handle, at, &mut buf)?;
            let expected = (size.saturating_sub(at)).min(buf.len() as u64);
            assert_eq!(count as u64, expected, "a short read at {at} of {size}");
            add_data(&mut data, at, &buf[..count]);
            if count < buf.len() {
                break;
            }
            at += count as u64;
        }
        Ok(data)
    }
}

const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

/// What Linux refuses before it asks for a rename.
fn may_rename(from: &At, to: &At, how: Rename, taken: bool) -> Answered<()> {
    match how {
        Rename::NoReplace if taken => Err(errno(Errno::EXIST)),
        Rename::Exchange if !taken => Err(errno(Errno::NOENT)),
        _ if to.is_below(from) => Err(errno(Errno::INVAL)),
        Rename::Exchange if from.is_below(to) => Err(errno(Errno::INVAL)),
        _ if from.is_below(to) => Err(errno(Errno::NOTEMPTY)),
        _ => Ok(()),
    }
}

/// What open(2) says of what is not a regular file (FIFOs would block: the model leaves them shut).
pub fn openable(kind: Kind) -> Answered<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Directory => Err(errno(Errno::ISDIR)),
        Kind::Symlink => Err(errno(Errno::LOOP)),
        _ => Err(errno(Errno::NXIO)),
    }
}

/// user.* attributes are for files and directories (xattr(7)); Linux says so before it asks.
fn has_xattrs(kind: Kind, refusal: Errno) -> Answered<()> {
    match kind {
        Kind::File | Kind::Directory => Ok(()),
        _ => Err(errno(refusal)),
    }
}

impl Subject for Direct {
    fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Mkdir(..)
            | Op::Mknod(..)
            | Op::Symlink(..)
            | Op::Link(..)
            | Op::LinkSlot(..)
            | Op::Unlink(..)
            | Op::Rmdir(..)
            | Op::Rename(..) => self.on_names(op).map(|()| Answer::Done),
            Op::Sync => {
                self.fs().sync().map_err(|e| e.errno())?;
                Ok(Answer::Done)
            }
            Op::Forget => {
                self.forget();
                Ok(Answer::Done)
            }
            Op::Remount => self.remount().map(|()| Answer::Done),
            Op::Chmod(..)
            | Op::Chown(..)
            | Op::Utimens(..)
            | Op::Truncate(..)
            | Op::SetXattr { .. }
            | Op::GetXattr(..)
            | Op::RemoveXattr(..)
            | Op::Stat(..)
            | Op::Readlink(..)
            | Op::List(..) => self.on_attributes(op),
            _ => self.on_files(op),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot, String> {
        let mut seen = Snapshot::new();
        // In the order of the paths: looking may itself move a file's time of change, but only forward.
        seen.insert(Vec::new(), self.item(b"", ROOT)?);
        for slot in 0..SLOTS {
            let Some(opened) = self.slots[slot] else {
                continue;
            };
            let path = format!("#{slot}").into_bytes();
            let mut item = self.item(&path, opened.node)?;
            let size = item.attr.size;
            let data = self.data(opened.node, opened.handle, size);
            item.data = Some(data.map_err(|e| format!("read through slot {slot}: {e}"))?);
            seen.insert(path, item);
        }
        self.look(b"", ROOT, &mut seen)?;
        Ok(seen)
    }
}
