//! `cryptfs audit`: what the audit log proves, and what it does not.
use super::{Code, Common, Error, Result, message};
use crate::codec::{json, json_text};
use crate::crypto::secret::Secret;
use crate::printable::{exact, printable};
use crate::volume::audit::{AuditLog, Verified};
use crate::volume::kept::Kept;
use crate::volume::keys::Uuid;
use clap::{Args, Subcommand};
use std::collections::HashMap;
use std::process::ExitCode;

/// Arguments of `cryptfs audit`.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum AuditCommand {
    /// Check that no line was changed, taken out or put in
    Verify {
        /// The SHA-256 of a last line that was noted earlier: proves that the log still has it
        #[arg(long, value_name = "SHA256")]
        expect: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs `cryptfs audit`.
pub fn run(args: &AuditArgs, common: &Common) -> Result<ExitCode> {
    let AuditCommand::Verify { expect, json } = &args.command;
    let keystore = common.keystore()?;
    let log = AuditLog::of(&keystore);
    let mut keys: HashMap<Uuid, Option<Kept>> = HashMap::new();
    let mut key = |volume: &Uuid| -> Option<Secret<32>> {
        let kept = keys
            .entry(*volume)
            .or_insert_with(|| Kept::open(&keystore, volume).ok());
        let key = &kept.as_ref()?.audit_key;
        Some(Secret::fill_with(|copy| copy.copy_from_slice(key.expose())))
    };
    let expect = expect.as_ref().map(|sum| sum.to_ascii_lowercase());
    let found = log
        .verify(&mut key, expect.as_deref())
        .map_err(Error::io(log.path()))?;
    let missing = expect.is_some() && found.expected.is_none();
    if *json {
        outln!("{}", json_text(&record(&log, &found)))?;
    } else {
        print(&log, &found)?;
    }
    if missing {
        message::warning("no line has the expected SHA-256: the log was cut or written anew");
    }
    match found.is_good() && !missing {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(Code::Damage.into()),
    }
}

fn record(log: &AuditLog, found: &Verified) -> crate::codec::Json {
    json!({
        "log": exact(log.path()),
        "good": found.is_good(),
        "lines": found.lines,
        "broken_at": found.broken,
        "sealed": found.sealed,
        "forged": found.forged,
        "sealed_by_unknown_volumes": found.unknown,
        "not_sealed": found.open,
        "expected_line": found.expected,
        "last": found.last,
    })
}

fn print(log: &AuditLog, found: &Verified) -> Result<()> {
    outln!("Log:                {}", printable(log.path()))?;
    match found.broken {
        None => outln!(
            "Chain:              {} lines, each follows the one before it",
            found.lines
        )?,
        Some(line) => outln!(
            "Chain:              broken at line {line} of {}",
            found.lines
        )?,
    }
    outln!(
        "Sealed:             {} lines have the right MAC of their volume",
        found.sealed
    )?;
    if !found.forged.is_empty() {
        outln!(
            "Forged:             lines {:?} have a wrong MAC, or none where they need one",
            found.forged
        )?;
    }
    outln!(
        "Sealed, no key:     {} lines of volumes that do not unlock here",
        found.unknown
    )?;
    outln!(
        "Not sealed:         {} lines, written while their volume was locked",
        found.open
    )?;
    if let Some(line) = found.expected {
        outln!("Expected:           line {line}; all up to it is as it was")?;
    }
    outln!("Last line:          {}", found.last)?;
    message::note(
        "the chain shows lines changed, taken out or put in between; the MAC shows who wrote a sealed line: someone who \
         could open its volume",
    );
    message::note(
        "neither shows lines cut off at the end, unless the last line's SHA-256 was noted elsewhere (--expect); nor does \
         either hold against root on this computer, who can open the volumes",
    );
    Ok(())
}
