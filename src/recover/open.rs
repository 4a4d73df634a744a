//! The file system of an unlocked volume.
use crate::directory::{Directory, Options, backing::Backing, name};
use crate::fs::{Error, FileSystem, ROOT, Result};
use crate::volume::header::NameEncoding;
use crate::volume::place::{META, PRIMARY};
use crate::volume::{CopyState, Kind, Opened, Volume};
use rustix::fs::Dir;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The file system that the volume's kind asks for.
pub fn file_system(opened: Opened, read_only: bool) -> Result<Arc<dyn FileSystem>> {
    match opened.kind() {
        Kind::Directory => Ok(Arc::new(directory(opened, read_only)?)),
        Kind::Image => Err(Error::NotSupported),
    }
}

/// The file system of a directory volume.
pub fn directory(opened: Opened, read_only: bool) -> Result<Directory> {
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

/// Whether an unlocked header is the header of what lies here. One that came from a keystore or a kit may be another
/// volume's, whose password fits it as well: then not a single name opens. Written over the right one's place, it would
/// make every file unreadable.
pub fn belongs(volume: &Volume) -> crate::volume::Result<bool> {
    let own = |state: &CopyState| matches!(state, CopyState::Good { .. } | CopyState::Old { .. });
    if volume.copies().iter().any(|copy| own(&copy.state))
        || volume.header().kind != Kind::Directory
    {
        return Ok(true); // a copy in the volume is authentic under the same key
    }
    let place = volume.place().try_clone()?;
    if is_bare(&place).map_err(crate::volume::Error::sys(place.path()))? {
        return Ok(true);
    }
    let opened = Opened {
        header: volume.header().clone(),
        keys: volume.keys()?,
        place,
    };
    Ok(opens_a_name(opened).unwrap_or(false))
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

fn opens_a_name(opened: Opened) -> Result<bool> {
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
