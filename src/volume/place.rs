//! Where a volume lies, and where in it the copies of its header are.
//!
//! | copy | directory volume | image |
//! | --- | --- | --- |
//! | 0, the primary | `cryptfs.volume` | at 0 |
//! | 1 | `.cryptfs/header.1` | at 4 MiB |
//! | 2 | `.cryptfs/header.2` | the last 16 KiB (rounded down to 4 KiB) |
use super::durable::{self, Target};
use super::erase;
use super::error::{Error, Result};
use super::header::{Kind, SIZE};
use super::owner;
use rustix::fs::{self, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Header copies in a volume.
pub const COPIES: usize = 3;
/// The primary copy's name in a directory volume.
pub const PRIMARY: &str = "cryptfs.volume";
/// The directory of a directory volume that holds the other copies and the lock.
pub const META: &str = ".cryptfs";
/// The extended attribute of a backing directory that holds the mode of the mount's root, two bytes. The backing directory
/// itself stays closed to other users.
pub const ROOT_MODE: &std::ffi::CStr = c"user.cryptfs-root-mode";
/// Names at the root of a directory volume that are not sealed names.
pub const RESERVED: [&str; 2] = [PRIMARY, META];

const LOCK: &str = "lock";
/// Locked while the header is changed.
pub(super) const HEADER_LOCK: &str = "header.lock";
const NAMES: [&str; COPIES] = ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"];
const OFFSETS: [&str; COPIES] = ["at 0", "at 4 MiB", "at the end"];
/// Where an image's second header copy is.
pub(super) const SECOND: u64 = 4 << 20;

/// A place that is, or will be, a volume.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    root: Root,
}

#[derive(Debug)]
enum Root {
    Directory(OwnedFd),
    Image { file: File, length: u64 },
}

/// Held for as long as a volume is mounted. Lives with the descriptor, across fork(2) too.
#[derive(Debug)]
pub struct MountLock(#[allow(dead_code)] Option<OwnedFd>);

/// Held while a header is changed.
#[derive(Debug)]
pub(crate) struct HeaderLock(#[allow(dead_code)] Vec<OwnedFd>);

/// How a volume is going to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Alone.
    ReadWrite,
    /// With other readers.
    ReadOnly,
    /// Beside a writer too: a snapshot, which stays as it is.
    Snapshot,
}

impl Place {
    /// Opens a directory, an image file or a block device.
    pub fn open(path: &Path) -> Result<Self> {
        let there = match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(path.to_owned()));
            }
            other => other.map_err(Error::io(path))?,
        };
        use std::os::unix::fs::FileTypeExt;
        let kind = there.file_type();
        let opened = if kind.is_dir() {
            durable::open_dir(fs::CWD, path, true)
        } else if kind.is_file() || kind.is_block_device() {
            open_image(path, kind.is_file())
        } else {
            return Err(Error::WrongType(path.to_owned()));
        };
        Self::of(path, opened.map_err(Error::sys(path))?)
    }

    /// What is open already, and was found or made at `path`.
    pub(crate) fn of(path: &Path, opened: OwnedFd) -> Result<Self> {
        use fs::FileType;
        let stat = fs::fstat(&opened).map_err(Error::sys(path))?;
        let root = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Root::Directory(opened),
            FileType::RegularFile | FileType::BlockDevice => {
                let file = File::from(opened);
                let length = fs::seek(&file, SeekFrom::End(0)).map_err(Error::sys(path))?;
                Root::Image { file, length }
            }
            // It was exchanged a moment ago.
            _ => return Err(Error::WrongType(path.to_owned())),
        };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, root })
    }

    /// The absolute path under which it was opened: for messages and the keystore, never for access.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this path leads here: it is the same, or what is there is the same directory, file or device.
    pub fn is_at(&self, path: &Path) -> bool {
        if path == self.path {
            return true;
        }
        let (Ok(here), Ok(there)) = (fs::fstat(self.as_fd()), fs::stat(path)) else {
            return false;
        };
        let same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino);
        let device = |stat: &fs::Stat| {
            fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::BlockDevice
        };
        same || (device(&here) && device(&there) && here.st_rdev == there.st_rdev)
    }

    /// A directory or an image.
    pub fn kind(&self) -> Kind {
        match self.root {
            Root::Directory(_) => Kind::Directory,
            Root::Image { .. } => Kind::Image,
        }
    }

    /// The backing directory, or the image file.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.root {
            Root::Directory(dir) => dir.as_fd(),
            Root::Image { file, .. } => file.as_fd(),
        }
    }

    /// An image's bytes; `None` of a directory.
    pub fn length(&self) -> Option<u64> {
        match self.root {
            Root::Directory(_) => None,
            Root::Image { length, .. } => Some(length),
        }
    }

    /// Whose the backing directory or image file is.
    pub fn owner(&self) -> Option<u32> {
        fs::fstat(self.as_fd()).ok().map(|stat| stat.st_uid)
    }

    /// A block device.
    pub fn is_device(&self) -> bool {
        let there = fs::fstat(self.as_fd());
        there.is_ok_and(|stat| {
            fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::BlockDevice
        })
    }

    /// The same place once more: the descriptor is duplicated, so a lock is shared.
    pub fn try_clone(&self) -> Result<Self> {
        let root = match &self.root {
            Root::Directory(dir) => dir.try_clone().map(Root::Directory),
            Root::Image { file, length } => file.try_clone().map(|file| Root::Image {
                file,
                length: *length,
            }),
        };
        Ok(Self {
            path: self.path.clone(),
            root: root.map_err(Error::io(&self.path))?,
        })
    }

    /// The same image with another length: where its last header copy is then.
    pub(crate) fn resized(&self, length: u64) -> Result<Self> {
        let mut place = self.try_clone()?;
        if let Root::Image { length: now, .. } = &mut place.root {
            *now = length;
        }
        Ok(place)
    }

    /// How a message names copy `index`.
    pub fn copy_name(&self, index: usize) -> &'static str {
        match self.root {
            Root::Directory(_) => NAMES[index],
            Root::Image { .. } => OFFSETS[index],
        }
    }

    /// The bytes of a copy, whatever they are.
    pub(crate) fn read_copy(&self, index: usize) -> io::Result<Vec<u8>> {
        match &self.root {
            Root::Directory(root) if index == 0 => durable::read(root, PRIMARY, SIZE),
            Root::Directory(root) => {
                let meta = durable::open_dir(root, META, false)?;
                durable::read(meta, header_name(index), SIZE)
            }
            Root::Image { file, length } => {
                // A file too short for a copy has none: it may be any small file, and no damaged volume.
                let offset = image_offset(index, *length).map_err(|_| Errno::NOENT)?;
                if offset + SIZE as u64 > *length {
                    return Err(Errno::NOENT.into());
                }
                let mut bytes = vec![0; SIZE];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            }
        }
    }

    /// Replaces a copy and reads it back.
    pub(crate) fn write_copy(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        match &self.root {
            Root::Directory(root) => {
                let meta = self.meta()?;
                let (dir, name) = match index {
                    0 => (root.as_fd(), PRIMARY),
                    _ => (meta.as_fd(), header_name(index)),
                };
                let staging = meta.as_fd();
                durable::replace(&Target { staging, dir, name }, bytes)?;
            }
            Root::Image { file, length } => {
                file.write_all_at(bytes, image_offset(index, *length)?)?;
                file.sync_all()?;
            }
        }
        match self.read_copy(index)? == bytes {
            true => Ok(()),
            false => Err(io::Error::other("reads back differently")),
        }
    }

    /// Overwrites a copy with noise; in a directory it is removed then. False: there is none.
    pub(crate) fn destroy_copy(&self, index: usize) -> io::Result<bool> {
        match &self.root {
            Root::Directory(root) if index == 0 => erase::shred(root, PRIMARY),
            Root::Directory(root) => match durable::open_dir(root, META, false) {
                Ok(meta) => erase::shred(meta, header_name(index)),
                Err(Errno::NOENT) => Ok(false),
                Err(errno) => Err(errno.into()),
            },
            Root::Image { file, length } => {
                erase::overwrite_header(file, image_offset(index, *length)?).map(|()| true)
            }
        }
    }

    /// The `.cryptfs` directory, made if it is not there.
    pub(crate) fn meta(&self) -> io::Result<OwnedFd> {
        let Root::Directory(root) = &self.root else {
            return Err(Errno::NOTDIR.into());
        };
        make_meta(root)
    }

    /// One read-write mount, or several that only read.
    pub fn lock(&self, access: Access) -> Result<MountLock> {
        let how = match access {
            Access::ReadWrite => FlockOperation::NonBlockingLockExclusive,
            Access::ReadOnly => FlockOperation::NonBlockingLockShared,
            Access::Snapshot => return Ok(MountLock(None)),
        };
        let file = match &self.root {
            Root::Directory(root) => open_lock(root, access),
            Root::Image { file, .. } if access == Access::ReadWrite => writable(file),
            Root::Image { file, .. } => file.try_clone().map(|file| Some(file.into())),
        };
        let Some(file) = file.map_err(|source| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Error::NotWritable(self.path.clone())
            }
            _ => Error::io(&self.path)(source),
        })?
        else {
            return Ok(MountLock(None));
        };
        // `status` looks at the lock by taking it for a moment: one that stays taken is a mount's.
        for _ in 0..20 {
            match fs::flock(&file, how) {
                Ok(()) => return Ok(MountLock(Some(file))),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
                Err(errno) => return Err(Error::sys(&self.path)(errno)),
            }
        }
        Err(Error::AlreadyMounted(self.path.clone()))
    }

    /// True if it is mounted for writing, here or in another container of this kernel.
    pub fn is_mounted(&self) -> bool {
        let file = match &self.root {
            Root::Directory(root) => open_lock(root, Access::ReadOnly),
            Root::Image { file, .. } => file.try_clone().map(|file| Some(file.into())),
        };
        let Ok(Some(file)) = file else {
            return false;
        };
        fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Held while the header is changed, so that two commands do not lose each other's change. Waits. Of an image it is a
    /// lock of another sort than the mount's, so that the header changes while it is mounted.
    pub(crate) fn lock_header(&self) -> io::Result<HeaderLock> {
        match &self.root {
            Root::Directory(_) => {
                let meta = self.meta()?;
                fs::flock(&meta, FlockOperation::LockExclusive)?;
                // On network file systems only a lock on a file keeps out other computers. The one on the directory is
                // for versions that know no other.
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(&meta, HEADER_LOCK, flags, Mode::RUSR | Mode::WUSR)?;
                fs::flock(&file, FlockOperation::LockExclusive)?;
                Ok(HeaderLock(vec![file, meta]))
            }
            Root::Image { file, .. } => {
                // Of its own open file description: the kernel gives the lock back with it, and not when this process
                // closes another descriptor of the image.
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let file = fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
                crate::sys::lock::exclusive(file.as_fd())?;
                Ok(HeaderLock(vec![file]))
            }
        }
    }
}

fn header_name(index: usize) -> &'static str {
    if index == 1 { "header.1" } else { "header.2" }
}

fn image_offset(index: usize, length: u64) -> io::Result<u64> {
    let end = length / 4096 * 4096;
    match index {
        0 => Ok(0),
        1 => Ok(SECOND),
        _ if end >= SECOND + 2 * SIZE as u64 => Ok(end - SIZE as u64),
        _ => Err(Errno::NXIO.into()),
    }
}

/// For writing where that is allowed. A FIFO that has taken a file's place meanwhile does not block. A device is opened as it
/// is: some that take media look for one only without O_NONBLOCK.
fn open_image(path: &Path, is_file: bool) -> rustix::io::Result<OwnedFd> {
    let wait = match is_file {
        true => OFlags::NONBLOCK,
        false => OFlags::empty(),
    };
    let open = |access| fs::open(path, access | wait | OFlags::CLOEXEC, Mode::empty());
    let opened = match open(OFlags::RDWR) {
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => open(OFlags::RDONLY),
        other => other,
    }?;
    fs::fcntl_setfl(&opened, fs::fcntl_getfl(&opened)? - OFlags::NONBLOCK)?;
    Ok(opened)
}

/// An image that [`open_image`] could open for reading only takes no writer: it would hear of it when it is too late.
fn writable(file: &File) -> io::Result<Option<OwnedFd>> {
    match fs::fcntl_getfl(file)? & OFlags::RWMODE {
        OFlags::RDWR => Ok(Some(file.try_clone()?.into())),
        _ => Err(Errno::ROFS.into()),
    }
}

/// The `.cryptfs` directory, made durable if it is not there.
fn make_meta(root: &OwnedFd) -> io::Result<OwnedFd> {
    let made = match fs::mkdirat(root, META, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    let meta = durable::open_dir(root, META, false)?;
    if made {
        owner::give(&meta, owner::of_dir(root))?;
        durable::sync_dir(root)?;
    }
    Ok(meta)
}

/// The lock file. Readers make nothing: where there is none there is no writer of this version either.
fn open_lock(root: &OwnedFd, access: Access) -> io::Result<Option<OwnedFd>> {
    let common = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match access {
        Access::ReadOnly | Access::Snapshot => durable::open_dir(root, META, false)
            .and_then(|meta| fs::openat(meta, LOCK, OFlags::RDONLY | common, Mode::empty())),
        Access::ReadWrite => {
            let meta = make_meta(root)?;
            let flags = OFlags::RDWR | OFlags::CREATE | common;
            let lock = fs::openat(&meta, LOCK, flags, Mode::RUSR | Mode::WUSR);
            if let Ok(lock) = &lock {
                owner::give_found(lock, owner::of_dir(&meta))?;
            }
            lock
        }
    };
    match (opened, access) {
        (Ok(file), _) => Ok(Some(file)),
        (Err(Errno::NOENT | Errno::ACCESS), Access::ReadOnly | Access::Snapshot) => Ok(None),
        (Err(errno), _) => Err(errno.into()),
    }
}
