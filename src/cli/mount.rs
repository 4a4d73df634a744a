//! `cryptfs mount`: unlock by the keystore, mount, and go into the background.
#[cfg(feature = "fuse")]
use super::message;
#[cfg(feature = "fuse")]
use super::whereabouts::{self, Outlook};
use super::{Code, Common, Error, Result};
#[cfg(feature = "fuse")]
use crate::{
    fuse::{self, about::About},
    recover::{self, How},
    volume::{
        self, Access, CopyReport, Keystore, Locked, MountLock, Mountable, Opened, Rollback, Volume,
        Witness,
    },
};
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
#[cfg(feature = "fuse")]
use std::time::{Duration, Instant};

/// Arguments of `cryptfs mount`.
#[derive(Args, Clone, Debug)]
pub struct MountArgs {
    /// The volume
    pub volume: PathBuf,
    /// Where to mount it: an empty directory
    pub mountpoint: PathBuf,
    /// Mount options, separated by commas: ro, allow_other ... (see cryptfs(1))
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    pub options: Vec<OsString>,
    /// Stay in the foreground
    #[arg(short, long)]
    pub foreground: bool,
    /// Write the daemon's log to FILE, not to syslog
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Take a header or an image that is older than what this computer has seen: a backup was put back on purpose
    #[arg(long)]
    pub accept_rollback: bool,
    /// Do everything but the mount: what mount(8) means by `-f`
    #[arg(skip)]
    #[cfg_attr(not(feature = "fuse"), allow(dead_code))] // without FUSE every mount is refused
    pub fake: bool,
}

/// The arguments as mount(8) and mount.fuse(8) give them: `PROGRAM VOLUME MOUNTPOINT [-sfnv] [-o OPTIONS]`, where PROGRAM is
/// `mount.cryptfs`, or `cryptfs` itself for the type `fuse.cryptfs`. `None` when these are a person's.
pub fn helper_form(arguments: &[OsString]) -> Option<Result<(MountArgs, Common)>> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    let volume_first = arguments.get(1)?.as_encoded_bytes().contains(&b'/');
    (name.starts_with("mount.") || volume_first).then(|| from_helper(arguments))
}

/// Takes away the `dev` and `suid` that mount.fuse(8) adds at the end of any list without `nodev` and `nosuid`. What the
/// administrator wrote stays: it is in the list once more.
fn drop_added(list: &mut OsString) {
    for added in [&b"suid"[..], b"dev"] {
        let bytes = list.as_encoded_bytes();
        let rest = match bytes.strip_suffix(added) {
            Some([]) => &[][..],
            Some([rest @ .., b',']) => rest,
            _ => continue,
        };
        *list = OsStr::from_bytes(rest).to_owned();
    }
}

fn from_helper(arguments: &[OsString]) -> Result<(MountArgs, Common)> {
    let mut paths = Vec::new();
    let mut options = Vec::new();
    let mut fake = false;
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => options.extend(rest.next().cloned()),
            Some("-t" | "-N") => drop(rest.next()),
            Some("--fake") => fake = true,
            Some(flag) if flag.starts_with("--") => {}
            Some(flag) if flag.starts_with('-') => fake |= flag.contains('f'),
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    // A helper of mount(8)'s own has the name of the type; otherwise it is mount.fuse(8) that starts the program itself.
    let program = |name: &str| name.starts_with("mount.");
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if !name.and_then(|name| name.to_str()).is_some_and(program) {
        options.iter_mut().for_each(drop_added);
    }
    let [volume, mountpoint] = <[PathBuf; 2]>::try_from(paths)
        .map_err(|_| Error::told(Code::Usage, "a volume and a mount point are needed", ""))?;
    let args = MountArgs {
        volume,
        mountpoint,
        options,
        foreground: false,
        log: None,
        accept_rollback: false,
        fake,
    };
    Ok((args, Common::default()))
}

/// Unlocks a volume by hand, in the process that is going to serve the mount; told whether the mount only reads.
pub type ByHand<'a> = &'a dyn Fn(bool) -> Result<crate::volume::Volume>;

/// As [`run`], of a volume that is unlocked by hand. It needs no keystore.
#[cfg(not(feature = "fuse"))]
pub fn by_hand(args: &MountArgs, common: &Common, _: ByHand<'_>) -> Result<ExitCode> {
    run(args, common)
}

/// As [`run`], of a volume that is unlocked by hand. It needs no keystore.
#[cfg(feature = "fuse")]
pub fn by_hand(args: &MountArgs, common: &Common, unlock: ByHand<'_>) -> Result<ExitCode> {
    mount(args, common, Some(unlock))
}

/// Runs `cryptfs mount`.
#[cfg(not(feature = "fuse"))]
pub fn run(_: &MountArgs, _: &Common) -> Result<ExitCode> {
    let message = "this cryptfs was built without FUSE";
    Err(Error::told(
        Code::Failure,
        message,
        "copy everything out with cryptfs-recover --salvage",
    ))
}

/// Runs `cryptfs mount`.
#[cfg(feature = "fuse")]
pub fn run(args: &MountArgs, common: &Common) -> Result<ExitCode> {
    mount(args, common, None)
}

#[cfg(feature = "fuse")]
fn mount(args: &MountArgs, common: &Common, by_hand: Option<ByHand<'_>>) -> Result<ExitCode> {
    let mut options = fuse::MountOptions::default();
    for list in &args.options {
        options.add(list).map_err(fuse::Error::from)?;
    }
    if options.remount {
        fuse::mountpoint::remount(&args.mountpoint, &options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let point = fuse::Point::check(&args.mountpoint, &args.volume, &options)?;
    fuse::reach::check(&args.volume, &options)?;
    let keystore = Keystore::open(common.keystore.as_deref().or(options.keystore.as_deref()));
    let keystore = match by_hand {
        Some(_) => keystore.ok(),
        None => Some(keystore?),
    };
    let source = args
        .volume
        .canonicalize()
        .unwrap_or_else(|_| args.volume.clone());
    let mut source = source.into_os_string();
    if let Some(name) = &options.snapshot {
        source.push("@");
        source.push(name);
    }
    options.source.get_or_insert(source);
    if args.fake {
        if let Some(keystore) = &keystore {
            Locked::open(&args.volume)?.unlock_auto(keystore, rollback(args))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let log = match args.log.as_ref().or(options.log.as_ref()) {
        Some(path) => Some(crate::sys::log::open(path).map_err(Error::io(path))?),
        None => None,
    };
    let code = fuse::daemon::run(args.foreground, log, |ready| {
        match serve(args, keystore.as_ref(), by_hand, point, &options, ready) {
            Ok(()) => 0,
            Err(error) => {
                message::error(&error);
                error.code() as u8
            }
        }
    });
    Ok(ExitCode::from(code.map_err(Error::io(&args.mountpoint))?))
}

#[cfg(feature = "fuse")]
fn rollback(args: &MountArgs) -> Rollback {
    match args.accept_rollback {
        true => Rollback::Accept,
        false => Rollback::Refuse,
    }
}

/// Unlocks, mounts and serves until it is unmounted.
#[cfg(feature = "fuse")]
fn serve(
    args: &MountArgs,
    keystore: Option<&Keystore>,
    by_hand: Option<ByHand<'_>>,
    point: fuse::Point,
    options: &fuse::MountOptions,
    ready: fuse::daemon::Ready,
) -> Result<()> {
    let read_only = options.read_only();
    let unlock = volume::MountOptions {
        access: match (&options.snapshot, read_only) {
            (Some(_), _) => Access::Snapshot,
            (None, true) => Access::ReadOnly,
            (None, false) => Access::ReadWrite,
        },
        rollback: rollback(args),
    };
    let mut mounting = match (by_hand, keystore) {
        (Some(by_hand), keystore) => opened_by_hand(by_hand, keystore, unlock.access)?,
        (None, Some(keystore)) => open(&args.volume, keystore, unlock)?.into(),
        (None, None) => return Err(volume::Error::KeystoreUnknown.into()),
    };
    let about = about(&args.volume, options).map_err(Error::io(&args.volume))?;
    for copy in &mounting.repaired {
        message::warning(format_args!(
            "header copy {} was {}; it is good again",
            copy.name, copy.state
        ));
    }
    for warning in &mounting.warnings {
        message::warning(warning);
    }
    // Held until the session has ended.
    let _lock = mounting.lock;
    let how = How {
        read_only,
        generation: mounting.witness.as_ref().map_or(0, Witness::generation),
        // Who unlocks by hand to read has a reason: a backup, an old disk.
        accept_rollback: args.accept_rollback || (by_hand.is_some() && read_only),
        snapshot: options.snapshot.clone(),
        ..How::default()
    };
    let file_system = recover::file_system(mounting.opened, &how)?;
    // What only reads does not move the image on.
    let mut note = || {
        if let Some(witness) = mounting.witness.as_mut().filter(|_| !read_only)
            && let Some(keystore) = keystore
            && let Err(error) = witness.saw(file_system.generation(), keystore)
        {
            message::warning(format_args!("the keystore could not be updated: {error}"));
        }
    };
    note();
    let service = fuse::daemon::Service {
        point,
        options,
        about: Some(about),
        unmounter: ready.unmounter(),
    };
    let served = fuse::serve(file_system.clone(), service, || ready.signal());
    note();
    Ok(served?)
}

/// A volume that is about to be mounted, with or without a keystore.
#[cfg(feature = "fuse")]
struct Mounting {
    opened: Opened,
    lock: MountLock,
    witness: Option<Witness>,
    repaired: Vec<CopyReport>,
    warnings: Vec<String>,
}

#[cfg(feature = "fuse")]
impl From<Mountable> for Mounting {
    fn from(mountable: Mountable) -> Self {
        Self {
            opened: mountable.opened,
            lock: mountable.lock,
            witness: Some(mountable.witness),
            repaired: mountable.repaired,
            warnings: mountable.warnings,
        }
    }
}

/// Opens a volume with what a person has in hand.
#[cfg(feature = "fuse")]
fn opened_by_hand(
    unlock: ByHand<'_>,
    keystore: Option<&Keystore>,
    access: Access,
) -> Result<Mounting> {
    let mut volume: Volume = unlock(access != Access::ReadWrite)?;
    let lock = volume.place().lock(access)?;
    if let Some(keystore) = keystore {
        let belongs = &recover::may_repair;
        return Ok(Mountable::of(volume, lock, Some(keystore), access, belongs)?.into());
    }
    let mut warnings = volume.header().attention();
    let mut repaired = Vec::new();
    if access == Access::ReadWrite {
        match volume.header().unknown_ro_compat() {
            0 => {}
            unknown => return Err(volume::Error::ReadOnlyFeatures(unknown).into()),
        }
        if recover::may_repair(&volume)? {
            match volume.repair_copies() {
                Ok(done) => repaired = done,
                Err(e) => warnings.push(format!("header copies could not be repaired: {e}")),
            }
        }
    }
    Ok(Mounting {
        warnings,
        opened: volume.into_opened()?,
        lock,
        witness: None,
        repaired,
    })
}

/// What the daemon tells commands about itself.
#[cfg(feature = "fuse")]
fn about(volume: &Path, options: &fuse::MountOptions) -> std::io::Result<About> {
    let (id, _) = fuse::contact::volume_at(volume)?;
    let path = volume.canonicalize()?;
    let read_only = options.read_only();
    Ok(About::now(id, path, read_only, options.snapshot.as_deref()))
}

/// Opens the volume. One that was unmounted a moment ago may still be written to by its daemon, which umount(8) does not wait
/// for: that takes patience and is no error. Anyone else who has it is named at once.
#[cfg(feature = "fuse")]
fn open(path: &Path, keystore: &Keystore, unlock: volume::MountOptions) -> Result<Mountable> {
    let mut unknown = None;
    let start = Instant::now();
    let mut worth_waiting = || match whereabouts::outlook(path) {
        Outlook::Ending => start.elapsed() < Duration::from_secs(10),
        // It may have ended since the last look.
        Outlook::Unknown => {
            unknown.get_or_insert_with(Instant::now).elapsed() < Duration::from_secs(2)
        }
        Outlook::Stays => false,
    };
    loop {
        match Mountable::open(path, keystore, unlock, &recover::may_repair) {
            Err(volume::Error::AlreadyMounted(_)) if worth_waiting() => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return Ok(answer?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(program: &str, list: &str) -> Vec<OsString> {
        let words = [program, "/volume", "/point", "-o", list].map(OsString::from);
        let (args, _) = helper_form(&words).expect("a helper's form").expect("good");
        args.options
    }

    #[test]
    fn what_mount_fuse_adds_is_not_what_the_administrator_wrote() {
        for (given, meant) in [
            ("rw,dev,suid", "rw"),
            ("dev,suid", ""),
            ("nosuid,nodev", "nosuid,nodev"),
            ("nosuid,dev", "nosuid"),
            ("nodev,suid,suid", "nodev,suid"),
            ("suid,dev,dev,suid", "suid,dev"),
        ] {
            assert_eq!(options("/usr/bin/cryptfs", given), [meant], "{given}");
        }
        assert_eq!(options("/sbin/mount.cryptfs", "dev,suid"), ["dev,suid"]);
    }
}
