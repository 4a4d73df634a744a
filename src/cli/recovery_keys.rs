//! `cryptfs recovery-keys`: what an administrator stores elsewhere.
use super::sheet::{Sheet, SheetArgs};
use super::{Code, Common, Error, Result, message};
use crate::codec::{Json, json, json_text};
use crate::printable::{exact, printable};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::error::date_or_never;
use crate::volume::kept::{Kept, KeptPassword};
use crate::volume::{Keystore, Locked, ProtectorState, Rollback, date, uuid};
use clap::Args;
use std::path::Path;
use std::process::ExitCode;

/// Arguments of `cryptfs recovery-keys`.
#[derive(Args, Clone, Debug)]
pub struct RecoveryKeysArgs {
    /// As JSON
    #[arg(long, visible_alias = "json")]
    pub raw: bool,
    /// Only the password whose ID begins with this, or those of the volume whose ID begins with it
    #[arg(long, value_name = "PREFIX")]
    pub id: Option<String>,
    #[command(flatten)]
    pub sheet: SheetArgs,
}

/// Runs `cryptfs recovery-keys`.
pub fn run(args: &RecoveryKeysArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let log = AuditLog::of(&keystore);
    let mut kept = Vec::new();
    let mut failed = 0;
    for id in keystore.volumes()? {
        let (volumes, errors) = Kept::open_all(&keystore, &id);
        for error in errors {
            failed += usize::from(volumes.is_empty());
            message::warning(format_args!("volume {}: {error}", uuid::text(&id)));
        }
        kept.extend(volumes);
    }
    leave_out_twins(&mut kept);
    let chosen = kept.iter().flat_map(|volume| {
        let passwords = volume.passwords.iter();
        passwords
            .filter(|p| wanted(args, volume, p))
            .map(move |p| (volume, p))
    });
    let chosen: Vec<_> = chosen.collect();
    if args.sheet.file.is_some() && chosen.len() != 1 {
        let message = format!(
            "a sheet has one recovery password, and these are {}",
            chosen.len()
        );
        let hint = "choose one with --id PREFIX";
        return Err(Error::told(Code::Usage, message, hint));
    }
    let mut shown = Vec::new();
    for (kept, password) in chosen {
        let place = kept.path.as_deref().unwrap_or(Path::new("/"));
        args.sheet.check(place)?;
        if password.password.is_some() {
            let event = Event {
                action: "recovery-keys",
                volume: &kept.header.uuid,
                protector: Some(&password.id),
                result: "disclosed",
            };
            log.append_sealed(&kept.audit_key, &event)?;
        }
        shown.push(record(kept, password));
        if !args.raw {
            print(kept, password, shown.len() > 1)?;
        }
        if let Some(digits) = &password.password {
            args.sheet.write(&Sheet {
                volume: kept.path.as_deref().unwrap_or(Path::new("VOLUME")),
                header: &kept.header,
                id: &password.id,
                password: digits,
            })?;
            mark_exported(&keystore, kept, password);
        }
    }
    if args.raw {
        outln!("{}", json_text(&Json::Array(shown)))?;
    } else if shown.is_empty() {
        message::note("no recovery password to show");
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A password of a volume and of its copies is shown once.
fn leave_out_twins(kept: &mut [Kept]) {
    let mut seen = Vec::new();
    for volume in kept {
        volume.passwords.retain(|password| {
            let new = !seen.contains(&password.id);
            seen.push(password.id);
            new
        });
    }
}

fn wanted(args: &RecoveryKeysArgs, kept: &Kept, password: &KeptPassword) -> bool {
    args.id.as_deref().is_none_or(|prefix| {
        uuid::has_prefix(&password.id, prefix) || uuid::has_prefix(&kept.header.uuid, prefix)
    })
}

fn record(kept: &Kept, password: &KeptPassword) -> Json {
    let date = |seconds| match seconds {
        0 => Json::Null,
        _ => date::rfc3339(seconds).into(),
    };
    json!({
        "ComputerName": kept.header.computer,
        "Volume": kept.path.as_ref().map(exact),
        "VolumeId": uuid::text(&kept.header.uuid),
        "Label": kept.header.label,
        "PasswordId": uuid::text(&password.id),
        "RecoveryPassword": password.password.as_ref().map(|p| p.reveal().to_string()),
        "Created": date(password.created),
        "Exported": date(password.exported),
        "LastVerified": date(password.verified),
    })
}

fn print(kept: &Kept, password: &KeptPassword, again: bool) -> Result<()> {
    if again {
        outln!("")?;
    }
    let path = kept
        .path
        .as_ref()
        .map_or("(unknown)".to_owned(), |p| printable(p).to_string());
    outln!("ComputerName      : {}", kept.header.computer)?;
    outln!("Volume            : {path}")?;
    outln!("Label             : {}", kept.header.label)?;
    outln!("PasswordId        : {}", uuid::text(&password.id))?;
    match &password.password {
        Some(password) => outln!("RecoveryPassword  : {}", password.reveal())?,
        None if password.remark.starts_with("split ") => {
            outln!("RecoveryPassword  : (not kept: {} shares)", password.remark)?;
        }
        None => outln!("RecoveryPassword  : (not kept: made with --no-escrow)")?,
    }
    outln!("Created           : {}", date_or_never(password.created))?;
    outln!("Exported          : {}", date_or_never(password.exported))?;
    outln!("LastVerified      : {}", date_or_never(password.verified))
}

/// On the volume itself, where it can be reached. The first time it is delivered to where it is kept; once it has been, every
/// further time is a disclosure, after which it should be replaced.
fn mark_exported(keystore: &Keystore, kept: &Kept, password: &KeptPassword) {
    let Some(path) = &kept.path else {
        return;
    };
    let marked = Locked::open(path)
        .and_then(|locked| locked.unlock_auto(keystore, Rollback::Refuse))
        .and_then(
            |mut volume| match volume.header().uuid == kept.header.uuid {
                true => volume.annotate(Some(keystore), &password.id, |p| {
                    if p.exported != 0 && p.state == ProtectorState::Active {
                        p.state = ProtectorState::RotateDue;
                    }
                    p.exported = date::now();
                }),
                false => Ok(()),
            },
        );
    if let Err(error) = marked {
        let path = printable(path);
        message::warning(format_args!(
            "{path}: the date of this export could not be noted: {error}"
        ));
    }
}
