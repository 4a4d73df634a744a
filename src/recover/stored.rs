//! Link targets and extended attributes, from the backing store.
use super::scan::Source;
use crate::directory::backing::{self, Object};
use crate::directory::name::DirId;
use crate::directory::{link, xattr};
use crate::fs::{Damage, Error};
use data_encoding::BASE64URL_NOPAD;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

/// The target of the symbolic link at `entry`.
pub fn target(source: &Source, dir: BorrowedFd<'_>, entry: &CStr) -> Result<Vec<u8>, Error> {
    let stored = backing::read_link(dir, entry)?;
    let sealed = match stored.to_bytes().strip_prefix(b"~") {
        // A long one lies in a file of its own.
        Some(_) => {
            let folder = source.open_dir([&b".cryptfs"[..], b"targets"])?;
            let file = source.open_file(folder.as_fd(), stored.to_bytes())?;
            let mut sealed = vec![0; 8192];
            let length = backing::read(file.as_fd(), &mut sealed, 0)?;
            sealed.truncate(length);
            sealed
        }
        None => BASE64URL_NOPAD
            .decode(stored.to_bytes())
            .map_err(|_| Damage::Malformed)?,
    };
    Ok(link::open(&source.keys, &sealed)?)
}

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes of `entry`, `id`: a directory's; and what could not be read of them.
pub fn attributes(
    source: &Source,
    dir: BorrowedFd<'_>,
    entry: &CStr,
    id: Option<DirId>,
) -> (Attributes, Vec<String>) {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    let object = Object::At(dir, entry);
    let names = match backing::list_xattrs(object) {
        Ok(names) => names,
        Err(errno) => {
            lost.push(format!("attributes: {}", std::io::Error::from(errno)));
            Vec::new()
        }
    };
    for stored in names {
        let acl = xattr::acl(stored.to_bytes()).is_some();
        if !acl && !xattr::is_sealed(&stored) {
            continue;
        }
        let opened = backing::get_xattr(object, &stored)
            .map_err(Error::from)
            .and_then(|value| match acl {
                true => Ok((stored.to_bytes().to_vec(), value)),
                false => Ok(xattr::open(&source.keys, id, &stored, &value)?),
            });
        match opened {
            Ok(attribute) => found.push(attribute),
            Err(error) => lost.push(format!("attribute {}: {error}", stored.to_string_lossy())),
        }
    }
    (found, lost)
}
