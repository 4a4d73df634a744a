//! `cryptfs kit`: write a recovery kit.
use super::{Code, Common, Error, Result, message};
use crate::printable::printable;
use crate::volume::same_disk::{SameDisk, same_disk};
use crate::volume::{Locked, Rollback, header, kit, write_beside};
use clap::Args;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cryptfs kit`.
#[derive(Args, Clone, Debug)]
pub struct KitArgs {
    /// The volume
    pub volume: PathBuf,
    /// The file to write; must not exist
    pub file: PathBuf,
}

/// Runs `cryptfs kit`.
pub fn run(args: &KitArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let volume = Locked::open(&args.volume)?.unlock_auto(&keystore, Rollback::Refuse)?;
    let file = write_new(
        &args.file,
        &kit::write(volume.header_bytes()),
        volume.place().owner(),
    )?;
    if same_disk(&file, volume.place().as_fd()) == SameDisk::Same {
        message::warning("the kit lies on the disk that it is to help with: move it elsewhere");
    }
    outln!(
        "recovery kit written to {}; it opens nothing without a recovery password",
        printable(&args.file)
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that does not exist yet, durable, mode 0600. `owner`: whose the volume is that it belongs to.
pub fn write_new(path: &Path, bytes: &[u8], owner: Option<u32>) -> Result<File> {
    match write_beside(path, bytes, owner) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{} exists", printable(path));
            Err(Error::told(
                Code::Place,
                message,
                "name a file that does not exist",
            ))
        }
        other => other.map_err(Error::io(path)),
    }
}

/// Reads a kit or a header backup, whatever the bytes are.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let limit = (kit::SIZE.max(header::SIZE) + 1) as u64;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    Ok(bytes)
}
