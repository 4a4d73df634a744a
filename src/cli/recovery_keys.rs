//! `cryptfs recovery-keys`: what an administrator stores elsewhere.
use super::{Common, Result, message};
use crate::codec::{Json, json, json_text};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::error::date_or_never;
use crate::volume::kept::{Kept, KeptPassword};
use crate::volume::{Keystore, Locked, ProtectorState, Rollback, date, uuid};
use clap::Args;
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
}

/// Runs `cryptfs recovery-keys`.
pub fn run(args: &RecoveryKeysArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let log = AuditLog::of(&keystore);
    let mut shown = Vec::new();
    let mut failed = 0;
    for id in keystore.volumes()? {
        let kept = match Kept::open(&keystore, &id) {
            Ok(kept) => kept,
            Err(error) => {
                failed += 1;
                message::warning(format_args!("volume {}: {error}", uuid::text(&id)));
                continue;
            }
        };
        for password in kept.passwords.iter().filter(|p| wanted(args, &kept, p)) {
            if password.password.is_some() {
                let event = Event {
                    action: "recovery-keys",
                    volume: &id,
                    protector: Some(&password.id),
                    result: "disclosed",
                };
                log.append_sealed(&kept.audit_key, &event)?;
            }
            shown.push(record(&kept, password));
            if !args.raw {
                print(&kept, password, shown.len() > 1)?;
            }
            if password.password.is_some() {
                mark_exported(&keystore, &kept, password);
            }
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
        "Volume": kept.path.as_ref().map(|p| p.to_string_lossy()),
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
        .map_or("(unknown)".to_owned(), |p| p.display().to_string());
    outln!("ComputerName      : {}", kept.header.computer)?;
    outln!("Volume            : {path}")?;
    outln!("Label             : {}", kept.header.label)?;
    outln!("PasswordId        : {}", uuid::text(&password.id))?;
    match &password.password {
        Some(password) => outln!("RecoveryPassword  : {}", password.reveal())?,
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
        let path = path.display();
        message::warning(format_args!(
            "{path}: the date of this export could not be noted: {error}"
        ));
    }
}
