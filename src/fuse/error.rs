//! Why a volume cannot be mounted, served or unmounted.
use crate::printable::{printable, typed};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::options::OptionError;
use super::processes::Process;

/// Why a volume cannot be mounted, served or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mount option cannot be taken.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// `/dev/fuse` is missing.
    #[error("this system has no FUSE: /dev/fuse is missing")]
    NoDevice,
    /// `/dev/fuse` cannot be opened.
    #[error("cannot open /dev/fuse: {0}")]
    Device(#[source] io::Error),
    /// fusermount3 is missing.
    #[error("fusermount3 is missing, and only root mounts without it")]
    NoFusermount,
    /// An ordinary user asked for `allow_other`.
    #[error("allow_other is not allowed to users on this system")]
    AllowOther,
    /// With `allow_other` other users would have the volume itself too.
    #[error("allow_other is refused, because other users can reach the volume itself: {}", .0.display())]
    Reachable(PathBuf),
    /// The mount point does not exist.
    #[error("mount point '{}' does not exist", printable(.0))]
    Missing(PathBuf),
    /// The mount point is no directory.
    #[error("mount point '{}' is not a directory", printable(.0))]
    NotDirectory(PathBuf),
    /// The mount point holds files.
    #[error("mount point '{}' is not empty", printable(.0))]
    NotEmpty(PathBuf),
    /// The mount point lies in the volume, or the volume below it.
    #[error("mount point '{}' and the volume lie one in the other", printable(.0))]
    Nested(PathBuf),
    /// A volume is mounted there.
    #[error("'{}' is already mounted on '{}'", printable(.source_name), printable(.point))]
    AlreadyMounted {
        /// Where.
        point: PathBuf,
        /// What.
        source_name: OsString,
    },
    /// Nothing is mounted there.
    #[error("nothing is mounted on '{}'", printable(.0))]
    NotMounted(PathBuf),
    /// Something else is mounted there.
    #[error("what is mounted on '{}' is not a cryptfs volume", printable(.0))]
    Foreign(PathBuf),
    /// Files are open.
    #[error("'{}' is in use{}", printable(.0), list(.1))]
    Busy(PathBuf, Vec<Process>),
    /// Unmounted, but the daemon could not write everything.
    #[error("'{}' is unmounted, but not everything was written", printable(.0))]
    Unclean(PathBuf),
    /// Unmounted here; the daemon's own mount namespace uses it.
    #[error("'{}' is unmounted here, but in use where {} has it mounted", printable(.0), .1)]
    BusyElsewhere(PathBuf, Process),
    /// Unmounted, and the daemon does not end.
    #[error("'{}' is unmounted, but {} has not ended yet", printable(.0), .1)]
    Waiting(PathBuf, Process),
    /// Unmounted, and somebody else answers in the daemon's place.
    #[error("'{}' is unmounted, but it cannot be told whether everything was written: another program answers for its daemon", printable(.0))]
    Unwatched(PathBuf),
    /// An ordinary user asked for a remount.
    #[error("only root may change the mount on '{}'", printable(.0))]
    RemountRights(PathBuf),
    /// The kernel or fusermount3 refuses.
    #[error("cannot mount on '{}': {}", printable(.0), .1)]
    Mount(PathBuf, io::Error),
    /// The kernel or fusermount3 refuses.
    #[error("cannot unmount '{}': {}", printable(.0), .1)]
    Unmount(PathBuf, io::Error),
    /// The mount point cannot be examined.
    #[error("cannot read '{}': {}", printable(.0), .1)]
    Path(PathBuf, io::Error),
    /// Requests cannot be read any more.
    #[error("cannot serve requests: {0}")]
    Serve(#[source] io::Error),
    /// The volume refused data that programs had written before they could be told.
    #[error("data that was written to {} could not be stored and is lost", plural(*.0))]
    Lost(usize),
    /// The end of the session could not be written.
    #[error("cannot close the volume: {0}")]
    Close(#[source] crate::fs::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Option(error) => error.hint(),
            Self::NoDevice => "load it with modprobe fuse, as root",
            Self::Device(_) => {
                "everybody may open it on most systems: root sets that with chmod 666 /dev/fuse"
            }
            Self::NoFusermount => "install the package fuse3",
            Self::AllowOther => "root may add the line user_allow_other to /etc/fuse.conf",
            Self::Reachable(_) => {
                "move the volume into a directory that only its owner may enter (mkdir -m 700 makes one), or mount it as it is with -o allow_other,others_reach_ciphertext"
            }
            Self::Missing(_) => "make it with mkdir",
            Self::NotDirectory(_) => "name a directory",
            Self::NotEmpty(_) => "name an empty directory, or hide what it holds with -o nonempty",
            Self::Nested(_) => "name a directory elsewhere",
            Self::AlreadyMounted { point, .. } => {
                return Some(format!("unmount it with cryptfs umount {}", typed(point)));
            }
            Self::NotMounted(_) => "findmnt -t fuse.cryptfs shows what is mounted",
            Self::Foreign(_) => "unmount it with umount",
            Self::Busy(..) => "close these programs, or leave the directory",
            Self::Unclean(_) => "the reason is in the log; cryptfs check looks for damage",
            Self::BusyElsewhere(_, process) => {
                return Some(format!(
                    "close what uses it; kill {} writes everything and ends it then",
                    process.id
                ));
            }
            Self::Waiting(_, process) => {
                return Some(format!(
                    "the log may say why; kill -9 {} ends it, and what was not synced is lost",
                    process.id
                ));
            }
            Self::Unwatched(_) => "wait until cryptfs status says that the volume is not mounted",
            Self::RemountRights(_) => "unmount it, and mount it again with these options",
            Self::Mount(..) | Self::Unmount(..) | Self::Path(..) | Self::Serve(_) => return None,
            Self::Lost(_) => "the log has the reason at the time; write these files again",
            Self::Close(_) => "cryptfs check looks for damage",
        };
        Some(hint.to_owned())
    }
}

fn plural(files: usize) -> String {
    match files {
        1 => "a file".to_owned(),
        files => format!("{files} files"),
    }
}

fn list(processes: &[Process]) -> String {
    let names: Vec<String> = processes.iter().map(Process::to_string).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" by {}", names.join(", "))
    }
}
