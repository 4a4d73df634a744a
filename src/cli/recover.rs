//! `cryptfs recover`: unlock by hand. And the same in `cryptfs-recover`, for a rescue system.
use super::progress::Bar;
use super::{Code, Common, Error, Result, ask, message, mount};
use crate::codec::{Json, json, json_line};
use crate::fs::Progress;
use crate::recover::{Outcome, Search, Summary, Verdict, belongs, copy_out, file_system, find};
use crate::volume::audit::{AuditLog, Event};
use crate::volume::error::date_or_never;
use crate::volume::{
    self, Access, Keystore, Locked, ProtectorKind, ProtectorState, Rollback, Swapped, Volume, date,
    uuid,
};
use clap::Args;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cryptfs recover`.
#[derive(Args, Clone, Debug)]
pub struct RecoverArgs {
    #[command(flatten)]
    what: What,
    /// Mount it here afterwards
    #[arg(conflicts_with_all = ["verify", "salvage"])]
    pub mountpoint: Option<PathBuf>,
    /// Mount options, separated by commas
    #[arg(
        short = 'o',
        long = "options",
        value_name = "OPTIONS",
        requires = "mountpoint"
    )]
    pub options: Vec<std::ffi::OsString>,
}

/// Arguments of `cryptfs-recover`.
#[derive(Args, Clone, Debug)]
pub struct RescueArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Args, Clone, Debug)]
struct What {
    /// The volume
    volume: PathBuf,
    /// Only prove that the recovery password opens it; notes the date and changes nothing else
    #[arg(long, conflicts_with = "salvage")]
    verify: bool,
    /// Copy out all that still decrypts, without FUSE; the volume is not written to
    #[arg(long, value_name = "DEST")]
    salvage: Option<PathBuf>,
    /// Go on with an earlier salvage into the same destination
    #[arg(long, requires = "salvage")]
    resume: bool,
    /// Report each file as a line of JSON
    #[arg(long, requires = "salvage")]
    json: bool,
    /// A recovery kit or a header backup, where the volume's own header is lost
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
    /// Which volume of the keystore it is, by the beginning of its ID, where the volume's own header is lost
    #[arg(long, value_name = "PREFIX")]
    id: Option<String>,
    /// Read the recovery password from this file descriptor
    #[arg(long, value_name = "N")]
    fd: Option<u32>,
}

/// Runs `cryptfs recover`.
pub fn run(args: &RecoverArgs, common: &Common) -> Result<ExitCode> {
    let keystore = existing_keystore(common)?;
    let what = &args.what;
    let locked = open(what, keystore.as_ref())?;
    if let Some(to) = &what.salvage {
        let volume = by_keyfile(&locked, keystore.as_ref(), what);
        let volume = volume.map_or_else(|| unlock(&locked, what, keystore.as_ref()), Ok)?;
        return salvage(volume, to, what);
    }
    let volume = unlock(&locked, what, keystore.as_ref())?;
    must_belong(&volume)?;
    if what.verify {
        return verify(volume, keystore.as_ref());
    }
    enrol(volume, common)?;
    match &args.mountpoint {
        None => Ok(ExitCode::SUCCESS),
        Some(mountpoint) => {
            let args = mount::MountArgs {
                volume: what.volume.clone(),
                mountpoint: mountpoint.clone(),
                options: args.options.clone(),
                foreground: false,
                log: None,
                accept_rollback: false,
            };
            mount::run(&args, common)
        }
    }
}

/// Runs `cryptfs-recover`: it leaves no keyfile on the rescue system.
pub fn rescue(args: &RescueArgs, common: &Common) -> Result<ExitCode> {
    let keystore = existing_keystore(common)?;
    let what = &args.what;
    let locked = open(what, keystore.as_ref())?;
    let mut volume = unlock(&locked, what, None)?;
    if let Some(to) = &what.salvage {
        return salvage(volume, to, what);
    }
    must_belong(&volume)?;
    if what.verify {
        return verify(volume, None);
    }
    tell_repaired(&volume.repair_copies()?)?;
    message::hint("copy everything out with --salvage DEST, or mount it on a system with cryptfs");
    Ok(ExitCode::SUCCESS)
}

/// A header from elsewhere is written only where it opens what lies there.
pub fn must_belong(volume: &Volume) -> Result<()> {
    if belongs(volume)? {
        return Ok(());
    }
    let (id, path) = (uuid::text(&volume.header().uuid), volume.place().path());
    Err(Error::told(
        Code::Header,
        format!(
            "the saved header is of volume {id}: it opens no name in {}",
            path.display()
        ),
        "find the kit of this volume; where its names are damaged, cryptfs recover --salvage DEST copies out what there is",
    ))
}

/// A missing keystore is why people are here.
fn existing_keystore(common: &Common) -> Result<Option<Keystore>> {
    match Keystore::open(common.keystore.as_deref()) {
        Ok(keystore) => Ok(Some(keystore)),
        Err(volume::Error::KeystoreMissing(_) | volume::Error::KeystoreUnknown) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open(what: &What, keystore: Option<&Keystore>) -> Result<Locked> {
    let kit = match &what.kit {
        None => None,
        Some(path) => Some((path.display().to_string(), super::kit::read(path)?)),
    };
    let search = Search {
        keystore,
        kit,
        id: what.id.as_deref(),
    };
    Ok(find(&what.volume, &search)?)
}

/// Says what is wanted, asks for it, and unlocks.
fn unlock(locked: &Locked, what: &What, keystore: Option<&Keystore>) -> Result<Volume> {
    let header = locked.header();
    message::note(format_args!(
        "volume       {}",
        locked.place().path().display()
    ));
    if !header.label.is_empty() {
        message::note(format_args!("label        {}", header.label));
    }
    message::note(format_args!(
        "made on      {} ({})",
        header.computer,
        date::rfc3339(header.created)
    ));
    for slot in header
        .protectors()
        .filter(|p| p.kind == ProtectorKind::RecoveryPassword)
    {
        let (id, made) = (uuid::text(&slot.id), date_or_never(slot.created));
        message::note(format_args!("password ID  {id} (made {made})"));
    }
    for copy in locked.own_copies().iter().filter(|copy| !copy.is_good()) {
        message::warning(format_args!("header copy {copy}"));
    }
    let password = ask::recovery_password(what.fd)?;
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
    let result = match &unlocked {
        Ok(_) => "unlocked",
        Err(_) => "refused",
    };
    if let Some(keystore) = keystore {
        let protector = unlocked
            .as_ref()
            .ok()
            .map(|(volume, _)| volume.opened_with());
        AuditLog::of(keystore).append(&Event {
            action: "recover",
            volume: &header.uuid,
            protector,
            result,
        })?;
    }
    let (volume, swapped) = unlocked?;
    if swapped == Swapped::Yes {
        message::warning(
            "two groups had to be exchanged: correct the sheet, or the way it is read",
        );
    }
    Ok(volume)
}

fn by_keyfile(locked: &Locked, keystore: Option<&Keystore>, what: &What) -> Option<Volume> {
    if what.fd.is_some() {
        return None;
    }
    locked.unlock_auto(keystore?, Rollback::Accept).ok()
}

fn verify(mut volume: Volume, keystore: Option<&Keystore>) -> Result<ExitCode> {
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

/// Lets this computer unlock by itself again.
fn enrol(mut volume: Volume, common: &Common) -> Result<()> {
    let keystore = common.make_keystore()?;
    let bad: Vec<_> = volume
        .copies()
        .iter()
        .filter(|copy| !copy.is_good())
        .cloned()
        .collect();
    let password = *volume.opened_with();
    let keyfile = volume.enrol(&keystore)?;
    AuditLog::of(&keystore).append(&Event {
        action: "enrol",
        volume: &volume.header().uuid,
        protector: Some(&keyfile),
        result: "enrolled",
    })?;
    tell_repaired(&bad)?;
    let path = keystore.keyfile_path(&volume.header().uuid);
    outln!(
        "this computer unlocks the volume by itself again (keyfile {})",
        path.display()
    )?;
    volume.annotate(Some(&keystore), &password, |p| {
        p.verified = date::now();
        p.state = ProtectorState::RotateDue;
    })?;
    let id = uuid::short(&password);
    message::hint(format_args!(
        "password {id} was used: add a new one with cryptfs key add VOLUME, prove it with cryptfs recover --verify VOLUME, \
         then remove the old one with cryptfs key remove VOLUME {id}"
    ));
    Ok(())
}

fn tell_repaired(copies: &[volume::CopyReport]) -> Result<()> {
    for copy in copies {
        outln!("header copy repaired ({copy})")?;
    }
    Ok(())
}

fn salvage(volume: Volume, to: &Path, what: &What) -> Result<ExitCode> {
    let lock = volume.place().lock(Access::ReadOnly)?;
    let files = file_system(volume.into_opened()?, true)?;
    let bar = Bar::bytes("copying");
    let job = copy_out::Job {
        from: &*files,
        volume: &what.volume,
        to,
        resume: what.resume,
    };
    let summary = copy_out::copy_out(&job, &bar, &mut |verdict| {
        if what.json {
            bar.line(&json_line(&record(verdict)));
        } else if let Some(problem) = problem(&verdict.outcome) {
            bar.line(&format!("{}: {problem}", shown(&verdict.path)));
        }
    });
    bar.end();
    let summary = summary?;
    drop(lock);
    finish(&summary, what.json)
}

fn finish(summary: &Summary, as_json: bool) -> Result<ExitCode> {
    let Summary {
        whole,
        ranges,
        attributes,
        lost,
        lost_bytes,
    } = *summary;
    if as_json {
        let line = json!({"whole": whole, "ranges_lost": ranges, "attributes_lost": attributes, "lost": lost, "bytes_lost": lost_bytes});
        outln!("{}", json_line(&json!({"summary": line})))?;
    } else {
        outln!(
            "{whole} whole, {ranges} with bytes lost ({lost_bytes} bytes), {attributes} with attributes lost, {lost} lost"
        )?;
    }
    match summary.is_complete() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(Code::Damage.into()),
    }
}

fn problem(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Whole | Outcome::Earlier => None,
        Outcome::Ranges(ranges) => {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|r| format!("{}-{}", r.start, r.end - 1))
                .collect();
            Some(format!("bytes lost: {}", ranges.join(", ")))
        }
        Outcome::Attributes(which) => Some(format!("attributes lost: {}", which.join(", "))),
        Outcome::Lost(why) => Some(format!("lost: {why}")),
    }
}

fn record(verdict: &Verdict) -> Json {
    let (word, detail) = match &verdict.outcome {
        Outcome::Whole => ("whole", Json::Null),
        Outcome::Earlier => ("earlier", Json::Null),
        Outcome::Ranges(ranges) => (
            "ranges",
            ranges.iter().map(|r| json!([r.start, r.end])).collect(),
        ),
        Outcome::Attributes(which) => ("attributes", json!(which)),
        Outcome::Lost(why) => ("lost", json!(why)),
    };
    json!({"path": shown(&verdict.path), "verdict": word, "detail": detail})
}

/// A path that cannot drive the terminal: control characters and bytes that are not text as `\xNN`.
fn shown(path: &Path) -> String {
    shown_bytes(path.as_os_str().as_bytes())
}

/// As [`shown`].
pub fn shown_bytes(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_control() || c == '\\' {
                true => out.extend(c.to_string().bytes().map(|b| format!("\\x{b:02x}"))),
                false => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
    out
}
