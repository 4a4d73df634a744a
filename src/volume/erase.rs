//! Crypto-erase: without any key protector the content is noise. What cannot be reached from here is said, not promised.
use super::durable;
use super::error::{Error, Result};
use super::header::SIZE;
use super::keys::Uuid;
use super::keystore::Keystore;
use super::place::{Access, COPIES, Place};
use crate::crypto::random;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What was destroyed.
#[derive(Debug, Default)]
pub struct Erased {
    /// Header copies that were overwritten and removed.
    pub copies: Vec<&'static str>,
    /// Files of the keystore that were overwritten and removed.
    pub kept: Vec<String>,
    /// Why the keyfile in the Secret Service was not.
    pub left: Option<io::Error>,
    /// Where else the keystore saw the volume: what it keeps may be all that opens it there, and was not destroyed.
    pub spared_for: Option<PathBuf>,
}

/// Destroys every header copy of the volume at `place`, and all that the keystore keeps of it; where the keystore saw it
/// at another place too, only with `forget`, as this may be a copy. Refused while it is mounted. Can be run again after
/// it was cut short.
pub fn erase(
    place: &Place,
    volume: &Uuid,
    keystore: Option<&Keystore>,
    forget: bool,
) -> Result<Erased> {
    let _lock = place.lock(Access::ReadWrite)?;
    let mut erased = Erased::default();
    // The keyfile first: from then on nothing opens the volume without anyone typing.
    if let Some(keystore) = keystore {
        erased.spared_for = keystore.elsewhere(volume, place).filter(|_| !forget);
        match erased.spared_for {
            Some(_) => erased.kept = keystore.destroy_seat(&keystore.seat(volume, place))?,
            None => (erased.kept, erased.left) = keystore.destroy(volume)?,
        }
    }
    for index in 0..COPIES {
        let name = place.copy_name(index);
        let there = place.destroy_copy(index);
        if there.map_err(Error::io(&place.path().join(name)))? {
            erased.copies.push(name);
        }
    }
    Ok(erased)
}

/// Overwrites a file with noise where it lies, makes that durable, and removes it. False: there is none.
pub(crate) fn shred(dir: impl AsFd, name: &str) -> io::Result<bool> {
    let file = match durable::open_to_overwrite(&dir, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let length = file.metadata()?.len().min(1 << 20);
    noise(&file, 0, length as usize)?; // at most 1 MiB
    durable::remove(&dir, name)?;
    durable::sync_dir(&dir)?;
    Ok(true)
}

/// Overwrites a header copy in an image.
pub(crate) fn overwrite_header(file: &File, offset: u64) -> io::Result<()> {
    noise(file, offset, SIZE)
}

fn noise(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let mut bytes = vec![0; length];
    random::fill(&mut bytes);
    file.write_all_at(&bytes, offset)?;
    file.sync_all()
}
