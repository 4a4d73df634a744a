//! `cryptfs check`: every header copy, name and byte.
use super::progress::{Bar, Scaled};
use super::recover::shown_bytes;
use super::{Code, Common, Result, message};
use crate::codec::{Json, json, json_line};
use crate::directory::{self, check::Repair};
use crate::fs::FileSystem;
use crate::image::{self, OpenError};
use crate::recover::{self, How};
use crate::volume::{
    self, Access, CopyReport, Keystore, Kind, Locked, Opened, Rollback, Volume, Witness,
};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The volume
    pub volume: PathBuf,
    /// Put right what follows from the rest, and put aside what has no name; nothing is deleted
    #[arg(long)]
    pub repair: bool,
    /// Report each finding as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it: fsck(8)'s exit codes. Those from 10 on are every command's.
#[derive(Clone, Copy)]
enum Answer {
    Good,
    PutRight,
    Damaged,
    NotChecked,
}

impl Answer {
    fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::PutRight => 1,
            Self::Damaged => 4,
            Self::NotChecked => 8,
        }
    }
}

/// Runs `cryptfs check`.
pub fn run(args: &CheckArgs, common: &Common) -> Result<ExitCode> {
    let answer = check(args, common).or_else(|error| {
        let answer = match error.code() {
            Code::Damage => Answer::Damaged,
            Code::Failure => Answer::NotChecked,
            _ => return Err(error),
        };
        message::error(&error);
        Ok(answer)
    });
    Ok(answer?.code().into())
}

fn check(args: &CheckArgs, common: &Common) -> Result<Answer> {
    let keystore = common.keystore()?;
    let locked = Locked::open(&args.volume)?;
    let access = if args.repair {
        Access::ReadWrite
    } else {
        Access::ReadOnly
    };
    let _lock = locked.place().lock(access)?;
    let unlock = |rollback| locked.unlock_proven(&keystore, rollback, &recover::belongs);
    let mut volume = match unlock(Rollback::Refuse) {
        // One that was put back from a backup may be looked at.
        Err(error @ (volume::Error::RolledBack { .. } | volume::Error::Diverged(_)))
            if !args.repair =>
        {
            message::warning(error);
            unlock(Rollback::Accept)?
        }
        unlocked => unlocked?,
    };
    let mut bad = volume.copies().to_vec();
    bad.retain(|copy| !copy.is_good());
    if args.repair {
        volume.must_be_writable()?;
        recover::prove_size(&mut volume)?;
    }
    let repaired = match args.repair {
        true => volume.repair_copies(),
        false => Ok(Vec::new()),
    };
    for copy in &bad {
        let is_it = |one: &CopyReport| one.name == copy.name;
        let fixed = repaired.as_ref().is_ok_and(|done| done.iter().any(is_it));
        match (args.json, fixed.then_some("put right")) {
            (true, fixed) => outln!(
                "{}",
                json_line(
                    &json!({"header_copy": copy.name, "problem": copy.state.to_string(), "repaired": fixed})
                )
            )?,
            (false, Some(how)) => outln!("header copy {copy} ({how})")?,
            (false, None) => outln!("header copy {copy}")?,
        }
    }
    let repaired = repaired?.len() as u64;
    if args.repair {
        volume.remember(&keystore)?;
    }
    let bar = Bar::bytes("checking");
    let mut tell = |found: Found| match args.json {
        true => bar.line(&json_line(&found.record())),
        false => bar.line(&found.line()),
    };
    let checked = match volume.header().kind {
        Kind::Directory => directory(volume.into_opened()?, args.repair, &bar, &mut tell),
        Kind::Image => image(&volume, args, &keystore, &bar, &mut tell),
    };
    bar.end();
    let summary = checked?;
    summary.print(args.json)?;
    let found = summary.findings + bad.len() as u64;
    let left = found - summary.repaired - repaired;
    Ok(match (found, left) {
        (0, _) => Answer::Good,
        (_, 0) => Answer::PutRight,
        _ => {
            message::hint(match args.repair {
                false => {
                    "cryptfs check --repair puts right what follows from the rest; nothing is deleted"
                }
                true => {
                    "put what is left back from a backup; cryptfs recover --salvage DEST copies out what can be read"
                }
            });
            Answer::Damaged
        }
    })
}

fn directory(
    opened: Opened,
    repair: bool,
    bar: &Bar,
    tell: &mut dyn FnMut(Found),
) -> Result<Summary> {
    let tree = recover::directory(opened, !repair)?;
    let summary = directory::check::check(&tree, repair, bar, &mut |finding| {
        tell(Found {
            path: finding.path.clone(),
            problem: finding.problem.to_string(),
            repaired: finding.repaired.map(repair_name),
        });
    });
    if repair {
        tree.close()?;
    }
    let summary = summary?;
    Ok(Summary {
        directories: summary.directories,
        files: summary.files,
        bytes: summary.bytes,
        findings: summary.findings,
        repaired: summary.repaired,
    })
}

fn image(
    volume: &Volume,
    args: &CheckArgs,
    keystore: &Keystore,
    bar: &Bar,
    tell: &mut dyn FnMut(Found),
) -> Result<Summary> {
    const PAGE: u64 = image::layout::PAGE as u64;
    let mut witness = Witness::of(&volume.share()?, keystore);
    let how = How {
        read_only: !args.repair,
        generation: witness.generation(),
        accept_broken_log: true,
        ..How::default()
    };
    let image = match recover::image(volume.share()?, &how) {
        // A backup may be looked at.
        Err(recover::Error::Image(error @ OpenError::RolledBack { .. })) if !args.repair => {
            message::warning(error);
            let how = How {
                accept_rollback: true,
                ..how
            };
            recover::image(volume.share()?, &how)?
        }
        opened => opened?,
    };
    let bytes = Scaled(bar, PAGE);
    let summary = image::check(&image, args.repair, &bytes, &mut |finding| {
        tell(Found {
            path: finding.path.clone(),
            problem: finding.problem.to_string(),
            repaired: finding.repaired.then_some("put right"),
        });
    });
    if args.repair {
        image.close()?;
        witness.saw(image.generation(), keystore)?;
    }
    let summary = summary?;
    Ok(Summary {
        directories: summary.directories,
        files: summary.files,
        bytes: (summary.nodes + summary.pages) * PAGE,
        findings: summary.findings,
        repaired: summary.repaired,
    })
}

/// Something that is not as it should be, in either kind of volume.
struct Found {
    path: Vec<u8>,
    problem: String,
    repaired: Option<&'static str>,
}

impl Found {
    fn line(&self) -> String {
        let path = match &self.path[..] {
            b"" => "volume".to_owned(),
            path => shown_bytes(path),
        };
        match self.repaired {
            None => format!("{path}: {}", self.problem),
            Some(how) => format!("{path}: {} ({how})", self.problem),
        }
    }

    fn record(&self) -> Json {
        json!({"path": shown_bytes(&self.path), "problem": self.problem, "repaired": self.repaired})
    }
}

/// How much was checked.
struct Summary {
    directories: u64,
    files: u64,
    bytes: u64,
    findings: u64,
    repaired: u64,
}

impl Summary {
    fn print(&self, as_json: bool) -> Result<()> {
        let Self {
            directories,
            files,
            bytes,
            findings,
            repaired,
        } = self;
        if as_json {
            let line = json!({"directories": directories, "files": files, "bytes": bytes, "findings": findings, "repaired": repaired});
            outln!("{}", json_line(&json!({"summary": line})))
        } else {
            outln!(
                "{directories} directories, {files} files, {bytes} bytes: {findings} findings, {repaired} repaired"
            )
        }
    }
}

fn repair_name(how: Repair) -> &'static str {
    match how {
        Repair::PutAside => "put aside in .cryptfs/lost+found",
        Repair::Length => "length put right",
    }
}
