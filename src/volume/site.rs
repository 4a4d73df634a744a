//! The place of a new volume: an empty directory, a new file, a block device. What was made for a volume that came to
//! nothing is taken back.
use super::durable;
use super::error::{Error, Result};
use super::new_file::NewFile;
use super::owner;
use super::place::{COPIES, HEADER_LOCK, META, PRIMARY, Place, ROOT_MODE, SECOND};
use rustix::fs::{self, AtFlags, Dir, FallocateFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// Bytes at the start of a block device in which whoever used it left something: file systems, partition tables, LUKS. As
/// many at the other places of header copies, where also RAID and backup partition tables lie.
const TRACES: usize = 1 << 20;

/// Where the data of a new volume is to lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Site {
    /// A new or empty directory.
    #[default]
    Directory,
    /// A new file, or a block device.
    Image {
        /// Bytes; `None` for a block device, all of which is taken.
        size: Option<u64>,
        /// Take the space now, and keep it when files are removed.
        preallocate: bool,
        /// Take a block device that holds something.
        overwrite: bool,
    },
}

/// A place that is being made into a volume.
pub(super) struct Claim {
    /// What was not there before.
    made: Option<NewFile>,
    /// The mode that a backing directory had before.
    mode: Option<Mode>,
}

impl Site {
    /// Makes the place, or sees that nothing is lost there.
    pub(super) fn claim(&self, path: &Path) -> Result<(Place, Claim)> {
        match *self {
            Self::Directory => directory(path),
            Self::Image {
                size,
                preallocate,
                overwrite,
            } => match block_device(path) {
                true => device(path, size, overwrite),
                false => file(path, size, preallocate),
            },
        }
    }
}

impl Claim {
    /// Gives a backup that root made to the owner of its directory, if the volume is that person's.
    pub(super) fn give_to_owner_of(&self, volume: &Place, made: &Place) {
        if let Some(new) = &self.made {
            // Where that fails root has the backup, and says so nowhere: it is one all the same.
            let _ = owner::give_beside(made.as_fd(), new.dir(), volume.owner());
        }
    }

    /// Takes back what was made, and the header copies that may have been written.
    pub(super) fn take_back(self, place: &Place) {
        match (place.length(), self.made) {
            (None, made) => {
                empty(place.as_fd());
                if let Some(made) = made {
                    made.take_back(place.as_fd());
                }
                if let Some(mode) = self.mode {
                    let _ = fs::removexattr(proc_path(place.as_fd()), ROOT_MODE);
                    let _ = fs::chmodat(place.as_fd(), ".", mode, AtFlags::empty());
                }
            }
            (Some(_), Some(made)) => made.take_back(place.as_fd()),
            (Some(_), None) => (0..COPIES).for_each(|index| drop(place.destroy_copy(index))),
        }
    }
}

fn directory(path: &Path) -> Result<(Place, Claim)> {
    let new = NewFile::at(path);
    let made = new.and_then(|new| Ok((new.directory()?, new)));
    let (place, made) = match made {
        Ok((dir, new)) => (Place::of(path, dir)?, Some(new)),
        Err(Errno::EXIST) if path.is_dir() => (Place::open(path)?, None),
        Err(errno) => return Err(refused(path, errno.into())),
    };
    check_empty(&place)?;
    let mode = made.is_none().then(|| close_to_others(&place)).flatten();
    Ok((place, Claim { made, mode }))
}

/// Makes an existing directory one that only its owner may enter, as a new one is; gives the mode it had, which the mount's
/// root keeps. Where the disk keeps no modes, or another user owns the directory, it stays as it is, and a mount with
/// `allow_other` will say so.
fn close_to_others(place: &Place) -> Option<Mode> {
    let had = fs::statat(place.as_fd(), ".", AtFlags::empty()).ok()?;
    fs::chmodat(place.as_fd(), ".", Mode::RWXU, AtFlags::empty()).ok()?;
    let mode = (had.st_mode & 0o7777) as u16; // twelve bits
    let kept = proc_path(place.as_fd());
    let _ = fs::setxattr(kept, ROOT_MODE, &mode.to_le_bytes(), XattrFlags::empty());
    Some(Mode::from_raw_mode(u32::from(mode)))
}

/// A path that leads to an open directory, whatever its name is now.
fn proc_path(dir: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

/// Nothing but the `lost+found` of a fresh file system.
fn check_empty(place: &Place) -> Result<()> {
    let path = place.path();
    for entry in Dir::read_from(place.as_fd()).map_err(Error::sys(path))? {
        let entry = entry.map_err(Error::sys(path))?;
        match entry.file_name().to_bytes() {
            b"." | b".." | b"lost+found" => {}
            // Without any header copy: an `init` that was cut short.
            name if [PRIMARY, META].map(str::as_bytes).contains(&name) && has_header(place) => {
                return Err(Error::AlreadyAVolume(path.to_owned()));
            }
            _ => return Err(Error::NotEmpty(path.to_owned())),
        }
    }
    Ok(())
}

fn has_header(place: &Place) -> bool {
    let missing = |read: io::Result<Vec<u8>>| {
        read.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    !(0..COPIES).all(|index| missing(place.read_copy(index)))
}

/// Removes what header copies and the lock leave in a directory that was empty before.
fn empty(root: BorrowedFd<'_>) {
    let _ = durable::remove(root, PRIMARY);
    if let Ok(meta) = durable::open_dir(root, META, false) {
        for name in ["header.1", "header.2", "lock", "session", HEADER_LOCK] {
            let _ = durable::remove(&meta, name);
        }
        let _ = fs::unlinkat(root, META, AtFlags::REMOVEDIR);
    }
}

fn file(path: &Path, size: Option<u64>, preallocate: bool) -> Result<(Place, Claim)> {
    let size = size.ok_or(Error::NoSize)?;
    let made = NewFile::at(path).and_then(|new| Ok((new.file()?, new)));
    let (file, new) = match made {
        Ok(made) => made,
        Err(Errno::EXIST) if path.is_dir() => return Err(Error::WrongType(path.to_owned())),
        Err(Errno::EXIST) => return Err(Error::NotEmpty(path.to_owned())),
        Err(errno) => return Err(refused(path, errno.into())),
    };
    let sized = match preallocate {
        true => take_space(&file, 0..size),
        false => fs::ftruncate(&file, size).map_err(io::Error::from),
    };
    let place = sized
        .map_err(Error::io(path))
        .and_then(|()| file.try_clone().map_err(Error::io(path)))
        .and_then(|file| Place::of(path, file.into()));
    if place.is_err() {
        new.take_back(&file);
    }
    Ok((
        place?,
        Claim {
            made: Some(new),
            mode: None,
        },
    ))
}

/// Takes a file's space from the disk. exFAT and old NFS have no call for it: there zeros are written, beyond the end only.
pub(super) fn take_space(file: impl AsFd, range: Range<u64>) -> io::Result<()> {
    let length = range.end - range.start;
    match fs::fallocate(&file, FallocateFlags::empty(), range.start, length) {
        Err(Errno::OPNOTSUPP) => {}
        taken => return Ok(taken?),
    }
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    let zeros = vec![0; TRACES];
    for at in range.clone().step_by(TRACES) {
        let count = (range.end - at).min(TRACES as u64) as usize;
        file.write_all_at(&zeros[..count], at)?;
    }
    Ok(())
}

fn device(path: &Path, size: Option<u64>, overwrite: bool) -> Result<(Place, Claim)> {
    if size.is_some() {
        return Err(Error::DeviceSize);
    }
    // Of a device that the kernel has mounted or swaps on: EBUSY.
    let alone = fs::open(
        path,
        OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let alone = File::from(alone.map_err(Error::sys(path))?);
    if !overwrite && holds_something(&alone).map_err(Error::io(path))? {
        return Err(Error::DeviceHolds(path.to_owned()));
    }
    // It stays open like this: until the volume is made, nobody mounts what was there.
    let place = Place::of(path, alone.into())?;
    match place.is_device() {
        true => Ok((
            place,
            Claim {
                made: None,
                mode: None,
            },
        )),
        false => Err(Error::WrongType(path.to_owned())),
    }
}

/// Whether there is anything wherever a header copy may be: the start may have been cleared alone.
fn holds_something(device: &File) -> io::Result<bool> {
    let length = fs::seek(device, fs::SeekFrom::End(0))?;
    let mut bytes = vec![0; TRACES];
    for at in [0, SECOND, length.saturating_sub(TRACES as u64)] {
        let mut read = 0;
        while read < TRACES && at + (read as u64) < length {
            match device.read_at(&mut bytes[read..], at + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        if bytes[..read].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn block_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| there.file_type().is_block_device())
}

fn refused(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::WrongType(path.to_owned()),
        io::ErrorKind::NotFound => Error::Missing(path.parent().unwrap_or(path).to_owned()),
        _ => Error::io(path)(error),
    }
}
