//! Files of cryptfs's own that belong to someone else than the volume or the keystore: root's help left them behind before
//! cryptfs kept owners, and whoever they were made for cannot open them.
use super::message::typed;
use crate::volume::{Keystore, Kind, Place};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Says whose files are in the way, and the command that gives them back.
pub fn locked_out(place: &Place, keystore: Option<&Keystore>) -> Result<(), String> {
    let mut commands = Vec::new();
    if place.kind() == Kind::Directory {
        let own = ["cryptfs.volume", ".cryptfs"].map(|name| place.path().join(name));
        commands.extend(command(place.path(), &own));
    }
    if let Some(keystore) = keystore {
        let files = std::fs::read_dir(keystore.path()).into_iter().flatten();
        let files: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
        commands.extend(command(keystore.path(), &files));
    }
    match commands.is_empty() {
        true => Ok(()),
        false => Err(commands.join("; ")),
    }
}

/// How to give what belongs to root, of these and what is in them, to the owner of `of`.
fn command(of: &Path, files: &[PathBuf]) -> Option<String> {
    let owner = std::fs::symlink_metadata(of).ok()?.uid();
    let foreign = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|there| there.uid() == 0 && owner != 0)
    };
    let inside = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| foreign(&path))
    };
    let named = files.iter().filter(|path| foreign(path) || inside(path));
    let named: Vec<_> = named.map(|path| typed(path).to_string()).collect();
    let reference = typed(of);
    (!named.is_empty())
        .then(|| format!("sudo chown -R --reference={reference} {}", named.join(" ")))
}
