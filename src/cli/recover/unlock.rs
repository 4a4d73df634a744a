//! Unlocking by hand, and what follows from it.
use super::*;
use crate::printable::printable;
use crate::volume::{Header, Protector};

/// Says what is wanted, asks for it, and unlocks.
pub fn unlock(locked: &Locked, what: &What, keystore: Option<&Keystore>) -> Result<Volume> {
    let header = locked.header();
    message::note(format_args!(
        "volume       {}",
        printable(locked.place().path())
    ));
    if !header.label.is_empty() {
        message::note(format_args!("label        {}", header.label));
    }
    message::note(format_args!(
        "made on      {} ({})",
        header.computer,
        date::rfc3339(header.created)
    ));
    let slots = locked.volumes().into_iter().flat_map(Header::protectors);
    for slot in slots.filter(|p| p.kind == ProtectorKind::RecoveryPassword) {
        let (id, made) = (uuid::text(&slot.id), date_or_never(slot.created));
        message::note(format_args!("password ID  {id} (made {made})"));
    }
    for copy in locked.own_copies().iter().filter(|copy| !copy.is_good()) {
        message::warning(format_args!("header copy {copy}"));
    }
    let unlocked = match what.passphrase {
        true => by_passphrase(locked, what),
        false => by_password(locked, what),
    };
    let result = match &unlocked {
        Ok(_) => "unlocked",
        Err(_) => "refused",
    };
    if let Some(keystore) = keystore {
        let volume = unlocked.as_ref().ok();
        let event = Event {
            action: "recover",
            volume: &header.uuid,
            protector: volume.map(Volume::opened_with),
            result,
        };
        let log = AuditLog::of(keystore);
        let logged = match volume {
            Some(volume) => log.append_sealed(&volume.audit_key(), &event),
            None => log.append(&event),
        };
        // Nothing is disclosed here: who has the password has it. A full or read-only disk does not keep them out.
        if let Err(error) = logged {
            message::warning(error);
        }
    }
    unlocked
}

fn by_passphrase(locked: &Locked, what: &What) -> Result<Volume> {
    let typed = ask::passphrase(what.fd, "passphrase")?;
    Ok(locked.unlock_passphrase(typed.bytes())?)
}

fn by_password(locked: &Locked, what: &What) -> Result<Volume> {
    let password = match what.shares {
        true => ask::shares(what.fd)?,
        false => ask::recovery_password(what.fd)?,
    };
    let mut bar = None;
    let unlocked = locked.unlock_recovery(&password, &mut |_, pairs| {
        let bar = bar.get_or_insert_with(|| {
            message::note("opens nothing as it is; trying it with two groups exchanged");
            Bar::attempts("trying", pairs)
        });
        bar.done(1);
    });
    if let Some(bar) = bar {
        bar.end();
    }
    let (volume, swapped) = unlocked?;
    if swapped == Swapped::Yes {
        message::warning(
            "two groups had to be exchanged: correct the sheet, or the way it is read",
        );
    }
    Ok(volume)
}

/// By the keystore, where it can and nobody said otherwise.
pub fn by_keyfile(locked: &Locked, keystore: Option<&Keystore>, what: &What) -> Option<Volume> {
    if what.fd.is_some() {
        return None;
    }
    locked.unlock_auto(keystore?, Rollback::Accept).ok()
}

/// Notes the drill.
pub fn verify(mut volume: Volume, keystore: Option<&Keystore>) -> Result<ExitCode> {
    let id = *volume.opened_with();
    outln!(
        "password {} opens volume {}",
        uuid::text(&id),
        uuid::text(&volume.header().uuid)
    )?;
    let noted = volume.annotate(keystore, &id, |p| {
        p.verified = date::now();
        if p.state == ProtectorState::Delivered {
            p.state = ProtectorState::Active;
        }
    });
    if let Err(error) = noted {
        message::warning(format_args!(
            "the date of this drill could not be noted: {error}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Who says that a recovery password that was used should be replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Enrolling.
    Told,
    /// The mount that follows: it always does.
    ByMount,
}

/// Lets this computer unlock by itself again.
pub fn enrol(volume: &mut Volume, args: &RecoverArgs, common: &Common, due: Due) -> Result<()> {
    let keystore = common.make_keystore()?;
    let bad: Vec<_> = volume
        .copies()
        .iter()
        .filter(|copy| !copy.is_good())
        .cloned()
        .collect();
    let password = *volume.opened_with();
    let keyfile = volume.enrol(&keystore, args.protect)?;
    let enrolled = Event {
        action: "enrol",
        volume: &volume.header().uuid,
        protector: Some(&keyfile),
        result: "enrolled",
    };
    AuditLog::of(&keystore).append_sealed(&volume.audit_key(), &enrolled)?;
    tell_repaired(&bad)?;
    let path = keystore.keyfile_path(&volume.header().uuid);
    outln!(
        "this computer unlocks the volume by itself again (keyfile {})",
        printable(&path)
    )?;
    message::one_disk(volume, &keystore);
    volume.annotate(Some(&keystore), &password, |p| {
        p.verified = date::now();
        // What a person typed may have been seen; a replacement that is being proven is not used up by that.
        if p.kind == ProtectorKind::RecoveryPassword && p.replaces().is_none() {
            p.state = ProtectorState::RotateDue;
        }
    })?;
    message::unkept(volume);
    let volume = volume.header();
    let used = |p: &Protector| p.id == password && p.state == ProtectorState::RotateDue;
    if due == Due::Told && volume.protectors().any(used) {
        message::hint(format_args!(
            "password {} was used: replace it with cryptfs key rotate {}",
            uuid::short(&password),
            message::typed(&args.what.volume)
        ));
    }
    let others = volume
        .protectors()
        .filter(|p| p.kind == ProtectorKind::Keyfile && p.id != keyfile);
    for other in others {
        message::hint(format_args!(
            "{} still unlocks it too; if the volume has moved here for good: cryptfs key remove {} {}",
            other.description,
            message::typed(&args.what.volume),
            uuid::short(&other.id)
        ));
    }
    Ok(())
}

/// Says which header copies were put right.
pub fn tell_repaired(copies: &[volume::CopyReport]) -> Result<()> {
    for copy in copies {
        outln!("header copy repaired ({copy})")?;
    }
    Ok(())
}
