//! `cryptfs umount`.
#[cfg(feature = "fuse")]
use super::Error;
use super::Result;
#[cfg(feature = "fuse")]
use super::whereabouts::{self, Mounted};
#[cfg(feature = "fuse")]
use crate::fuse::{self, mountpoint};
use clap::Args;
#[cfg(feature = "fuse")]
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs umount`.
#[derive(Args, Clone, Debug)]
pub struct UmountArgs {
    /// Where the volume is mounted, or the volume itself
    pub mountpoint: PathBuf,
}

/// Runs `cryptfs umount`: returns once everything is written and the daemon has ended.
#[cfg(feature = "fuse")]
pub fn run(args: &UmountArgs) -> Result<ExitCode> {
    // One that lies in the mount would keep it busy, and this process would be named as the one who does.
    crate::sys::descriptors::close_inherited();
    let target = std::path::absolute(&args.mountpoint).map_err(Error::io(&args.mountpoint))?;
    match mountpoint::unmount(&target) {
        Err(error @ fuse::Error::NotMounted(_)) => {
            let mounts = whereabouts::of(&target);
            if mounts.is_empty() {
                return Err(error.into());
            }
            mounts.into_iter().try_for_each(|one| end(one, &target))?;
        }
        done => done?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends one mount of a volume that was named instead of its mount point.
#[cfg(feature = "fuse")]
fn end(mut one: Mounted, volume: &Path) -> Result<()> {
    match one.point {
        Some(point) => mountpoint::unmount(&point)?,
        None => mountpoint::end(&mut one.daemon, volume)?,
    }
    Ok(())
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
