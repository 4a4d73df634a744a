//! `cryptfs doctor`: the steps of unlocking without anyone typing, one by one.
use super::{Common, Error, Result};
use crate::volume::error::kind_name;
use crate::volume::{Keystore, Locked, Protector, ProtectorKind, Rollback, uuid};
use clap::Args;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The volume
    pub volume: PathBuf,
}

/// Runs `cryptfs doctor`: exit code 0 if every step holds.
pub fn run(args: &DoctorArgs, common: &Common) -> Result<ExitCode> {
    let locked = step("header", Locked::open(&args.volume), |locked| {
        let copies = locked.copies();
        let good = copies.iter().filter(|copy| copy.is_good()).count();
        format!("{good} of {} copies good", copies.len())
    });
    let keystore = Keystore::open(common.keystore.as_deref());
    let keystore = step("keystore", keystore, |keystore| {
        keystore.path().display().to_string()
    });
    let (Some(locked), Some(keystore)) = (locked, keystore) else {
        return Ok(ExitCode::FAILURE);
    };
    let header = locked.header();
    let keyfiles = step("keyfile", keystore.keyfiles(&header.uuid), |_| {
        keystore.keyfile_path(&header.uuid).display().to_string()
    });
    let Some(keyfiles) = keyfiles else {
        return Ok(ExitCode::FAILURE);
    };
    let keyfile = |p: &&Protector| p.kind == ProtectorKind::Keyfile;
    let slots: Vec<_> = header.protectors().filter(keyfile).collect();
    match slots
        .iter()
        .find(|slot| keyfiles.iter().any(|k| k.slot == slot.id))
    {
        Some(slot) => told(
            "ok",
            "protector",
            format_args!("{} {}", uuid::short(&slot.id), slot.description),
        ),
        None => {
            let others: Vec<_> = slots
                .iter()
                .map(|s| format!("{} {}", uuid::short(&s.id), s.description))
                .collect();
            let kind = kind_name(ProtectorKind::Keyfile);
            told(
                "failed",
                "protector",
                format_args!("the header has other {kind}s: {}", others.join(", ")),
            );
        }
    }
    let unlocked = locked.unlock_auto(&keystore, Rollback::Refuse);
    let unlocked = step("unlock", unlocked, |volume| {
        format!("header number {}", volume.header().sequence)
    });
    Ok(if unlocked.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn step<T>(
    name: &str,
    result: crate::volume::Result<T>,
    good: impl FnOnce(&T) -> String,
) -> Option<T> {
    match result {
        Ok(value) => {
            told("ok", name, good(&value));
            Some(value)
        }
        Err(error) => {
            let error = Error::from(error);
            told("failed", name, &error);
            if let Some(hint) = error.hint() {
                println!("                  {hint}");
            }
            None
        }
    }
}

fn told(mark: &str, name: &str, text: impl Display) {
    println!("{mark:6}  {name:9} {text}");
}
