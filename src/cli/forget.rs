//! `cryptfs forget`: remove what the keystore keeps of a volume that is gone.
use super::known::Subject;
use super::{Code, Common, Error, Result, ask, message};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::keys::Uuid;
use crate::volume::{Header, Keystore, ProtectorKind, uuid};
use clap::Args;
use std::process::ExitCode;

/// Arguments of `cryptfs forget`.
#[derive(Args, Clone, Debug)]
pub struct ForgetArgs {
    /// The volume's ID, or its beginning, as `cryptfs status` shows it
    #[arg(value_name = "VOLUME_ID")]
    pub id: String,
}

/// Runs `cryptfs forget`.
///
/// The volume's disk may only be away, and its keyfile lies in the keystore alone: so the volume
/// must not be where it was last seen, somebody must have its recovery password, and the person
/// types the ID to confirm.
pub fn run(args: &ForgetArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let volume = find(&keystore, &args.id)?;
    let id = uuid::text(&volume);
    let is_there = |path| Subject::Known(volume, Some(path)).open().is_ok();
    if keystore.present(&volume).into_iter().any(is_there) {
        return Err(Error::told(
            Code::Place,
            format!("volume {id} is still there"),
            "to destroy it, use cryptfs erase VOLUME; to stop it from unlocking by itself, remove \
             this computer's keyfile with cryptfs key remove",
        ));
    }
    let log = AuditLog::of(&keystore);
    if !is_exported(&keystore, &volume) && !log.was_disclosed(&volume) {
        return Err(Error::told(
            Code::Place,
            format!("nobody was ever shown a recovery password of volume {id}"),
            &format!(
                "write it down first, with cryptfs recovery-keys --id {}",
                uuid::short(&volume)
            ),
        ));
    }
    message::warning(format_args!(
        "this computer will no longer unlock volume {id} by itself, and keeps no copy of its header"
    ));
    let typed = ask::confirmation("type the volume's ID to go on")?;
    if !typed.eq_ignore_ascii_case(&id) {
        let message = "that is not the volume's ID: nothing was removed";
        return Err(Error::told(Code::Usage, message, ""));
    }
    log.append(&Event {
        action: "forget",
        volume: &volume,
        protector: None,
        result: "forgotten",
    })?;
    keystore.forget(&volume)?;
    outln!("volume {id} is forgotten")?;
    Ok(ExitCode::SUCCESS)
}

/// Finds the one volume whose ID begins with `prefix`.
fn find(keystore: &Keystore, prefix: &str) -> Result<Uuid> {
    let prefix = prefix.to_ascii_lowercase();
    let mut found = keystore.volumes()?;
    found.retain(|id| !prefix.is_empty() && uuid::text(id).starts_with(&prefix));
    match found[..] {
        [id] => Ok(id),
        _ => Err(Error::told(
            Code::Usage,
            format!("the keystore knows {} volumes with that ID", found.len()),
            "cryptfs status shows the IDs",
        )),
    }
}

/// Returns true if the kept header says that a recovery password was shown. Without any kept header
/// nothing is lost by forgetting the volume.
fn is_exported(keystore: &Keystore, volume: &Uuid) -> bool {
    let headers = keystore.headers(volume);
    let Some(header) = headers.iter().find_map(|bytes| Header::decode(bytes).ok()) else {
        return true;
    };
    let mut protectors = header.protectors();
    protectors.any(|p| p.kind == ProtectorKind::RecoveryPassword && p.exported != 0)
}
