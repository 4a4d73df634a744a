//! The mode of the mount's root, kept apart from that of the backing directory.
//!
//! The backing directory is closed to other users, so that they do not reach the ciphertext. The
//! root of a mount with `allow_other` may be open to them all the same: its mode lies in an extended
//! attribute of the backing directory. A store without extended attributes has one mode for both.
use super::*;
use crate::volume::place::ROOT_MODE;
use rustix::io::Errno;
use std::sync::atomic::AtomicU32;

/// No mode is recorded.
const NONE: u32 = u32::MAX;

/// The recorded mode.
pub(super) struct RootMode(AtomicU32);

impl RootMode {
    /// Reads it from the backing directory.
    pub(super) fn read(root: Object<'_>) -> Self {
        let bytes = backing::get_xattr(root, ROOT_MODE).unwrap_or_default();
        let mode = <[u8; 2]>::try_from(bytes.as_slice()).map(u16::from_le_bytes);
        let mode = mode.ok().filter(|mode| *mode <= 0o7777);
        Self(AtomicU32::new(mode.map_or(NONE, u32::from)))
    }

    /// Returns the recorded mode.
    pub(super) fn get(&self) -> Option<u32> {
        Some(self.0.load(Relaxed)).filter(|mode| *mode != NONE)
    }

    /// Records a mode, and closes the backing directory to other users.
    pub(super) fn set(&self, backing: &Backing, root: Object<'_>, mode: u32) -> Result<()> {
        let bytes = (mode as u16).to_le_bytes(); // at most 0o7777
        match backing.set_xattr(root, ROOT_MODE, &bytes, SetXattr::Either) {
            Ok(()) => {
                self.0.store(mode, Relaxed);
                Ok(backing.set_mode(root, 0o700)?)
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(backing.set_mode(root, mode)?),
            Err(errno) => Err(errno.into()),
        }
    }
}
