//! The file system of an unlocked volume.
use super::error::{Error, Result};
use crate::directory::{Directory, Options, backing::Backing, name, session::Session};
use crate::fs::{self, FileSystem, ROOT};
use crate::image::{self, Image};
use crate::volume::header::{KEEPS_SPACE, NameEncoding};
use crate::volume::place::{META, PRIMARY};
use crate::volume::{CopyState, Kind, Opened, Volume};
use rustix::fd::AsFd;
use rustix::fs::{Dir, Mode, OFlags};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// How to open it.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Nothing may be changed.
    pub read_only: bool,
    /// Of an image: the newest generation this computer has seen; 0: none.
    pub generation: u64,
    /// Of an image: take one that is older than that.
    pub accept_rollback: bool,
    /// Of an image: where the newest generation is damaged at its root, take the one before it.
    pub accept_older: bool,
    /// Of an image: go on without what a damaged log made durable.
    pub accept_broken_log: bool,
    /// Of an image: show this snapshot.
    pub snapshot: Option<OsString>,
}

impl How {
    /// To look at, whatever its age.
    pub fn to_read() -> Self {
        Self {
            read_only: true,
            accept_rollback: true,
            ..Self::default()
        }
    }
}

/// The file system that the volume's kind asks for.
pub fn file_system(opened: Opened, how: &How) -> Result<Arc<dyn FileSystem>> {
    match (opened.kind(), &how.snapshot) {
        (Kind::Image, _) => Ok(Arc::new(image(opened, how)?)),
        (Kind::Directory, None) => Ok(Arc::new(directory(opened, how.read_only)?)),
        (Kind::Directory, Some(_)) => Err(Error::NoSnapshots),
    }
}

/// The file system of an image.
pub fn image(opened: Opened, how: &How) -> Result<Image> {
    let fd = opened.place.as_fd().try_clone_to_owned();
    let options = image::Options {
        read_only: how.read_only,
        expected_generation: how.generation,
        accept_rollback: how.accept_rollback,
        accept_older: how.accept_older,
        accept_broken_log: how.accept_broken_log,
        snapshot: how.snapshot.as_ref().map(|name| name.as_bytes().to_vec()),
        keep_space: opened.header.features.compat & KEEPS_SPACE != 0,
        recorder: None,
    };
    let fd = fd.map_err(fs::Error::from)?;
    Ok(Image::open(fd, Arc::new(opened.keys), &options)?)
}

/// The file system of a directory volume.
pub fn directory(opened: Opened, read_only: bool) -> fs::Result<Directory> {
    let root = opened.place.as_fd().try_clone_to_owned()?;
    let options = Options {
        root: name::DirId(opened.header.root),
        encoding: match opened.header.name_encoding {
            NameEncoding::Base64Url => name::NameEncoding::Base64Url,
            NameEncoding::Base32Hex => name::NameEncoding::Base32Hex,
        },
        read_only,
    };
    Directory::open(root, Arc::new(opened.keys), options, Backing::default())
}

/// Proves, before a header is written into an image, that it has all the bytes that its file system counts.
pub fn prove_size(volume: &mut Volume) -> Result<()> {
    if volume.header().kind == Kind::Image {
        let opened = volume.share().map_err(Error::Keys)?;
        let fd = opened.place.as_fd().try_clone_to_owned();
        image::prove_size(fd.map_err(fs::Error::from)?, Arc::new(opened.keys))?;
    }
    volume.end_is_proven();
    Ok(())
}

/// Whether an unlocked header is the header of what lies here. One that came from a keystore or a kit, or that was put
/// over the volume's own copies, may be another volume's, whose key fits it as well: then not a single name opens.
/// Written over the right one's place, it would make every file unreadable.
pub fn belongs(volume: &Volume) -> crate::volume::Result<bool> {
    let own = |state: &CopyState| matches!(state, CopyState::Good { .. } | CopyState::Old { .. });
    let has_own = volume.copies().iter().any(|copy| own(&copy.state));
    if has_own && !volume.is_contested() {
        return Ok(true); // a copy in the volume is authentic under the same key
    }
    let place = volume.place().try_clone()?;
    if place.kind() == Kind::Image {
        // That it is shorter than it says proves that it is the one: `prove_size` names that error.
        return Ok(matches!(
            image(volume.share()?, &How::to_read()),
            Ok(_) | Err(Error::Image(image::OpenError::Cut { .. }))
        ));
    }
    let bare = is_bare(&place).map_err(crate::volume::Error::sys(place.path()))?;
    let opened = volume.share()?;
    match bare {
        true if !volume.is_contested() => Ok(true),
        true => Ok(session_is_of(&opened)),
        false => Ok(opens_a_name(opened).unwrap_or(false)),
    }
}

/// As [`belongs`], before header copies are repaired without anyone having been asked. Where an image's copies lie depends
/// on its size: in one that was cut, a copy would be written over file data. So the image has to open first.
pub fn may_repair(volume: &Volume) -> crate::volume::Result<bool> {
    match volume.place().kind() {
        Kind::Directory => belongs(volume),
        Kind::Image => Ok(image(volume.share()?, &How::to_read()).is_ok()),
    }
}

/// Whether the session record was written under this volume's key: that is all there is to go by in an empty volume.
fn session_is_of(opened: &Opened) -> bool {
    let backing = Backing::default();
    let meta = rustix::fs::openat(
        opened.place.as_fd(),
        META,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    );
    meta.is_ok_and(|meta| Session::is_of(meta.as_fd(), &backing, opened.keys.session()))
}

/// Nothing lies there but what cryptfs keeps for itself.
fn is_bare(place: &crate::volume::Place) -> rustix::io::Result<bool> {
    let own = [".", "..", "lost+found", PRIMARY, META].map(str::as_bytes);
    for entry in Dir::read_from(place.as_fd())? {
        if !own.contains(&entry?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn opens_a_name(opened: Opened) -> fs::Result<bool> {
    let files = directory(opened, true)?;
    let handle = files.opendir(ROOT)?;
    let mut found = false;
    let mut offset = 0;
    loop {
        let before = offset;
        files.readdir(ROOT, handle, offset, &mut |entry| {
            offset = entry.next;
            found |= !matches!(entry.name.as_bytes(), b"." | b"..");
            found
        })?;
        if found || offset == before {
            break;
        }
    }
    files.releasedir(ROOT, handle);
    Ok(found)
}
