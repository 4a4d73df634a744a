//! `cryptfs check`: every header copy, name and byte.
use super::progress::Bar;
use super::{Code, Common, Error, Result, message};
use crate::codec::{Json, json, json_line};
use crate::directory::check::{Finding, Repair, Summary, check};
use crate::fs::FileSystem;
use crate::recover::directory;
use crate::volume::{Access, Kind, Locked, Rollback};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The volume
    pub volume: PathBuf,
    /// Put header copies right, and put aside what has no name; nothing is deleted
    #[arg(long)]
    pub repair: bool,
    /// Report each finding as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `cryptfs check`.
pub fn run(args: &CheckArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let locked = Locked::open(&args.volume)?;
    let access = if args.repair {
        Access::ReadWrite
    } else {
        Access::ReadOnly
    };
    let _lock = locked.place().lock(access)?;
    let mut volume = locked.unlock_auto(&keystore, Rollback::Refuse)?;
    let mut left = 0;
    for copy in volume.copies().iter().filter(|copy| !copy.is_good()) {
        left += 1;
        match args.json {
            true => outln!(
                "{}",
                json_line(&json!({"header_copy": copy.name, "problem": copy.state.to_string()}))
            )?,
            false => outln!("header copy {copy}")?,
        }
    }
    if args.repair {
        left -= volume.repair_copies()?.len() as u64;
        volume.remember(&keystore)?;
    }
    if volume.header().kind != Kind::Directory {
        return Err(Error::told(
            Code::Unsupported,
            "image volumes are not supported yet",
            "",
        ));
    }
    let tree = directory(volume.into_opened()?, !args.repair)?;
    let bar = Bar::bytes("checking");
    let checked = check(&tree, args.repair, &bar, &mut |finding| match args.json {
        true => bar.line(&json_line(&record(finding))),
        false => bar.line(&line(finding)),
    });
    bar.end();
    if args.repair {
        tree.close()?;
    }
    let summary = checked?;
    tell(&summary, args.json)?;
    left += summary.findings - summary.repaired;
    if left == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.repair {
        message::hint(
            "cryptfs check --repair repairs header copies and puts aside what has no name",
        );
    }
    Ok(Code::Damage.into())
}

fn tell(summary: &Summary, as_json: bool) -> Result<()> {
    let Summary {
        directories,
        files,
        bytes,
        findings,
        repaired,
    } = *summary;
    if as_json {
        let line = json!({"directories": directories, "files": files, "bytes": bytes, "findings": findings, "repaired": repaired});
        outln!("{}", json_line(&json!({"summary": line})))
    } else {
        outln!(
            "{directories} directories, {files} files, {bytes} bytes: {findings} findings, {repaired} repaired"
        )
    }
}

fn line(finding: &Finding) -> String {
    let path = super::recover::shown_bytes(&finding.path);
    match finding.repaired {
        None => format!("{path}: {}", finding.problem),
        Some(how) => format!("{path}: {} ({})", finding.problem, repair_name(how)),
    }
}

fn record(finding: &Finding) -> Json {
    json!({
        "path": super::recover::shown_bytes(&finding.path),
        "problem": finding.problem.to_string(),
        "repaired": finding.repaired.map(repair_name),
    })
}

fn repair_name(how: Repair) -> &'static str {
    match how {
        Repair::PutAside => "put aside in .cryptfs/lost+found",
        Repair::Length => "length put right",
    }
}
