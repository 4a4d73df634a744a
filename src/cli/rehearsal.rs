//! What a mount does, tried without writing: `status` and `doctor` must not call a volume well that
//! `mount` refuses.
use super::Result;
use crate::recover::{self, How};
use crate::volume::{self, Keystore, Volume, opened::Witness};

/// Opens the volume's file system for reading, as a mount would, and closes it again.
///
/// A volume that is mounted for writing is left alone: its daemon has opened it already.
///
/// # Errors
/// What `cryptfs mount` would fail with.
pub fn open_file_system(volume: &Volume, keystore: &Keystore) -> Result<()> {
    if volume.place().is_mounted() {
        return Ok(());
    }
    let unknown = volume.header().unknown_ro_compat();
    if unknown != 0 {
        return Err(volume::Error::ReadOnlyFeatures(unknown).into());
    }
    let opened = volume.share()?;
    let how = How {
        read_only: true,
        generation: Witness::of(&opened, keystore).generation(),
        ..How::default()
    };
    recover::file_system(opened, &how)?;
    Ok(())
}

/// Looks whether this user can mount FUSE file systems here.
///
/// # Errors
/// The device or the helper program is missing.
#[cfg(feature = "fuse")]
pub fn fuse() -> Result<()> {
    Ok(crate::fuse::available()?)
}
