//! The file system of an unlocked volume.
use crate::directory::{Directory, Options, backing::Backing, name};
use crate::fs::{Error, FileSystem, Result};
use crate::volume::header::NameEncoding;
use crate::volume::{Kind, Opened};
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
