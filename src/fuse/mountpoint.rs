//! Mount points: fit to mount on, unmounting, and what a daemon that died left behind.
use crate::printable::printable;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::options::flags_of;
use super::{Error, MountOptions, presence, processes};
use crate::sys::log;
use crate::sys::mountinfo::{Mount, mount_at};

/// A mount point that `volume` may be mounted on, as an absolute path without symbolic links. A dead mount found there
/// is removed first.
///
/// # Errors
/// It is missing, no directory, not empty, in use by a volume, or in the volume itself.
pub fn check(point: &Path, volume: &Path, options: &MountOptions) -> Result<PathBuf, Error> {
    let point = match resolve(point) {
        Ok(resolved) => resolved,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing(point.to_owned()));
        }
        Err(error) => return Err(Error::Path(point.to_owned(), error)),
    };
    detach_if_dead(&point)?;
    if let Some(mount) = mount_at(&point).map_err(|e| Error::Path(point.clone(), e))?
        && is_ours(&mount)
    {
        return Err(Error::AlreadyMounted {
            point,
            source_name: mount.source,
        });
    }
    if let Ok(volume) = volume.canonicalize()
        && (point.starts_with(&volume) || volume.starts_with(&point))
    {
        return Err(Error::Nested(point));
    }
    let listing = point.read_dir().map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Error::NotDirectory(point.clone()),
        _ => Error::Path(point.clone(), error),
    });
    if listing?.next().is_some() && !options.nonempty {
        return Err(Error::NotEmpty(point));
    }
    Ok(point)
}

/// Unmounts, and waits until the daemon has written everything and ended.
///
/// # Errors
/// Nothing of ours is mounted there, files are open, or the daemon could not write everything.
pub fn unmount(point: &Path) -> Result<(), Error> {
    let point = &resolve(point).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotMounted(point.to_owned()),
        _ => Error::Path(point.to_owned(), error),
    })?;
    // Called from inside the mount, this very process would be one of those that keep it busy.
    let _ = rustix::process::chdir("/");
    let Some(mount) = mount_at(point).map_err(|e| Error::Path(point.clone(), e))? else {
        return Err(Error::NotMounted(point.clone()));
    };
    let daemon = presence::Watch::new(&mount);
    if !is_ours(&mount) && daemon.is_none() {
        return Err(Error::Foreign(point.clone()));
    }
    detach_if_dead(point)?;
    if mount_at(point).is_ok_and(|now| now == Some(mount)) {
        detach_or_name(point)?;
    }
    if daemon.is_none_or(presence::Watch::wait) {
        Ok(())
    } else {
        Err(Error::Unclean(point.clone()))
    }
}

/// Unmounts; if it is in use, says by whom.
///
/// # Errors
/// It is in use, or the kernel or fusermount3 refuses.
pub(super) fn detach_or_name(point: &Path) -> Result<(), Error> {
    let mut tries = 20;
    loop {
        let Err(error) = detach(point, false) else {
            return Ok(());
        };
        if error.raw_os_error() != Some(Errno::BUSY.raw_os_error()) {
            return Err(Error::Unmount(point.to_owned(), error));
        }
        // A process that has just been started holds what its parent has open, until it runs another program.
        let users = processes::using(point);
        tries -= 1;
        if !users.is_empty() || tries == 0 {
            return Err(Error::Busy(point.to_owned(), users));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Changes the flags of the mount on `point` (mount(8) `-o remount`): those that `options` mentions.
///
/// # Errors
/// Nothing of ours is mounted there, or the kernel refuses.
pub fn remount(point: &Path, options: &MountOptions) -> Result<(), Error> {
    let point = resolve(point).map_err(|e| Error::Path(point.to_owned(), e))?;
    let mount = mount_at(&point).map_err(|e| Error::Path(point.clone(), e))?;
    let Some(mount) = mount.filter(is_ours) else {
        return Err(Error::NotMounted(point));
    };
    let kept = flags_of(&mount) - options.mentioned;
    let flags = kept | options.flags & options.mentioned;
    rustix::mount::mount_remount(&point, flags | atime(&mount), c"").map_err(|e| match e {
        Errno::BUSY => Error::Busy(point.clone(), processes::using(&point)),
        Errno::PERM => Error::RemountRights(point.clone()),
        _ => Error::Mount(point.clone(), e.into()),
    })
}

/// The kernel takes a remount without any of these as a wish for relatime.
fn atime(mount: &Mount) -> MountFlags {
    if mount.has_option("nodiratime") {
        MountFlags::NODIRATIME
    } else {
        MountFlags::empty()
    }
}

/// Removes the mounts on `point` whose daemon has died ("Transport endpoint is not connected").
///
/// # Errors
/// It cannot be removed.
pub(super) fn detach_if_dead(point: &Path) -> Result<(), Error> {
    while is_dead(point) {
        detach(point, true).map_err(|e| Error::Unmount(point.to_owned(), e))?;
        log::notice(format_args!(
            "removed the dead mount on '{}'",
            printable(point)
        ));
    }
    Ok(())
}

/// Whether a FUSE mount begins at `point` and nobody serves it. Attributes may be cached, sizes never are.
fn is_dead(point: &Path) -> bool {
    let fuse = |mount: Mount| mount.kind.as_encoded_bytes().starts_with(b"fuse");
    let ended = |errno| matches!(errno, Errno::NOTCONN | Errno::CONNABORTED);
    mount_at(point).ok().flatten().is_some_and(fuse) && rustix::fs::statfs(point).is_err_and(ended)
}

fn is_ours(mount: &Mount) -> bool {
    mount.kind == "fuse.cryptfs"
}

/// umount2(2) for root, fusermount3 for others. `lazy`: even if it is in use.
fn detach(point: &Path, lazy: bool) -> io::Result<()> {
    let flags = if lazy {
        UnmountFlags::DETACH
    } else {
        UnmountFlags::empty()
    };
    match rustix::mount::unmount(point, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => {}
        answer => return Ok(answer?),
    }
    let flags = if lazy { "-uz" } else { "-u" };
    let output = Command::new("fusermount3")
        .arg(flags)
        .arg("--")
        .arg(point)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("busy") {
        return Err(Errno::BUSY.into());
    }
    Err(io::Error::other(said.trim().to_owned()))
}

/// An absolute path without symbolic links. The last component is not looked at: a dead mount would not answer.
fn resolve(point: &Path) -> io::Result<PathBuf> {
    match point.canonicalize() {
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {}
        answer => return answer,
    }
    let absolute = std::path::absolute(point)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => Ok(absolute),
    }
}
