//! `cryptfs umount`.
use super::{Code, Error, Result};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs umount`.
#[derive(Args, Clone, Debug)]
pub struct UmountArgs {
    /// Where the volume is mounted
    pub mountpoint: PathBuf,
}

/// Runs `cryptfs umount`.
pub fn run(_args: &UmountArgs) -> Result<ExitCode> {
    Err(Error::told(
        Code::Failure,
        "this cryptfs was built without FUSE",
        "",
    ))
}
