//! `cryptfs report`: facts for auditors, volume by volume. Claims no certification.
mod facts;

use super::known::{skipped, subjects};
use super::{Code, Common, Result, message};
use crate::codec::{Json, json, json_text};
use crate::volume::{Keystore, audit, date};
use clap::Args;
use facts::Facts;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// The volumes; without one, all that the keystore knows
    pub volumes: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What the facts do not say by themselves.
const LIMITS: [&str; 4] = [
    "This report states facts. It claims no certification, and cryptfs has none: its ciphers are NIST's, the \
     implementation is not a FIPS 140 validated module.",
    "Automatic unlock alone does not satisfy PCI DSS 4.0.1 requirement 3.5.1.2: encryption at disk or partition level \
     that opens without anyone's doing protects lost media, not data on a running system. Access to mounted data is \
     decided by the operating system.",
    "Where keystore and volume lie on one disk, whoever takes that disk has both.",
    "Modes, owners, times, tree shape and sizes of a directory volume are visible without a key.",
];

/// Runs `cryptfs report`.
pub fn run(args: &ReportArgs, common: &Common) -> Result<ExitCode> {
    let keystore = Keystore::open(common.keystore.as_deref());
    let volumes = subjects(&args.volumes, &keystore)?;
    if let (true, Err(error)) = (volumes.is_empty(), &keystore) {
        message::warning(error); // a report about nothing must not look like a good one
        return Ok(Code::Keystore.into());
    }
    let mut found = Vec::new();
    let mut failed = 0;
    for volume in &volumes {
        match Facts::of(volume, keystore.as_ref().ok()) {
            Ok(facts) => found.push(facts),
            Err(error) => {
                failed += 1;
                skipped(&error);
            }
        }
    }
    match args.json {
        true => outln!("{}", json_text(&record(&found)))?,
        false => print(&found)?,
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn record(found: &[Facts]) -> Json {
    json!({
        "made": date::rfc3339(date::now()),
        "computer": audit::computer(),
        "cryptfs": env!("CARGO_PKG_VERSION"),
        "volumes": found.iter().map(Facts::record).collect::<Json>(),
        "limits": LIMITS,
    })
}

fn print(found: &[Facts]) -> Result<()> {
    outln!("# Encryption at rest: facts\n")?;
    outln!(
        "Made {} on {} by cryptfs {}.\n",
        date::rfc3339(date::now()),
        audit::computer(),
        env!("CARGO_PKG_VERSION")
    )?;
    for facts in found {
        let volume = message::named(&facts.path, &facts.label);
        outln!("## Volume {volume}\n")?;
        outln!("| asked by | question | fact |\n| --- | --- | --- |")?;
        for (by, question, fact) in facts.rows() {
            outln!("| {by} | {question} | {} |", fact.replace('|', "\\|"))?;
        }
        outln!("")?;
    }
    outln!("## What this does not say\n")?;
    for limit in LIMITS {
        outln!("- {limit}")?;
    }
    Ok(())
}
