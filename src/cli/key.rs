//! `cryptfs key`: what opens a volume.
use super::{Common, Result};
use crate::codec::{Json, json, json_text};
use crate::volume::error::{date_or_never, kind_name};
use crate::volume::{Locked, Protector, ProtectorState, date, uuid};
use clap::{Args, Subcommand};
use std::path::PathBuf;
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
}

/// Runs `cryptfs key`.
pub fn run(args: &KeyArgs, _common: &Common) -> Result<ExitCode> {
    let KeyCommand::List { volume, json } = &args.command;
    let locked = Locked::open(volume)?;
    let slots: Vec<_> = locked.header().protectors().collect();
    if *json {
        let slots = slots.into_iter().map(record).collect();
        println!("{}", json_text(&Json::Array(slots)));
        return Ok(ExitCode::SUCCESS);
    }
    for slot in slots {
        println!(
            "{}  {:17}  {:10}  created {}  exported {}  verified {}  {}",
            uuid::text(&slot.id),
            kind_name(slot.kind),
            state_name(slot.state),
            date_or_never(slot.created),
            date_or_never(slot.exported),
            date_or_never(slot.verified),
            slot.description
        );
    }
    Ok(ExitCode::SUCCESS)
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
