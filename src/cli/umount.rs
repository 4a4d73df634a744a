//! `cryptfs umount`.
use super::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs umount`.
#[derive(Args, Clone, Debug)]
pub struct UmountArgs {
    /// Where the volume is mounted
    pub mountpoint: PathBuf,
}

/// Runs `cryptfs umount`: returns once everything is written and the daemon has ended.
#[cfg(feature = "fuse")]
pub fn run(args: &UmountArgs) -> Result<ExitCode> {
    crate::fuse::mountpoint::unmount(&args.mountpoint)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `cryptfs umount`.
#[cfg(not(feature = "fuse"))]
pub fn run(_: &UmountArgs) -> Result<ExitCode> {
    let message = "this cryptfs was built without FUSE";
    Err(super::Error::told(
        super::Code::Failure,
        message,
        "unmount with fusermount3 -u MOUNTPOINT",
    ))
}
