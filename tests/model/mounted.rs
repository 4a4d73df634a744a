//! Drives a directory through system calls: a mounted volume, or a plain directory, which proves the oracle itself.
//!
//! Paths are walked one name at a time without following links, so that a link in the middle is `ENOTDIR` as it is for
//! the driver of the trait.
use super::direct::openable;
use super::ops::{At, Op, SLOTS, Slot, shown, target, xattr};
use super::rng::Rng;
use super::subject::{Answer, BLOCK, Data, Item, Outcome, READ_WHOLE, Snapshot, Subject, add_data};
use cryptfs::fs::{Allocate, Attr, Kind, Rename, SetXattr, Time, Whence};
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom,
    StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::{Errno, ReadWriteFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

type Answered<T> = Result<T, Errno>;

/// Unmounts and mounts again what lies under the directory; `None` for a plain directory, which is never synced either:
/// the disk is shared with others.
pub type Remount = Option<Box<dyn FnMut()>>;

/// The driver.
pub struct Mounted {
    root: PathBuf,
    remount: Remount,
    slots: [Option<OwnedFd>; SLOTS],
}

const WALK: OFlags = OFlags::PATH
    .union(OFlags::NOFOLLOW)
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & 0o7777)
}

/// All attributes of what a descriptor and a name (or none) mean.
fn stat(directory: BorrowedFd<'_>, name: &OsStr) -> Answered<Attr> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let what = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let seen = rustix::fs::statx(directory, name, flags, what)?;
    let time = |stamp: rustix::fs::StatxTimestamp| Time {
        sec: stamp.tv_sec,
        nsec: stamp.tv_nsec,
    };
    Ok(Attr {
        ino: seen.stx_ino,
        kind: Kind::from_mode(seen.stx_mode.into()).expect("a kind that Linux knows"),
        mode: u32::from(seen.stx_mode) & 0o7777,
        nlink: seen.stx_nlink,
        uid: seen.stx_uid,
        gid: seen.stx_gid,
        rdev: rustix::fs::makedev(seen.stx_rdev_major, seen.stx_rdev_minor),
        size: seen.stx_size,
        blocks: seen.stx_blocks,
        blksize: seen.stx_blksize,
        atime: time(seen.stx_atime),
        mtime: time(seen.stx_mtime),
        ctime: time(seen.stx_ctime),
        btime: Some(time(seen.stx_btime)),
    })
}

/// A path to a name in an open directory, for calls that take nothing else.
fn path(directory: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)
}

impl Mounted {
    pub fn new(root: &Path, remount: Remount) -> Self {
        Self {
            root: root.to_owned(),
            remount,
            slots: [const { None }; SLOTS],
        }
    }

    fn walk(&self, names: &[OsString]) -> Answered<OwnedFd> {
        let mut directory = rustix::fs::openat(CWD, &self.root, WALK, Mode::empty())?;
        for name in names {
            directory = rustix::fs::openat(&directory, name, WALK, Mode::empty())?;
        }
        Ok(directory)
    }

    /// The directory that holds a name, and the name; the root is "." in itself.
    fn place(&self, at: &At) -> Answered<(OwnedFd, OsString)> {
        let mut names = at.names();
        let name = names.pop().unwrap_or_else(|| ".".into());
        Ok((self.walk(&names)?, name))
    }

    fn attr(&self, at: &At) -> Answered<Attr> {
        let (directory, name) = self.place(at)?;
        stat(directory.as_fd(), &name)
    }

    fn slot(&self, slot: Slot) -> Answered<BorrowedFd<'_>> {
        Ok(self.slots[slot].as_ref().ok_or(Errno::BADF)?.as_fd())
    }

    fn on_names(&mut self, op: &Op) -> Answered<()> {
        match op {
            Op::Mkdir(at, bits, _) => {
                let (directory, name) = self.place(at)?;
                rustix::fs::mkdirat(directory, name, mode(*bits))
            }
            Op::Mknod(at, bits, rdev, _) => {
                let (directory, name) = self.place(at)?;
                let kind = FileType::from_raw_mode(*bits);
                rustix::fs::mknodat(directory, name, kind, mode(*bits), u64::from(*rdev))
            }
            Op::Symlink(at, to, _) => {
                let (directory, name) = self.place(at)?;
                rustix::fs::symlinkat(target(*to), directory, name)
            }
            Op::Link(from, to) => {
                let (directory, name) = self.place(from)?;
                stat(directory.as_fd(), &name)?;
                let (new_directory, new_name) = self.place(to)?;
                rustix::fs::linkat(directory, name, new_directory, new_name, AtFlags::empty())
            }
            Op::LinkSlot(slot, to) => {
                let file = format!("/proc/self/fd/{}", self.slot(*slot)?.as_raw_fd());
                let (directory, name) = self.place(to)?;
                rustix::fs::linkat(CWD, file, directory, name, AtFlags::SYMLINK_FOLLOW)
            }
            Op::Unlink(at) => {
                let (directory, name) = self.place(at)?;
                rustix::fs::unlinkat(directory, name, AtFlags::empty())
            }
            Op::Rmdir(at) => {
                let (directory, name) = self.place(at)?;
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
            }
            Op::Rename(from, to, how) => {
                let (directory, name) = self.place(from)?;
                let (new_directory, new_name) = self.place(to)?;
                let flags = match how {
                    Rename::Replace => RenameFlags::empty(),
                    Rename::NoReplace => RenameFlags::NOREPLACE,
                    Rename::Exchange => RenameFlags::EXCHANGE,
                    Rename::Whiteout => RenameFlags::WHITEOUT,
                };
                rustix::fs::renameat_with(directory, name, new_directory, new_name, flags)
            }
            _ => unreachable!("not an operation on names"),
        }
    }

    fn open(&mut self, slot: Slot, at: &At, flags: OFlags, bits: u32) -> Answered<()> {
        let (directory, name) = self.place(at)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.slots[slot] = Some(rustix::fs::openat(directory, name, flags, mode(bits))?);
        Ok(())
    }

    fn on_files(&mut self, op: &Op) -> Answered<Answer> {
        match op {
            Op::Create(slot, at, bits, _) => {
                self.slots[*slot] = None;
                self.open(
                    *slot,
                    at,
                    OFlags::CREATE | OFlags::EXCL | OFlags::RDWR,
                    *bits,
                )?;
            }
            Op::Tmpfile(slot, at, bits, _) => {
                self.slots[*slot] = None;
                let directory = self.walk(&at.names())?;
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                self.slots[*slot] = Some(rustix::fs::openat(directory, ".", flags, mode(*bits))?);
            }
            Op::Open {
                slot,
                at,
                write,
                truncate,
            } => {
                self.slots[*slot] = None;
                openable(self.attr(at)?.kind).map_err(Errno::from_raw_os_error)?;
                let mut flags = if *write { OFlags::RDWR } else { OFlags::RDONLY };
                flags.set(OFlags::TRUNC, *truncate);
                self.open(*slot, at, flags, 0)?;
            }
            Op::Close(slot) => self.slots[*slot] = None,
            Op::Write {
                slot,
                offset,
                length,
                seed,
                ..
            } => {
                let written =
                    rustix::io::pwrite(self.slot(*slot)?, &Rng::bytes(*seed, *length), *offset)?;
                assert_eq!(written, *length, "a short write");
            }
            Op::Append { slot, length, seed } => {
                let data = Rng::bytes(*seed, *length);
                let file = self.slot(*slot)?;
                let parts = [IoSlice::new(&data)];
                let written = rustix::io::pwritev2(file, &parts, 0, ReadWriteFlags::APPEND)?;
                assert_eq!(written, *length, "a short write");
            }
            Op::Read {
                slot,
                offset,
                length,
            } => {
                let mut buf = vec![0xaa; *length];
                let count = rustix::io::pread(self.slot(*slot)?, &mut buf[..], *offset)?;
                buf.truncate(count);
                return Ok(Answer::Bytes(buf));
            }
            Op::Allocate {
                slot,
                how,
                offset,
                length,
            } => {
                let file = self.slot(*slot)?;
                rustix::fs::fallocate(file, allocate_flags(*how), *offset, *length)?;
                let known = Timespec {
                    tv_sec: 7,
                    tv_nsec: 7,
                };
                let times = Timestamps {
                    last_access: known,
                    last_modification: known,
                };
                rustix::fs::futimens(file, &times)?;
            }
            Op::Seek(slot, offset, whence) => {
                let to = match whence {
                    Whence::Data => SeekFrom::Data(*offset),
                    Whence::Hole => SeekFrom::Hole(*offset),
                };
                return rustix::fs::seek(self.slot(*slot)?, to).map(Answer::Count);
            }
            Op::Copy {
                from,
                at,
                to,
                target,
                length,
            } => return self.copy((*from, *at), (*to, *target), *length),
            Op::Fsync(slot, true) => rustix::fs::fdatasync(self.slot(*slot)?)?,
            Op::Fsync(slot, false) => rustix::fs::fsync(self.slot(*slot)?)?,
            Op::TruncateSlot(slot, size) => {
                let file = self.slot(*slot)?;
                rustix::fs::ftruncate(file, *size)?;
                return stat(file, OsStr::new("")).map(Answer::Attr);
            }
            _ => unreachable!("not an operation on open files"),
        }
        Ok(Answer::Done)
    }

    fn copy(&self, from: (Slot, u64), to: (Slot, u64), length: u64) -> Answered<Answer> {
        let (source, target) = (self.slot(from.0)?, self.slot(to.0)?);
        let (mut at, mut out) = (from.1, to.1);
        // A copy within one file may grow it: what is copied is what there was.
        let size = stat(source, OsStr::new(""))?.size;
        let length = length.min(size.saturating_sub(at));
        if length == 0 {
            rustix::fs::copy_file_range(source, Some(&mut at), target, Some(&mut out), 1)?;
            return Ok(Answer::Count(0));
        }
        while at < from.1 + length {
            let left = (from.1 + length - at) as usize;
            let count =
                rustix::fs::copy_file_range(source, Some(&mut at), target, Some(&mut out), left)?;
            if count == 0 {
                break;
            }
        }
        Ok(Answer::Count(at - from.1))
    }

    fn on_attributes(&mut self, op: &Op) -> Answered<Answer> {
        let at = match op {
            Op::Chmod(at, bits) => {
                let (directory, name) = self.place(at)?;
                if stat(directory.as_fd(), &name)?.kind == Kind::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                rustix::fs::chmodat(directory, name, mode(*bits), AtFlags::empty())?;
                at
            }
            Op::Chown(at, uid, gid) => {
                let (directory, name) = self.place(at)?;
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                if uid.is_some() || gid.is_some() {
                    rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                }
                at
            }
            Op::Utimens(at, atime, mtime) => {
                let (directory, name) = self.place(at)?;
                let stamp = |time: &Option<Time>| Timespec {
                    tv_sec: time.map_or(0, |time| time.sec),
                    tv_nsec: time.map_or(UTIME_OMIT, |time| time.nsec.into()),
                };
                let times = Timestamps {
                    last_access: stamp(atime),
                    last_modification: stamp(mtime),
                };
                rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
                at
            }
            Op::Truncate(at, size) => {
                let (directory, name) = self.place(at)?;
                match stat(directory.as_fd(), &name)?.kind {
                    Kind::File => {}
                    Kind::Directory => return Err(Errno::ISDIR),
                    _ => return Err(Errno::INVAL),
                }
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
                rustix::fs::ftruncate(file, *size)?;
                at
            }
            Op::SetXattr {
                at,
                name,
                length,
                seed,
                how,
            } => {
                let (directory, file) = self.place(at)?;
                let flags = match how {
                    SetXattr::Either => XattrFlags::empty(),
                    SetXattr::Create => XattrFlags::CREATE,
                    SetXattr::Replace => XattrFlags::REPLACE,
                };
                let value = Rng::bytes(*seed, *length);
                rustix::fs::lsetxattr(path(directory.as_fd(), &file), xattr(*name), &value, flags)?;
                return Ok(Answer::Done);
            }
            Op::GetXattr(at, name) => {
                let (directory, file) = self.place(at)?;
                let value = get_xattr(&path(directory.as_fd(), &file), &xattr(*name))?;
                return Ok(Answer::Bytes(value));
            }
            Op::RemoveXattr(at, name) => {
                let (directory, file) = self.place(at)?;
                rustix::fs::lremovexattr(path(directory.as_fd(), &file), xattr(*name))?;
                return Ok(Answer::Done);
            }
            Op::Stat(at) => at,
            Op::Readlink(at) => {
                let (directory, name) = self.place(at)?;
                let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
                return Ok(Answer::Bytes(target.into_bytes()));
            }
            Op::List(at) => {
                return self
                    .list(self.walk(&at.names())?.as_fd())
                    .map(Answer::Names);
            }
            _ => unreachable!("not an operation on attributes"),
        };
        self.attr(at).map(Answer::Attr)
    }

    fn list(&self, directory: BorrowedFd<'_>) -> Answered<Vec<(Vec<u8>, Kind)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::new(readable)? {
            let entry = entry?;
            let kind =
                Kind::from_mode(entry.file_type().as_raw_mode()).expect("a kind in a listing");
            names.push((entry.file_name().to_bytes().to_vec(), kind));
        }
        for dots in [&b"."[..], b".."] {
            let at = names.iter().position(|(name, _)| name == dots);
            names.remove(at.expect("no \".\" or \"..\" in a listing"));
        }
        names.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(names)
    }

    fn look(
        &self,
        at: &[u8],
        directory: BorrowedFd<'_>,
        seen: &mut Snapshot,
    ) -> Result<(), String> {
        let wrong = |what: &[u8], error: Errno| format!("{}: {error}", shown(what));
        for (name, kind) in self.list(directory).map_err(|e| wrong(at, e))? {
            let path = [at, b"/", &name].concat();
            let name = OsString::from_vec(name);
            let item = item(directory, &name).map_err(|e| wrong(&path, e))?;
            assert_eq!(item.attr.kind, kind, "a listing and its attributes");
            seen.insert(path.clone(), item);
            if kind == Kind::Directory {
                let below = rustix::fs::openat(directory, &name, WALK, Mode::empty());
                self.look(&path, below.map_err(|e| wrong(&path, e))?.as_fd(), seen)?;
            }
        }
        Ok(())
    }
}

fn allocate_flags(how: Allocate) -> FallocateFlags {
    let keep = |keep: bool| match keep {
        true => FallocateFlags::KEEP_SIZE,
        false => FallocateFlags::empty(),
    };
    match how {
        Allocate::Reserve { keep_size } => keep(keep_size),
        Allocate::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        Allocate::Zero { keep_size } => FallocateFlags::ZERO_RANGE | keep(keep_size),
    }
}

fn get_xattr(path: &Path, name: &OsStr) -> Answered<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// The user.* attributes: others may come from the system (SELinux labels).
fn xattrs(path: &Path) -> Answered<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    let names = list[..length].split(|byte| *byte == 0);
    let ours = names.filter(|name| name.starts_with(b"user."));
    ours.map(|name| Ok((name.to_vec(), get_xattr(path, OsStr::from_bytes(name))?)))
        .collect()
}

fn item(directory: BorrowedFd<'_>, name: &OsStr) -> Answered<Item> {
    let attr = stat(directory, name)?;
    let mut item = Item {
        attr,
        xattrs: xattrs(&path(directory, name))?,
        target: None,
        data: None,
    };
    if attr.kind == Kind::Symlink {
        let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
        item.target = Some(target.into_bytes());
    }
    if attr.kind == Kind::File {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        item.data = Some(data(file.as_fd(), attr.size)?);
    }
    Ok(item)
}

fn data(file: BorrowedFd<'_>, size: u64) -> Answered<Data> {
    let mut data = Data::new();
    let mut buf = vec![0; 16 * BLOCK as usize];
    let mut at = 0;
    loop {
        if size > READ_WHOLE {
            at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => break,
                found => found? / BLOCK * BLOCK,
            };
        }
        let count = rustix::io::pread(file, &mut buf[..], at)?;
        let expected = size.saturating_sub(at).min(buf.len() as u64);
        assert_eq!(count as u64, expected, "a short read at {at} of {size}");
        add_data(&mut data, at, &buf[..count]);
        if count < buf.len() {
            break;
        }
        at += count as u64;
    }
    Ok(data)
}

impl Subject for Mounted {
    fn apply(&mut self, op: &Op) -> Outcome {
        let answer = match op {
            Op::Mkdir(..)
            | Op::Mknod(..)
            | Op::Symlink(..)
            | Op::Link(..)
            | Op::LinkSlot(..)
            | Op::Unlink(..)
            | Op::Rmdir(..)
            | Op::Rename(..) => self.on_names(op).map(|()| Answer::Done),
            Op::Sync if self.remount.is_none() => Ok(Answer::Done),
            Op::Sync => {
                let root = rustix::fs::openat(CWD, &self.root, OFlags::RDONLY, Mode::empty());
                root.and_then(rustix::fs::syncfs).map(|()| Answer::Done)
            }
            Op::Forget => Ok(Answer::Done), // the kernel's to decide
            Op::Remount => {
                self.slots = [const { None }; SLOTS];
                if let Some(remount) = &mut self.remount {
                    remount();
                }
                Ok(Answer::Done)
            }
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
        };
        answer.map_err(|errno| errno.raw_os_error())
    }

    fn snapshot(&mut self) -> Result<Snapshot, String> {
        let mut seen = Snapshot::new();
        let root = self.walk(&[]).map_err(|e| format!("the root: {e}"))?;
        let top = item(root.as_fd(), OsStr::new("."));
        seen.insert(Vec::new(), top.map_err(|e| format!("the root: {e}"))?);
        self.look(b"", root.as_fd(), &mut seen)?;
        for (slot, file) in self.slots.iter().enumerate() {
            let Some(file) = file else {
                continue;
            };
            let wrong = |e: Errno| format!("slot {slot}: {e}");
            let attr = stat(file.as_fd(), OsStr::new("")).map_err(wrong)?;
            let item = Item {
                attr,
                xattrs: open_xattrs(file.as_fd()).map_err(wrong)?,
                target: None,
                data: Some(data(file.as_fd(), attr.size).map_err(wrong)?),
            };
            seen.insert(format!("#{slot}").into_bytes(), item);
        }
        Ok(seen)
    }
}

/// As [`xattrs`], of an open file.
fn open_xattrs(file: BorrowedFd<'_>) -> Answered<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::flistxattr(file, &mut list[..])?;
    let names = list[..length].split(|byte| *byte == 0);
    let ours = names.filter(|name| name.starts_with(b"user."));
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::fgetxattr(file, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        Ok((name.to_vec(), value))
    };
    ours.map(value).collect()
}
