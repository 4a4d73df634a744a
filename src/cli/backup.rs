//! `cryptfs backup`: a consistent copy of an image, mounted or not.
use super::keeper::{self, Keeper, Kept};
use super::progress::{Bar, Scaled};
use super::{Code, Common, Error, Result, message};
use crate::image::{HOLDER, Image, layout};
use crate::printable::printable;
use crate::recover::{self, How};
use crate::volume::same_disk::{SameDisk, same_disk};
use crate::volume::{self, Access, Place, Volume};
use clap::Args;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The image; it may be mounted
    pub volume: PathBuf,
    /// The copy: a file that does not exist yet
    pub dest: PathBuf,
    /// Bring an earlier backup up to date: only what is new is written
    #[arg(long)]
    pub update: bool,
}

/// Runs `cryptfs backup`.
pub fn run(args: &BackupArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let Kept { volume, keeper } = keeper::open(&args.volume, &keystore)?;
    let place = volume.begin_backup(&args.dest, args.update);
    let place = place.map_err(|error| occupied(args, error))?;
    let _lock = place.lock(Access::ReadWrite)?;
    if same_disk(place.as_fd(), volume.place().as_fd()) == SameDisk::Same {
        message::warning("the backup lies on the disk that it is to help with: move it elsewhere");
    }
    let after = match args.update {
        true => generation_of(&volume, &place),
        false => 0,
    };
    let holder = OsStr::from_bytes(HOLDER);
    // One that was cut short leaves it behind.
    let _ = keeper.delete_snapshot(holder);
    keeper.create_snapshot(holder)?;
    let copied = copy(&volume, &keeper, &place, after);
    keeper.delete_snapshot(holder)?;
    let generation = copied?;
    volume.end_backup(&place)?;
    keeper.close(&keystore)?;
    outln!(
        "backup of generation {generation} written to {}",
        printable(&args.dest)
    )?;
    message::hint(format_args!(
        "prove it with cryptfs check {}; put back, it is mounted with --accept-rollback",
        printable(&args.dest)
    ));
    Ok(ExitCode::SUCCESS)
}

/// A file that is there already may be an earlier backup.
fn occupied(args: &BackupArgs, error: volume::Error) -> Error {
    match error {
        volume::Error::NotEmpty(path) => Error::told(
            Code::Place,
            format!("{} is not empty", printable(&path)),
            &format!(
                "if it is an earlier backup of this image, bring it up to date with cryptfs backup \
                 --update {} {}; else name a file that does not exist",
                message::typed(&args.volume),
                message::typed(&args.dest)
            ),
        ),
        other => other.into(),
    }
}

fn copy(volume: &Volume, keeper: &Keeper, place: &Place, after: u64) -> Result<u64> {
    let target = place.as_fd().try_clone_to_owned();
    let target = target.map_err(Error::io(place.path()))?;
    let bar = Bar::bytes("copying");
    let pages = Scaled(&bar, layout::PAGE as u64);
    let copy = |image: &Image| image.copy_snapshot(HOLDER, target, after, &pages);
    let copied = match keeper {
        Keeper::Here { image, .. } => copy(image),
        Keeper::Daemon(_) => copy(&keeper::look(volume)?),
    };
    bar.end();
    Ok(copied?)
}

/// How new an earlier backup is; 0 if that cannot be told, and then all is copied.
fn generation_of(volume: &Volume, place: &Place) -> u64 {
    let earlier = volume.share_at(place).ok();
    let image = earlier.and_then(|opened| recover::image(opened, &How::to_read()).ok());
    image.map_or(0, |image| image.generation())
}
