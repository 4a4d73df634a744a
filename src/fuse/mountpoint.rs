//! What is mounted: unmounting, changing its flags, and what a daemon that died left behind.
use crate::printable::printable;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::contact::{Daemon, End};
use super::options::flags_of;
use super::{Error, MountOptions, fusermount, processes};
use crate::sys::log;
use crate::sys::mountinfo::{Mount, mount_at};

/// Unmounts, ends the session, and waits until the daemon has written everything and ended.
///
/// `umount` promises that what is unmounted is locked. So the daemon is told to end even where another mount namespace or a
/// program with open files would keep the kernel's side of it alive.
///
/// # Errors
/// Nothing of ours is mounted there, files are open, or the daemon could not write everything.
pub fn unmount(point: &Path) -> Result<(), Error> {
    // Called from inside the mount, this very process would be one of those that keep it busy.
    let point = std::path::absolute(point).map_err(|e| Error::Path(point.to_owned(), e))?;
    let _ = rustix::process::chdir("/");
    let _patience = Patience::begin(&point);
    let point = &resolve(&point).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotMounted(point.clone()),
        _ => Error::Path(point.clone(), error),
    })?;
    let Some(mount) = mount_at(point).map_err(|e| Error::Path(point.clone(), e))? else {
        return Err(Error::NotMounted(point.clone()));
    };
    let daemon = Daemon::of(&mount);
    if !is_ours(&mount) && !matches!(daemon, Ok(Some(_))) {
        return Err(Error::Foreign(point.clone()));
    }
    // A daemon that died has not stored what the kernel, and an image, had not made durable yet.
    let died = is_dead(point) && !mount.has_option("ro");
    detach_if_dead(point)?;
    if mount_at(point).is_ok_and(|now| now == Some(mount)) {
        detach_or_name(point)?;
    }
    match daemon {
        Ok(None) if died => Err(Error::Unclean(point.clone())),
        Ok(None) => Ok(()),
        Ok(Some(mut daemon)) => end(&mut daemon, point),
        Err(_) => Err(Error::Unwatched(point.clone())),
    }
}

/// Ends a daemon's session, and waits until it has written everything and ended.
///
/// # Errors
/// Its mount is in use, or it could not write everything, or takes very long.
pub fn end(daemon: &mut Daemon, point: &Path) -> Result<(), Error> {
    /// A daemon may have gigabytes to write to a slow disk; one that is stopped is never done.
    const MOST: Duration = Duration::from_secs(600);
    daemon.end();
    match daemon.wait(MOST) {
        End::Clean => Ok(()),
        End::Unclean => Err(Error::Unclean(point.to_owned())),
        End::Busy => Err(Error::BusyElsewhere(
            point.to_owned(),
            daemon.process.clone(),
        )),
        End::Waiting => Err(Error::Waiting(point.to_owned(), daemon.process.clone())),
    }
}

/// Says, once it takes long, what it waits for: a mount whose daemon does not answer blocks even a look at it.
struct Patience(Option<Sender<()>>);

impl Patience {
    fn begin(point: &Path) -> Self {
        let (done, is_done) = channel::<()>();
        let point = point.to_owned();
        let tell = move || {
            if is_done.recv_timeout(Duration::from_secs(3)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let daemon = mount_at(&point)
                .ok()
                .flatten()
                .and_then(|mount| Daemon::of(&mount).ok()?);
            match daemon {
                Some(daemon) => log::warning(format_args!(
                    "waiting for {}, which serves '{}', to answer and to write everything",
                    daemon.process,
                    printable(&point)
                )),
                None => log::warning(format_args!(
                    "waiting for the daemon of '{}' to write everything",
                    printable(&point)
                )),
            }
        };
        let spawned = std::thread::Builder::new().spawn(tell);
        Self(spawned.is_ok().then_some(done))
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.0.take();
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
    let known = |mount: &Mount| is_ours(mount) || matches!(Daemon::of(mount), Ok(Some(_)));
    let Some(mount) = mount.filter(known) else {
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

pub(super) fn is_ours(mount: &Mount) -> bool {
    mount.kind == "fuse.cryptfs"
}

/// umount2(2) for root, fusermount3 for others. `lazy`: even if it is in use.
pub(super) fn detach(point: &Path, lazy: bool) -> io::Result<()> {
    let flags = if lazy {
        UnmountFlags::DETACH
    } else {
        UnmountFlags::empty()
    };
    match rustix::mount::unmount(point, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => {}
        answer => return Ok(answer?),
    }
    fusermount::unmount(point, lazy)
}

/// An absolute path without symbolic links. The last component is not looked at: a dead mount would not answer.
pub(super) fn resolve(point: &Path) -> io::Result<PathBuf> {
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
