//! Who keeps an image: nobody, and then it is opened here; or the daemon of a mount, which is asked.
use super::{Code, Error, Result};
use crate::fs::{self, FileSystem};
use crate::image::Image;
use crate::printable::printable;
use crate::recover::{self, How};
use crate::volume::{Access, Keystore, Kind, Locked, MountLock, Rollback, Volume, Witness};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// An unlocked image, and whoever may change it.
pub struct Kept {
    /// The volume, for its header.
    pub volume: Volume,
    /// Who changes it.
    pub keeper: Keeper,
}

/// Who changes an image.
pub enum Keeper {
    /// This process.
    Here {
        /// The image, for writing.
        image: Box<Image>,
        /// Notes how new it is.
        witness: Witness,
        /// Keeps mounts out.
        _lock: MountLock,
    },
    /// The daemon of the mount at this place.
    Daemon(PathBuf),
}

/// Unlocks an image by the keystore, and finds out who keeps it.
pub fn open(path: &Path, keystore: &Keystore) -> Result<Kept> {
    let locked = Locked::open(path)?;
    let lock = locked.place().lock(Access::ReadWrite);
    let mut volume = unlock(&locked, keystore)?;
    let keeper = match lock {
        Ok(lock) => {
            volume.must_be_writable()?;
            recover::prove_size(&mut volume)?;
            let opened = volume.share()?;
            let witness = Witness::of(&opened, keystore);
            let how = How {
                generation: witness.generation(),
                ..How::default()
            };
            Keeper::Here {
                image: Box::new(recover::image(opened, &how)?),
                witness,
                _lock: lock,
            }
        }
        Err(crate::volume::Error::AlreadyMounted(path)) => match mount_of(&path) {
            Some(point) => Keeper::Daemon(point),
            None => return Err(crate::volume::Error::AlreadyMounted(path).into()),
        },
        Err(other) => return Err(other.into()),
    };
    Ok(Kept { volume, keeper })
}

/// Unlocks an image by the keystore.
pub fn unlock(locked: &Locked, keystore: &Keystore) -> Result<Volume> {
    if locked.header().kind != Kind::Image {
        return Err(recover::Error::NotAnImage.into());
    }
    Ok(locked.unlock_auto(keystore, Rollback::Refuse)?)
}

/// The image as it is on the disk now, to look at; its daemon may go on writing.
pub fn look(volume: &Volume) -> Result<Image> {
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        tries += 1;
        match recover::image(volume.share()?, &How::to_read()) {
            // What was free to be overwritten, was.
            Err(_) if tries < TRIES => {}
            opened => return Ok(opened?),
        }
    }
}

impl Keeper {
    /// Keeps what is there now under a name.
    pub fn create_snapshot(&self, name: &OsStr) -> Result<()> {
        match self {
            Self::Here { image, .. } => FileSystem::create_snapshot(&**image, name)
                .map_err(|error| refused(name, error.errno())),
            Self::Daemon(point) => daemon::create_snapshot(point, name),
        }
    }

    /// Gives up a snapshot.
    pub fn delete_snapshot(&self, name: &OsStr) -> Result<()> {
        match self {
            Self::Here { image, .. } => FileSystem::delete_snapshot(&**image, name)
                .map_err(|error| refused(name, error.errno())),
            Self::Daemon(point) => daemon::delete_snapshot(point, name),
        }
    }

    /// Puts the image away, and notes how new it is.
    pub fn close(self, keystore: &Keystore) -> Result<()> {
        if let Self::Here {
            image, mut witness, ..
        } = self
        {
            image.close()?;
            witness.saw(image.generation(), keystore)?;
        }
        Ok(())
    }
}

#[cfg(feature = "fuse")]
fn mount_of(path: &Path) -> Option<PathBuf> {
    use super::whereabouts;
    let mut mounts = whereabouts::of(path).into_iter();
    mounts.find(|mount| !mount.about.read_only)?.point
}

#[cfg(not(feature = "fuse"))]
fn mount_of(_: &Path) -> Option<PathBuf> {
    None
}

#[cfg(feature = "fuse")]
mod daemon {
    use super::*;
    use crate::fuse::control::{Request, ask};

    pub fn create_snapshot(point: &Path, name: &OsStr) -> Result<()> {
        request(point, Request::CreateSnapshot, name)
    }

    pub fn delete_snapshot(point: &Path, name: &OsStr) -> Result<()> {
        request(point, Request::DeleteSnapshot, name)
    }

    fn request(point: &Path, request: Request, name: &OsStr) -> Result<()> {
        let asked = ask(point, request, name);
        asked.map_err(|error| match error.raw_os_error() {
            Some(errno) => refused(name, errno),
            None => Error::io(point)(error),
        })
    }
}

#[cfg(not(feature = "fuse"))]
mod daemon {
    use super::*;

    pub fn create_snapshot(_: &Path, name: &OsStr) -> Result<()> {
        Err(refused(name, rustix::io::Errno::NOTTY.raw_os_error()))
    }

    pub use create_snapshot as delete_snapshot;
}

/// What it means that a snapshot cannot be made or given up.
fn refused(name: &OsStr, errno: i32) -> Error {
    use rustix::io::Errno as E;
    let name = printable(name);
    let told = |code, message: String, hint| Error::told(code, message, hint);
    match E::from_raw_os_error(errno) {
        E::EXIST => told(
            Code::Place,
            format!("there is a snapshot '{name}' already"),
            "choose another name, or delete it with cryptfs snapshot delete",
        ),
        E::NOENT => told(
            Code::Place,
            format!("there is no snapshot '{name}'"),
            "cryptfs snapshot list IMAGE shows them",
        ),
        E::PERM => told(
            Code::Failure,
            "the daemon listens only to who mounted the image, and to root".to_owned(),
            "run this as the user who mounted it",
        ),
        E::NOTTY => told(
            Code::Unsupported,
            "the daemon of this mount knows no snapshots".to_owned(),
            "unmount the image and try again",
        ),
        E::ROFS => told(
            Code::Failure,
            "the image is mounted read-only, or its medium failed".to_owned(),
            "mount it for writing, or unmount it and try again",
        ),
        errno => Error::FileSystem(fs::Error::from(errno)),
    }
}
