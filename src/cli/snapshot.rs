//! `cryptfs snapshot`: states of an image that are kept.
use super::keeper;
use super::recover::shown_bytes;
use super::{Code, Common, Error, Result, message};
use crate::codec::{Json, json, json_text};
use crate::image::snapshot::Snapshot;
use crate::printable::printable;
use crate::volume::{Locked, date};
use clap::{Args, Subcommand};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cryptfs snapshot`.
#[derive(Args, Clone, Debug)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum SnapshotCommand {
    /// Keep what an image holds now; it may be mounted
    Create {
        /// The image
        volume: PathBuf,
        /// The snapshot's name
        name: OsString,
    },
    /// Show the snapshots of an image, the oldest first
    List {
        /// The image
        volume: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give up a snapshot, and what only it holds
    Delete {
        /// The image
        volume: PathBuf,
        /// The snapshot's name
        name: OsString,
    },
}

/// Runs `cryptfs snapshot`.
pub fn run(args: &SnapshotArgs, common: &Common) -> Result<ExitCode> {
    match &args.command {
        SnapshotCommand::Create { volume, name } => create(volume, name, common),
        SnapshotCommand::List { volume, json } => list(volume, *json, common),
        SnapshotCommand::Delete { volume, name } => delete(volume, name, common),
    }
}

fn create(path: &Path, name: &OsStr, common: &Common) -> Result<ExitCode> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 255 || bytes[0] == b'.' || bytes.contains(&b'/') {
        return Err(Error::told(
            Code::Usage,
            "a snapshot's name has 1 to 255 bytes, no slash, and begins with no dot",
            "choose another name",
        ));
    }
    let keystore = common.keystore()?;
    let kept = keeper::open(path, &keystore)?;
    kept.keeper.create_snapshot(name)?;
    kept.keeper.close(&keystore)?;
    message::hint(format_args!(
        "look at it with cryptfs mount -o snapshot={} {} MOUNTPOINT",
        printable(name),
        printable(path)
    ));
    Ok(ExitCode::SUCCESS)
}

fn delete(path: &Path, name: &OsStr, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let kept = keeper::open(path, &keystore)?;
    kept.keeper.delete_snapshot(name)?;
    kept.keeper.close(&keystore)?;
    Ok(ExitCode::SUCCESS)
}

fn list(path: &Path, as_json: bool, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let volume = keeper::unlock(&Locked::open(path)?, &keystore)?;
    let snapshots = keeper::look(&volume)?.snapshots()?;
    if as_json {
        let records = snapshots.iter().map(record);
        outln!("{}", json_text(&records.collect::<Json>()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for one in &snapshots {
        let (created, name) = (made(one), shown_bytes(&one.name));
        outln!("{created}  {:>12}  {name}", one.generation)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn made(one: &Snapshot) -> String {
    date::rfc3339(u64::try_from(one.created.sec).unwrap_or(0))
}

fn record(one: &Snapshot) -> Json {
    json!({"name": shown_bytes(&one.name), "created": made(one), "generation": one.generation})
}
