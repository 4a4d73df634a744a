//! `cryptfs header`: save the header, and put a saved one back.
use super::{Code, Common, Error, Result, ask, kit, message};
use crate::printable::printable;
use crate::volume::audit::{AuditLog, Event};
use crate::volume::error::kind_name;
use crate::volume::{Credential, Keystore, Locked, Rollback, Spare, Volume, kit as kits, uuid};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cryptfs header`.
#[derive(Args, Clone, Debug)]
pub struct HeaderArgs {
    #[command(subcommand)]
    command: HeaderCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum HeaderCommand {
    /// Save the header to a file that does not exist yet
    Backup {
        /// The volume
        volume: PathBuf,
        /// The file
        file: PathBuf,
    },
    /// Put a saved header (or a kit's) back into every copy
    Restore(RestoreArgs),
}

#[derive(Args, Clone, Debug)]
struct RestoreArgs {
    /// The volume
    volume: PathBuf,
    /// The saved header, or a kit
    file: PathBuf,
    /// Take one that is older than what the volume or this computer has: it revives protectors that were removed since
    #[arg(long)]
    accept_rollback: bool,
    /// Read the recovery password from this file descriptor
    #[arg(long, value_name = "N")]
    fd: Option<u32>,
}

/// Runs `cryptfs header`.
pub fn run(args: &HeaderArgs, common: &Common) -> Result<ExitCode> {
    match &args.command {
        HeaderCommand::Backup { volume, file } => backup(volume, file, common),
        HeaderCommand::Restore(args) => restore(args, common),
    }
}

fn backup(volume: &Path, file: &Path, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let volume = Locked::open(volume)?.unlock_auto(&keystore, Rollback::Refuse)?;
    kit::write_new(file, volume.header_bytes(), volume.place().owner())?;
    outln!(
        "header number {} saved to {}",
        volume.header().sequence,
        printable(file)
    )?;
    Ok(ExitCode::SUCCESS)
}

fn restore(args: &RestoreArgs, common: &Common) -> Result<ExitCode> {
    let bad_kit = |why| {
        Error::Volume(crate::volume::Error::Kit(format!(
            "{}: {why}",
            printable(&args.file)
        )))
    };
    let saved = kits::read(&kit::read(&args.file)?).map_err(bad_kit)?;
    let keystore = common.make_keystore()?;
    let spare = Spare {
        name: printable(&args.file).to_string(),
        bytes: saved.bytes,
    };
    let (locked, newest) = Locked::open_only(&args.volume, &spare)?;
    let mut volume = unlock(&locked, &keystore, args.fd)?;
    super::recover::must_belong(&mut volume)?;
    let known = volume.known_sequence(&keystore).max(newest);
    let older = volume.header().sequence < known;
    message::note(format_args!(
        "these key protectors open the volume afterwards:"
    ));
    for slot in volume.header().protectors() {
        let what = kind_name(slot.kind);
        message::note(format_args!(
            "  {}  {what}  {}",
            uuid::text(&slot.id),
            slot.description
        ));
    }
    if older && !args.accept_rollback {
        let message = format!(
            "saved header number {} is older than number {known}",
            volume.header().sequence
        );
        let hint = "protectors that were removed since would open the volume again; if that is wanted, say --accept-rollback";
        return Err(Error::told(Code::RolledBack, message, hint));
    }
    put_back(volume, known, &keystore)
}

/// The keyfile, if the saved header still has it; else a recovery password.
fn unlock(locked: &Locked, keystore: &Keystore, fd: Option<u32>) -> Result<Volume> {
    if fd.is_none()
        && let Ok(volume) = locked.unlock_auto(keystore, Rollback::Accept)
    {
        return Ok(volume);
    }
    let ids: Vec<_> = locked.password_ids().iter().map(uuid::text).collect();
    message::note(format_args!("password ID {}", ids.join(" or ")));
    Ok(locked.unlock(Credential::Recovery(&ask::recovery_password(fd)?))?)
}

fn put_back(mut volume: Volume, known: u64, keystore: &Keystore) -> Result<ExitCode> {
    let uuid = volume.header().uuid;
    let event = Event {
        action: "header restore",
        volume: &uuid,
        protector: None,
        result: "restored",
    };
    AuditLog::of(keystore).append_sealed(&volume.audit_key(), &event)?;
    volume.put_back(known, keystore)?;
    outln!(
        "header put back into every copy, as number {}",
        volume.header().sequence
    )?;
    let own = keystore.keyfiles(&uuid).unwrap_or_default();
    let mut slots = volume.header().protectors();
    if !slots.any(|slot| own.iter().any(|key| key.slot == slot.id)) {
        message::warning(
            "this header has no keyfile of this computer: it does not unlock the volume by itself",
        );
        let path = message::typed(volume.place().path());
        message::hint(format_args!(
            "cryptfs recover {path} lets it unlock it again"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
