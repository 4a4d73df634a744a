//! `cryptfs mount`: unlock by the keystore, mount, and go into the background.
use super::{Code, Common, Error, Result};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// Take a header that is older than what this computer has seen: a backup was put back on purpose
    #[arg(long)]
    pub accept_rollback: bool,
}

/// The arguments as mount(8) and mount.fuse(8) give them, `PROGRAM VOLUME MOUNTPOINT [-sfnv] [-o OPTIONS]`; `None` when these
/// are a person's.
pub fn helper_form(arguments: &[OsString]) -> Option<Result<(MountArgs, Common)>> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    if !name.starts_with("mount.") {
        return None;
    }
    Some(from_helper(&arguments[1..]))
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
        accept_rollback: false,
    };
    Ok((args, Common::default()))
}

/// Runs `cryptfs mount`.
pub fn run(_args: &MountArgs, _common: &Common) -> Result<ExitCode> {
    Err(Error::told(
        Code::Failure,
        "this cryptfs was built without FUSE",
        "use cryptfs-recover --salvage",
    ))
}
