//! `cryptfs key`: what opens a volume.
use super::{Common, Result, message};
use crate::codec::{Json, json, json_text};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::create::ITERATIONS;
use crate::volume::error::{date_or_never, kind_name};
use crate::volume::keys::Uuid;
use crate::volume::{Locked, Protector, ProtectorState, Rollback, Volume, date, uuid};
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
    /// Add a recovery password and print it once
    Add {
        /// The volume
        volume: PathBuf,
        /// Do not keep it sealed in the header
        #[arg(long)]
        no_escrow: bool,
        /// PBKDF2 rounds (for tests)
        #[arg(long, hide = true, default_value_t = ITERATIONS, value_parser = clap::value_parser!(u32).range(1000..))]
        pbkdf2_iterations: u32,
    },
    /// Remove a key protector from every header copy
    Remove {
        /// The volume
        volume: PathBuf,
        /// Its ID, or the beginning of it
        id: String,
    },
}

/// Runs `cryptfs key`.
pub fn run(args: &KeyArgs, common: &Common) -> Result<ExitCode> {
    match &args.command {
        KeyCommand::List { volume, json } => list(volume, *json)?,
        KeyCommand::Add {
            volume,
            no_escrow,
            pbkdf2_iterations,
        } => add(volume, !no_escrow, *pbkdf2_iterations, common)?,
        KeyCommand::Remove { volume, id } => remove(volume, id, common)?,
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

fn add(path: &Path, escrow: bool, iterations: u32, common: &Common) -> Result<()> {
    let keystore = common.keystore()?;
    let log = AuditLog::of(&keystore);
    log.probe()?;
    let mut volume = Locked::open(path)?.unlock_auto(&keystore, Rollback::Refuse)?;
    let (id, password) = volume.add_recovery_password(Some(&keystore), escrow, iterations)?;
    log.append(&event(&volume, "key add", &id, "added, disclosed"))?;
    outln!("Password ID:        {}", uuid::text(&id))?;
    outln!("Recovery password:  {}", password.reveal())?;
    volume.annotate(Some(&keystore), &id, |p| {
        p.exported = date::now();
        p.state = ProtectorState::Delivered;
    })?;
    message::hint(format_args!(
        "prove it with cryptfs recover --verify {}",
        path.display()
    ));
    Ok(())
}

fn remove(path: &Path, prefix: &str, common: &Common) -> Result<()> {
    let keystore = common.keystore()?;
    let mut volume = Locked::open(path)?.unlock_auto(&keystore, Rollback::Refuse)?;
    let removed = volume.remove_protector(Some(&keystore), prefix)?;
    AuditLog::of(&keystore).append(&event(&volume, "key remove", &removed.id, "removed"))?;
    outln!(
        "{} {} removed from every header copy",
        kind_name(removed.kind),
        uuid::text(&removed.id)
    )?;
    message::hint(
        "kits and header backups made before this still hold it: make new ones and destroy the old",
    );
    Ok(())
}

fn event<'a>(volume: &'a Volume, action: &'a str, id: &'a Uuid, result: &'a str) -> Event<'a> {
    Event {
        action,
        volume: &volume.header().uuid,
        protector: Some(id),
        result,
    }
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
