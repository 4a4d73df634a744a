//! `cryptfs recover`: unlock by hand. And the same in `cryptfs-recover`, for a rescue system.
mod salvage;
mod unlock;

pub use salvage::shown_bytes;

use super::progress::Bar;
use super::{Code, Common, Error, Result, ask, message, mount, protect};
use crate::codec::{json, json_line};
use crate::fs::Progress;
use crate::printable::printable;
use crate::recover::{self, Job, Outcome, Placed, Search, Summary, Verdict, belongs, find};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::error::date_or_never;
use crate::volume::keystore::Protection;
use crate::volume::{
    self, Access, Keystore, Locked, ProtectorKind, ProtectorState, Rollback, Swapped, Volume, date,
    uuid,
};
use clap::Args;
use salvage::salvage;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use unlock::{Due, by_keyfile, enrol, tell_repaired, unlock, verify};

/// Arguments of `cryptfs recover`.
#[derive(Args, Clone, Debug)]
pub struct RecoverArgs {
    #[command(flatten)]
    what: What,
    /// Mount it here afterwards
    #[arg(conflicts_with_all = ["verify", "salvage"])]
    pub mountpoint: Option<PathBuf>,
    /// Mount options, separated by commas
    #[arg(
        short = 'o',
        long = "options",
        value_name = "OPTIONS",
        requires = "mountpoint"
    )]
    pub options: Vec<std::ffi::OsString>,
    /// How the keystore is to keep the new keyfile; otherwise as it did before
    #[arg(long, value_name = "FORM", conflicts_with_all = ["verify", "salvage"], value_parser = protect::parser())]
    pub protect: Option<Protection>,
}

/// Arguments of `cryptfs-recover`.
#[derive(Args, Clone, Debug)]
pub struct RescueArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Args, Clone, Debug)]
struct What {
    /// The volume
    volume: PathBuf,
    /// Only prove that the recovery password opens it; notes the date and changes nothing else
    #[arg(long, conflicts_with = "salvage")]
    verify: bool,
    /// Copy out all that still decrypts, without FUSE; the volume is not written to
    #[arg(long, value_name = "DEST")]
    salvage: Option<PathBuf>,
    /// Go on with an earlier salvage into the same destination
    #[arg(long, requires = "salvage")]
    resume: bool,
    /// Where a unit fails its check, write what it decrypts to and not zeros; it is reported as lost all the same
    #[arg(long, requires = "salvage")]
    unverified: bool,
    /// Also restore set-user-ID and set-group-ID bits, device nodes, and attributes of the namespaces security and trusted:
    /// only from a volume that nobody else could write to
    #[arg(long, requires = "salvage")]
    privileges: bool,
    /// Report each file as a line of JSON
    #[arg(long, requires = "salvage")]
    json: bool,
    /// A recovery kit or a header backup, where the volume's own header is lost
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
    /// Which volume of the keystore it is, by the beginning of its ID, where the volume's own header is lost
    #[arg(long, value_name = "PREFIX")]
    id: Option<String>,
    /// Unlock with shares of the recovery password, typed one after the other
    #[arg(long, conflicts_with = "passphrase")]
    shares: bool,
    /// Unlock with a passphrase instead of a recovery password
    #[arg(long)]
    passphrase: bool,
    /// Read the recovery password or the passphrase from this file descriptor
    #[arg(long, value_name = "N")]
    fd: Option<u32>,
}

/// Runs `cryptfs recover`.
pub fn run(args: &RecoverArgs, common: &Common) -> Result<ExitCode> {
    let keystore = existing_keystore(common);
    let what = &args.what;
    let locked = open(what, keystore.as_ref())?;
    if let Some(to) = &what.salvage {
        let volume = by_keyfile(&locked, keystore.as_ref(), what);
        let volume = volume.map_or_else(|| unlock(&locked, what, keystore.as_ref()), Ok)?;
        return salvage(volume, to, what);
    }
    let proven = || -> Result<Volume> {
        let mut volume = unlock(&locked, what, keystore.as_ref())?;
        must_belong(&mut volume)?;
        Ok(volume)
    };
    if what.verify {
        return verify(proven()?, keystore.as_ref());
    }
    let Some(mountpoint) = &args.mountpoint else {
        enrol(&mut proven()?, args, common, Due::Told)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mount = mount::MountArgs {
        volume: what.volume.clone(),
        mountpoint: mountpoint.clone(),
        options: args.options.clone(),
        foreground: false,
        log: None,
        accept_rollback: false,
        fake: false,
    };
    mount::by_hand(&mount, common, &|read_only| {
        let mut volume = proven()?;
        // Mounted for reading only, nothing is written: the medium may not take it, or may have to stay as it is.
        if !read_only && let Err(error) = enrol(&mut volume, args, common, Due::ByMount) {
            message::warning(format_args!(
                "this computer will not unlock the volume by itself: {error}"
            ));
            if let Some(hint) = error.hint() {
                message::hint(hint);
            }
        }
        Ok(volume)
    })
}

/// Runs `cryptfs-recover`: it leaves no keyfile on the rescue system.
pub fn rescue(args: &RescueArgs, common: &Common) -> Result<ExitCode> {
    let keystore = existing_keystore(common);
    let what = &args.what;
    let locked = open(what, keystore.as_ref())?;
    let mut volume = unlock(&locked, what, None)?;
    if let Some(to) = &what.salvage {
        return salvage(volume, to, what);
    }
    must_belong(&mut volume)?;
    if what.verify {
        return verify(volume, None);
    }
    tell_repaired(&volume.repair_copies()?)?;
    message::hint("copy everything out with --salvage DEST, or mount it on a system with cryptfs");
    Ok(ExitCode::SUCCESS)
}

/// A header from elsewhere is written only where it opens what lies there.
pub fn must_belong(volume: &mut Volume) -> Result<()> {
    if belongs(volume)? {
        volume.prove();
        return Ok(recover::prove_size(volume)?);
    }
    let (id, path) = (uuid::text(&volume.header().uuid), volume.place().path());
    Err(Error::told(
        Code::Header,
        format!(
            "the saved header is of volume {id}: it opens nothing in {}",
            printable(path)
        ),
        "find the kit of this volume; where its names are damaged, cryptfs recover --salvage DEST copies out what there is",
    ))
}

/// The keystore, if there is one that can be used. A missing keystore is why people are here, and one that is damaged or
/// open to others must not stop them either: what it holds is not needed.
fn existing_keystore(common: &Common) -> Option<Keystore> {
    match Keystore::open(common.keystore.as_deref()) {
        Ok(keystore) => Some(keystore),
        Err(volume::Error::KeystoreMissing(_) | volume::Error::KeystoreUnknown) => None,
        Err(error) => {
            message::warning(format_args!("going on without the keystore: {error}"));
            None
        }
    }
}

fn open(what: &What, keystore: Option<&Keystore>) -> Result<Locked> {
    let kit = match &what.kit {
        None => None,
        Some(path) => Some((printable(path).to_string(), super::kit::read(path)?)),
    };
    let search = Search {
        keystore,
        kit,
        id: what.id.as_deref(),
    };
    find(&what.volume, &search).map_err(|error| lost(error, what, keystore))
}

/// Where no header is found, names the commands that may find one: what the keystore keeps of a volume that has moved, or
/// a kit.
fn lost(error: volume::Error, what: &What, keystore: Option<&Keystore>) -> Error {
    if !matches!(
        error,
        volume::Error::HeaderLost { .. } | volume::Error::NotAVolume(_)
    ) {
        return error.into();
    }
    let path = message::typed(&what.volume);
    let mut ways: Vec<String> = Vec::new();
    if what.id.is_none() {
        let known = keystore.and_then(|keystore| keystore.known().ok());
        for (id, place) in known.into_iter().flatten() {
            let holds = |place: &Path| Locked::open(place).is_ok_and(|l| l.header().uuid == id);
            if !place.as_deref().is_some_and(holds) {
                let id = uuid::short(&id);
                ways.push(format!(
                    "cryptfs recover --id {id} {path}, if volume {id} has moved here"
                ));
            }
        }
    }
    ways.push(format!(
        "cryptfs recover --kit FILE {path}, with a recovery kit or a header backup"
    ));
    let error = Error::from(error);
    Error::told(error.code(), error.to_string(), &ways.join("; "))
}
