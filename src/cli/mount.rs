//! `cryptfs mount`: unlock by the keystore, mount, and go into the background.
#[cfg(feature = "fuse")]
use super::message;
use super::{Code, Common, Error, Result};
#[cfg(feature = "fuse")]
use crate::{
    fuse,
    recover::{self, How},
    volume::{self, Access, Keystore, Mountable, Rollback},
};
use clap::Args;
use std::ffi::OsString;
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
}

/// The arguments as mount(8) and mount.fuse(8) give them: `PROGRAM VOLUME MOUNTPOINT [-sfnv] [-o OPTIONS]`, where PROGRAM is
/// `mount.cryptfs`, or `cryptfs` itself for the type `fuse.cryptfs`. `None` when these are a person's.
pub fn helper_form(arguments: &[OsString]) -> Option<Result<(MountArgs, Common)>> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    let volume_first = arguments.get(1)?.as_encoded_bytes().contains(&b'/');
    (name.starts_with("mount.") || volume_first).then(|| from_helper(&arguments[1..]))
}

fn from_helper(arguments: &[OsString]) -> Result<(MountArgs, Common)> {
    let mut paths = Vec::new();
    let mut options = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => options.extend(rest.next().cloned()),
            Some("-t" | "-N") => drop(rest.next()),
            Some(flag) if flag.starts_with('-') => {}
            _ => paths.push(PathBuf::from(argument)),
        }
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
    };
    Ok((args, Common::default()))
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
    let mut options = fuse::MountOptions::default();
    for list in &args.options {
        options.add(list).map_err(fuse::Error::from)?;
    }
    if options.remount {
        fuse::mountpoint::remount(&args.mountpoint, &options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let point = fuse::mountpoint::check(&args.mountpoint, &args.volume, &options)?;
    let keystore = Keystore::open(common.keystore.as_deref().or(options.keystore.as_deref()))?;
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
    let log = match args.log.as_ref().or(options.log.as_ref()) {
        Some(path) => Some(crate::sys::log::open(path).map_err(Error::io(path))?),
        None => None,
    };
    let code = fuse::daemon::run(args.foreground, log, |ready| {
        match serve(args, &keystore, &point, &options, ready) {
            Ok(()) => 0,
            Err(error) => {
                message::error(&error);
                error.code() as u8
            }
        }
    });
    Ok(ExitCode::from(code.map_err(Error::io(&args.mountpoint))?))
}

/// Unlocks, mounts and serves until it is unmounted.
#[cfg(feature = "fuse")]
fn serve(
    args: &MountArgs,
    keystore: &Keystore,
    point: &Path,
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
        rollback: if args.accept_rollback {
            Rollback::Accept
        } else {
            Rollback::Refuse
        },
    };
    let mut mounting = open(&args.volume, keystore, unlock, options)?;
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
        generation: mounting.witness.generation(),
        accept_rollback: args.accept_rollback,
        snapshot: options.snapshot.clone(),
        ..How::default()
    };
    let file_system = recover::file_system(mounting.opened, &how)?;
    // What only reads does not move the image on.
    let mut note = || {
        if !read_only && let Err(error) = mounting.witness.saw(file_system.generation(), keystore) {
            message::warning(format_args!("the keystore could not be updated: {error}"));
        }
    };
    note();
    let served = fuse::serve(file_system.clone(), point, options, || ready.signal());
    note();
    Ok(served?)
}

/// Opens the volume. One that was unmounted a moment ago may still be written to by its daemon, which umount(8) does not wait
/// for: that takes patience and is no error.
#[cfg(feature = "fuse")]
fn open(
    path: &Path,
    keystore: &Keystore,
    unlock: volume::MountOptions,
    options: &fuse::MountOptions,
) -> Result<Mountable> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        match Mountable::open(path, keystore, unlock, &recover::may_repair) {
            Err(volume::Error::AlreadyMounted(_))
                if start.elapsed() < PATIENCE && !is_mounted(options) =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return Ok(answer?),
        }
    }
}

#[cfg(feature = "fuse")]
fn is_mounted(options: &fuse::MountOptions) -> bool {
    let mounts = crate::sys::mountinfo::mounts().unwrap_or_default();
    mounts
        .iter()
        .any(|mount| Some(&mount.source) == options.source.as_ref())
}
