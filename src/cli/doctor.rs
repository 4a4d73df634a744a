//! `cryptfs doctor`: the steps of unlocking without anyone typing, one by one.
use super::{Common, Error, Result, owners, rehearsal};
use crate::printable::printable;
use crate::volume::keystore::Protection;
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

/// Runs `cryptfs doctor`: exit code 0 if every step of a mount holds.
pub fn run(args: &DoctorArgs, common: &Common) -> Result<ExitCode> {
    let device = device()?;
    let volume = volume(args, common)?;
    Ok(match device && volume {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[cfg(feature = "fuse")]
fn device() -> Result<bool> {
    let found = step("fuse", rehearsal::fuse(), |()| {
        "this user can mount".to_owned()
    })?;
    Ok(found.is_some())
}

#[cfg(not(feature = "fuse"))]
fn device() -> Result<bool> {
    told("failed", "fuse", "this cryptfs was built without FUSE")?;
    Ok(false)
}

fn volume(args: &DoctorArgs, common: &Common) -> Result<bool> {
    let locked = step("header", Locked::open(&args.volume), |locked| {
        let copies = locked.copies();
        let good = copies.iter().filter(|copy| copy.is_good()).count();
        format!("{good} of {} copies good", copies.len())
    })?;
    let keystore = Keystore::open(common.keystore.as_deref());
    let keystore = step("keystore", keystore, |keystore| {
        printable(keystore.path()).to_string()
    })?;
    let whose = locked.as_ref().map(|locked| {
        let place = locked.place();
        owners::locked_out(place, keystore.as_ref())
    });
    if let Some(Err(command)) = &whose {
        told(
            "failed",
            "owners",
            "files that root has left behind keep their owner out",
        )?;
        outln!("                  {command}")?;
    }
    match (locked, keystore) {
        _ if matches!(whose, Some(Err(_))) => Ok(false),
        (Some(locked), Some(keystore)) => unlock(&locked, &keystore),
        _ => Ok(false),
    }
}

fn unlock(locked: &Locked, keystore: &Keystore) -> Result<bool> {
    let header = locked.header();
    let path = keystore.keyfile_path(&header.uuid);
    let keyfiles = step("keyfile", keystore.keyfiles(&header.uuid), |_| {
        printable(&path).to_string()
    })?;
    rungs(keystore.protection(&header.uuid), keyfiles.is_some())?;
    let Some(keyfiles) = keyfiles else {
        return Ok(false);
    };
    let keyfile = |p: &&Protector| p.kind == ProtectorKind::Keyfile;
    let slots: Vec<_> = header.protectors().filter(keyfile).collect();
    let named = |slot: &Protector| format!("{} {}", uuid::short(&slot.id), slot.description);
    let mine = |slot: &&&Protector| keyfiles.iter().any(|k| k.slot == slot.id);
    match slots.iter().find(mine) {
        Some(slot) => told("ok", "protector", named(slot))?,
        None => {
            let others: Vec<_> = slots.iter().map(|slot| named(slot)).collect();
            let text = format!("the header has other keyfiles: {}", others.join(", "));
            told("failed", "protector", text)?;
        }
    }
    let unlocked = locked.unlock_auto(keystore, Rollback::Refuse);
    let unlocked = step("unlock", unlocked, |volume| {
        format!("header number {}", volume.header().sequence)
    })?;
    let Some(volume) = unlocked else {
        return Ok(false);
    };
    let opened = rehearsal::open_file_system(&volume, keystore);
    let opened = step("contents", opened, |()| match volume.place().is_mounted() {
        true => "mounted now".to_owned(),
        false => "the file system opens".to_owned(),
    })?;
    Ok(opened.is_some())
}

/// How the keyfile is kept, and how else it could be.
fn rungs(used: Option<Protection>, opened: bool) -> Result<()> {
    for form in Protection::ALL {
        let (name, what) = (form.name(), form.explained());
        let mark = match (used == Some(form), form) {
            (false, _) => continue,
            (true, _) if !opened => "failed",
            (true, Protection::File) => "note",
            (true, _) => "ok",
        };
        told(mark, "kept as", format_args!("{name}: {what}"))?;
    }
    let command = match opened {
        true => "key rotate --keyfile",
        false => "recover",
    };
    for form in Protection::ALL
        .into_iter()
        .filter(|form| used != Some(*form))
    {
        let (name, what) = (form.name(), form.explained());
        match form.missing() {
            None => told(
                "note",
                "or as",
                format_args!("{name}: {what}; cryptfs {command} --protect {name} VOLUME"),
            )?,
            Some(why) => told("note", "not as", format_args!("{name}: {why}"))?,
        }
    }
    Ok(())
}

fn step<T>(
    name: &str,
    result: Result<T, impl Into<Error>>,
    good: impl FnOnce(&T) -> String,
) -> Result<Option<T>> {
    match result {
        Ok(value) => {
            told("ok", name, good(&value))?;
            Ok(Some(value))
        }
        Err(error) => {
            let error = error.into();
            told("failed", name, &error)?;
            if let Some(hint) = error.hint() {
                outln!("                  {hint}")?;
            }
            Ok(None)
        }
    }
}

fn told(mark: &str, name: &str, text: impl Display) -> Result<()> {
    outln!("{mark:6}  {name:9} {text}")
}
