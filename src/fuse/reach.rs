//! Whether other users reach the ciphertext beside a mount that they may enter.
//!
//! The modes of backing files are those that the mount shows. With `allow_other` a user may write in some directory of the
//! mount, and would then rename, replace and put back old backing files there as well, past the daemon. So the backing
//! directory must lie where only its owner can go.
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, MountOptions};

/// Refuses `allow_other` where others reach the volume itself.
///
/// # Errors
/// They do, and `others_reach_ciphertext` was not given.
pub fn check(volume: &Path, options: &MountOptions) -> Result<(), Error> {
    if !options.allow_other || options.others_reach_ciphertext {
        return Ok(());
    }
    match is_open(volume) {
        Ok(Some(path)) => Err(Error::Reachable(path)),
        // A volume that is not there is reported when it is opened.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// The volume's path, if others can enter its directory or change its file.
fn is_open(volume: &Path) -> std::io::Result<Option<PathBuf>> {
    let volume = volume.canonicalize()?;
    let own = volume.metadata()?;
    let mut above = volume.ancestors();
    if !own.is_dir() {
        above.next();
        if !own.is_file() || !grants(own.mode(), own.gid(), 0o2) {
            return Ok(None); // a device's mode is the system's to set
        }
    }
    for dir in above {
        let dir = dir.metadata()?;
        if !grants(dir.mode(), dir.gid(), 0o1) {
            return Ok(None);
        }
    }
    Ok(Some(volume))
}

/// Whether a mode gives others, or a group other than root's, one of the rights of `bits`. An ACL shows in the group's.
fn grants(mode: u32, group: u32, bits: u32) -> bool {
    mode & bits != 0 || mode & bits << 3 != 0 && group != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn open_with(above: u32, own: u32) -> bool {
        let home = tempfile::tempdir().unwrap();
        let (outer, inner) = (home.path().join("outer"), home.path().join("outer/inner"));
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(own)).unwrap();
        fs::set_permissions(&outer, Permissions::from_mode(above)).unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        is_open(&inner).unwrap().is_some()
    }

    #[test]
    fn one_closed_directory_on_the_way_is_enough() {
        assert!(open_with(0o755, 0o711));
        assert!(!open_with(0o700, 0o777));
        assert!(!open_with(0o755, 0o700));
    }

    #[test]
    fn a_group_counts_as_others_unless_it_is_roots() {
        assert!(grants(0o710, 1000, 0o1));
        assert!(!grants(0o710, 0, 0o1));
        assert!(grants(0o660, 6, 0o2));
        assert!(!grants(0o644, 1000, 0o2));
    }
}
