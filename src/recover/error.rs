//! What copying out can fail with as a whole. What single files fail with are verdicts.
use crate::fs;
use crate::image::OpenError;
use crate::printable::printable;
use std::io;
use std::path::{Path, PathBuf};

/// A result of recovery.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why nothing, or no more, could be copied out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination holds something.
    #[error("{} is not empty", printable(.0))]
    NotEmpty(PathBuf),
    /// Nothing in the destination shows that it is an earlier salvage.
    #[error("{} is not empty, and it holds no earlier salvage of yours", .0.display())]
    NoJournal(PathBuf),
    /// Root's destination could be changed by others while files are copied to it.
    #[error("{} belongs to user {owner}, mode {mode:04o}: others can exchange what root writes there", .path.display())]
    Shared {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// The destination lies in the volume, which is never written to.
    #[error("{} lies inside the volume", printable(.0))]
    Inside(PathBuf),
    /// The volume's root cannot be read.
    #[error("the volume cannot be read: {0}")]
    FileSystem(#[from] fs::Error),
    /// An authentic header holds no usable keys.
    #[error(transparent)]
    Keys(crate::volume::Error),
    /// An image does not open.
    #[error(transparent)]
    Image(#[from] OpenError),
    /// A directory volume is not taken.
    #[error(
        "this is a directory volume; only images have snapshots, a size and backups of their own"
    )]
    NotAnImage,
    /// A directory volume has none.
    #[error("a directory volume has no snapshots")]
    NoSnapshots,
    /// The destination cannot be written.
    #[error("{}: {source}", printable(.path))]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn sys(path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self::Io {
            path,
            source: errno.into(),
        }
    }
}
