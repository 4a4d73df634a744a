//! Where a volume is mounted, and who has it.
use super::message::typed;
use crate::fuse::about::About;
use crate::fuse::contact::{Daemon, points, volume_at};
use crate::fuse::processes::Process;
use crate::printable::printable;
use crate::sys::{locks, mountinfo};
use crate::volume::date;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A mount of a volume.
pub struct Mounted {
    /// Who serves it.
    pub daemon: Daemon,
    /// What it says about itself.
    pub about: About,
    /// Where this process sees it; `None`: in another mount namespace only.
    pub point: Option<PathBuf>,
}

/// The mounts of the volume at `path`.
pub fn of(path: &Path) -> Vec<Mounted> {
    let Ok((volume, owner)) = volume_at(path) else {
        return Vec::new();
    };
    let found = Daemon::all_of(volume, owner).into_iter();
    let mounted = found.map(|(daemon, about)| Mounted {
        point: points(daemon.device).pop().map(|mount| mount.point),
        daemon,
        about,
    });
    mounted.collect()
}

/// The volume that is mounted on `point`, and its daemon.
pub fn at(point: &Path) -> Option<Mounted> {
    let point = point.canonicalize().ok()?;
    let mount = mountinfo::mount_at(&point).ok()??;
    let mut daemon = Daemon::of(&mount).ok()??;
    let about = daemon.about()?;
    Some(Mounted {
        daemon,
        about,
        point: Some(point),
    })
}

/// How likely it is that a volume that is locked will be free in a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A daemon that has no mount any more only has to write the rest.
    Ending,
    /// Nobody can be seen here who has it. The kernel does not show the locks of every file system.
    Unknown,
    /// It is mounted, or another command is at work on it.
    Stays,
}

/// Of the volume at `path`.
pub fn outlook(path: &Path) -> Outlook {
    if !of(path).is_empty() {
        return Outlook::Stays;
    }
    match &holders(path)[..] {
        [] => Outlook::Unknown,
        holders if holders.iter().all(is_daemon) => Outlook::Ending,
        _ => Outlook::Stays,
    }
}

/// Whether a process mounts: by its own command or as mount(8) calls it.
fn is_daemon(process: &Process) -> bool {
    let arguments = std::fs::read(format!("/proc/{}/cmdline", process.id)).unwrap_or_default();
    let first = arguments
        .split(|&byte| byte == 0)
        .nth(1)
        .unwrap_or_default();
    process.name == "cryptfs" && (matches!(first, b"mount" | b"recover") || first.contains(&b'/'))
}

/// The processes that hold a volume's lock, which is on the image or on a file in the backing directory.
fn holders(path: &Path) -> Vec<Process> {
    let lock = match path.is_dir() {
        true => path.join(".cryptfs/lock"),
        false => path.to_owned(),
    };
    let Ok(lock) = std::fs::metadata(lock) else {
        return Vec::new();
    };
    let holders = locks::holders(lock.dev(), lock.ino());
    holders.into_iter().map(Process::of).collect()
}

/// What to do about a volume that somebody has mounted.
pub fn hint(path: &Path) -> String {
    let mounts = of(path);
    // The one that keeps others out is mounted for writing, if any is.
    let one = mounts
        .iter()
        .find(|one| !one.about.read_only)
        .or(mounts.first());
    let Some(one) = one else {
        return held(path);
    };
    let (process, since) = (&one.daemon.process, date::rfc3339(one.about.since));
    match &one.point {
        Some(point) => format!(
            "unmount it with cryptfs umount {}; {process} has it mounted on '{}' since {since}",
            typed(point),
            printable(point)
        ),
        None => format!(
            "unmount it with cryptfs umount {}; {process} has it mounted since {since} in another \
             mount namespace, such as a container",
            typed(path)
        ),
    }
}

/// Nobody answers: a command that is at work on it, or another computer.
fn held(path: &Path) -> String {
    match &holders(path)[..] {
        [one, ..] => format!("{one} is at work on it; wait for it to end, or end it with kill {}", one.id),
        [] => {
            "no process that can be seen here has it: unmount it in the container or on the computer that has; cryptfs status \
             shows what this one has mounted"
                .to_owned()
        }
    }
}
