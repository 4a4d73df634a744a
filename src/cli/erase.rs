//! `cryptfs erase`: destroy every key protector that this computer can reach.
use super::{Code, Common, Error, Result, ask, message};
use crate::recover::{Search, find};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::erase::erase;
use crate::volume::{Keystore, uuid};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs erase`.
#[derive(Args, Clone, Debug)]
pub struct EraseArgs {
    /// The volume
    pub volume: PathBuf,
    /// Which volume of the keystore it is, by the beginning of its ID, where its own header is lost
    #[arg(long, value_name = "PREFIX")]
    pub id: Option<String>,
    /// Destroy what the keystore keeps of the volume, even though it saw the volume at another place too
    #[arg(long)]
    pub forget: bool,
}

/// Runs `cryptfs erase`. Nothing has to be unlocked for it: who lost the keys may still discard the disk.
pub fn run(args: &EraseArgs, common: &Common) -> Result<ExitCode> {
    let keystore = Keystore::open(common.keystore.as_deref()).ok();
    let search = Search {
        keystore: keystore.as_ref(),
        kit: None,
        id: args.id.as_deref(),
    };
    let locked = find(&args.volume, &search)?;
    let header = locked.header();
    let id = uuid::text(&header.uuid);
    message::warning(format_args!(
        "this destroys every key of volume {} {id}: its content is lost for good",
        message::named(locked.place().path(), &header.label)
    ));
    if let Some(keystore) = &keystore
        && let Some(other) = keystore.elsewhere(&header.uuid, locked.place())
    {
        let other = crate::printable::printable(&other);
        message::warning(match args.forget {
            true => format!(
                "the volume at {other} is the same one: this computer cannot unlock it any more either"
            ),
            false => format!(
                "the volume at {other} is the same one: what the keystore keeps of it stays"
            ),
        });
    }
    let wanted = match header.label.is_empty() {
        true => "type the volume's ID to go on",
        false => "type the volume's label to go on",
    };
    let typed = ask::confirmation(wanted)?;
    if typed.is_empty() || (typed != header.label && !typed.eq_ignore_ascii_case(&id)) {
        let message = "that is neither the volume's label nor its ID: nothing was destroyed";
        return Err(Error::told(Code::Usage, message, ""));
    }
    log(keystore.as_ref(), &header.uuid, "begun")?;
    let erased = erase(locked.place(), &header.uuid, keystore.as_ref(), args.forget)?;
    log(keystore.as_ref(), &header.uuid, "destroyed")?;
    for name in &erased.copies {
        outln!("destroyed: header copy {name}")?;
    }
    for name in &erased.kept {
        outln!("destroyed: keystore's {name}")?;
    }
    if let Some(why) = &erased.left {
        message::warning(format_args!(
            "the keyfile in the Secret Service is still there: {why}"
        ));
        message::hint(format_args!(
            "in the desktop's session: secret-tool clear application cryptfs volume {id}"
        ));
    }
    match &erased.spared_for {
        None => outln!("volume {id} can no longer be opened from what is on this computer")?,
        Some(other) => {
            let path = message::typed(locked.place().path());
            outln!(
                "kept: the keystore's keyfile and headers, for the same volume at {}",
                crate::printable::printable(other)
            )?;
            message::hint(format_args!(
                "to destroy those too: cryptfs erase --forget --id {id} {path}"
            ));
        }
    }
    for beyond in [
        "destroy what is elsewhere: recovery kits, header backups, other computers' keystores, backups of any of them; \
         a header kept there still opens with a recovery password, so destroy the sheets too",
        "blocks that the disk has freed or remapped may hold older header copies until they are overwritten: for NIST \
         SP 800-88 use the disk's own sanitize command as well",
    ] {
        message::hint(beyond);
    }
    Ok(ExitCode::SUCCESS)
}

fn log(keystore: Option<&Keystore>, volume: &[u8; 16], result: &str) -> Result<()> {
    let Some(keystore) = keystore else {
        return Ok(());
    };
    Ok(AuditLog::of(keystore).append(&Event {
        action: "erase",
        volume,
        protector: None,
        result,
    })?)
}
