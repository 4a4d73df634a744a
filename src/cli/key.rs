//! `cryptfs key`: what opens a volume.
mod add;
mod rotate;

use super::{Common, Result, ask, message};
use crate::codec::{Json, json, json_text};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::error::{date_or_never, kind_name};
use crate::volume::keys::Uuid;
use crate::volume::{
    Credential, Keystore, Locked, Protector, ProtectorKind, ProtectorState, Rollback, Volume, date,
    uuid,
};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cryptfs key`.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum KeyCommand {
    /// Show the key protectors; no secret is shown
    List {
        /// The volume
        volume: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a recovery password and print it once; or a passphrase; or a keyfile for another computer
    Add(add::AddArgs),
    /// Let this computer unlock the volume by itself, with the keyfile that another computer wrote for it
    Enrol(add::EnrolArgs),
    /// Replace a protector: the old one is removed once the new one was proven
    Rotate(rotate::RotateArgs),
    /// Remove a key protector from every header copy
    Remove {
        /// The volume
        volume: PathBuf,
        /// Its ID, or the beginning of it
        id: String,
        /// Unlock with a recovery password, where this computer does not unlock the volume by itself
        #[arg(long)]
        recovery_password: bool,
        /// Read that recovery password from this file descriptor
        #[arg(long, value_name = "N", requires = "recovery_password")]
        fd: Option<u32>,
    },
}

/// Runs `cryptfs key`.
pub fn run(args: &KeyArgs, common: &Common) -> Result<ExitCode> {
    match &args.command {
        KeyCommand::List { volume, json } => list(volume, *json)?,
        KeyCommand::Add(args) => add::add(args, common)?,
        KeyCommand::Enrol(args) => add::enrol(args, common)?,
        KeyCommand::Rotate(args) => rotate::run(args, common)?,
        KeyCommand::Remove {
            volume,
            id,
            recovery_password,
            fd,
        } => {
            let (keystore, mut opened) = match recovery_password {
                true => unlock_by_hand(volume, *fd, common)?,
                false => unlock(volume, common)?,
            };
            remove(&keystore, &mut opened, id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(volume: &Path, json: bool) -> Result<()> {
    let locked = Locked::open(volume)?;
    let slots: Vec<_> = locked.header().protectors().collect();
    if json {
        let slots = slots.into_iter().map(record).collect();
        outln!("{}", json_text(&Json::Array(slots)))?;
        return Ok(());
    }
    for slot in slots {
        outln!(
            "{}  {:17}  {:10}  created {}  exported {}  verified {}  {}",
            uuid::text(&slot.id),
            kind_name(slot.kind),
            state_name(slot.state),
            date_or_never(slot.created),
            date_or_never(slot.exported),
            date_or_never(slot.verified),
            slot.description
        )?;
    }
    Ok(())
}

fn remove(keystore: &Keystore, volume: &mut Volume, prefix: &str) -> Result<()> {
    let own = keystore.keyfiles(&volume.header().uuid).unwrap_or_default();
    let removed = volume.remove_protector(Some(keystore), prefix)?;
    log(keystore, volume, "key remove", &removed.id, "removed")?;
    message::unkept(volume);
    tell_removed(kind_name(removed.kind), &removed.id)?;
    if removed.kind != ProtectorKind::Keyfile {
        return Ok(());
    }
    let path = message::typed(volume.place().path());
    if own.iter().any(|key| key.slot == removed.id) {
        message::warning("this computer does not unlock the volume by itself any more");
        message::hint(format_args!(
            "cryptfs recover {path} lets it unlock it again"
        ));
        return Ok(());
    }
    for slot in volume
        .header()
        .protectors()
        .filter(|slot| slot.has_escrow())
    {
        let id = uuid::short(&slot.id);
        message::hint(format_args!(
            "that computer could read recovery password {id}, which is kept in the header: if it must not open the \
             volume any more, cryptfs key rotate {path} {id}"
        ));
    }
    Ok(())
}

/// Takes a protector back where it could not be logged or handed over: nobody has it, and failed tries would fill the
/// slots.
fn or_take_back<T>(
    keystore: &Keystore,
    volume: &mut Volume,
    id: &Uuid,
    done: Result<T>,
) -> Result<T> {
    if done.is_err() {
        match volume.take_back(keystore, id) {
            Ok(()) => message::note(format_args!(
                "key protector {} was taken back",
                uuid::short(id)
            )),
            Err(error) => message::warning(format_args!(
                "key protector {} could not be taken back: {error}",
                uuid::short(id)
            )),
        }
    }
    done
}

/// With a recovery password.
fn unlock_by_hand(path: &Path, fd: Option<u32>, common: &Common) -> Result<(Keystore, Volume)> {
    let keystore = common.make_keystore()?;
    AuditLog::of(&keystore).probe()?;
    let locked = Locked::open(path)?;
    let ids: Vec<_> = locked.password_ids().iter().map(uuid::text).collect();
    message::note(format_args!("password ID {}", ids.join(" or ")));
    let mut volume = locked.unlock(Credential::Recovery(&ask::recovery_password(fd)?))?;
    super::recover::must_belong(&mut volume)?;
    Ok((keystore, volume))
}

fn tell_removed(kind: &str, id: &Uuid) -> Result<()> {
    outln!("{kind} {} removed from every header copy", uuid::text(id))?;
    message::hint(
        "kits and header backups made before this still hold it: make new ones and destroy the old",
    );
    Ok(())
}

/// With the keystore's keyfile. Nothing is begun that could not be logged.
fn unlock(path: &Path, common: &Common) -> Result<(Keystore, Volume)> {
    let keystore = common.keystore()?;
    AuditLog::of(&keystore).probe()?;
    let volume = Locked::open(path)?.unlock_auto(&keystore, Rollback::Refuse)?;
    Ok((keystore, volume))
}

fn log(
    keystore: &Keystore,
    volume: &Volume,
    action: &str,
    protector: &Uuid,
    result: &str,
) -> Result<()> {
    let event = Event {
        action,
        volume: &volume.header().uuid,
        protector: Some(protector),
        result,
    };
    Ok(AuditLog::of(keystore).append_sealed(&volume.audit_key(), &event)?)
}

/// A protector as JSON.
pub fn record(slot: &Protector) -> Json {
    let date = |seconds| match seconds {
        0 => Json::Null,
        _ => date::rfc3339(seconds).into(),
    };
    json!({
        "id": uuid::text(&slot.id),
        "type": kind_name(slot.kind),
        "state": state_name(slot.state),
        "escrow": slot.has_escrow(),
        "created": date(slot.created),
        "exported": date(slot.exported),
        "verified": date(slot.verified),
        "description": slot.description,
    })
}

/// The state's name, as people read it.
pub fn state_name(state: ProtectorState) -> &'static str {
    match state {
        ProtectorState::Active => "active",
        ProtectorState::Pending => "pending",
        ProtectorState::Delivered => "delivered",
        ProtectorState::RotateDue => "rotate-due",
    }
}
