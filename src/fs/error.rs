//! What a file system operation can fail with, and the one errno table.
use std::io;

/// A result of the file system.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was found to be wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The authenticator does not belong to the bytes.
    #[error("authentication failed")]
    Tag,
    /// A unit of another file.
    #[error("belongs to another file")]
    Foreign,
    /// Zeros where there is no hole.
    #[error("missing (zeros where data was written)")]
    Missing,
    /// Written under a key that the header does not hold.
    #[error("unknown key epoch")]
    Epoch,
    /// The file was shortened or lengthened outside of cryptfs.
    #[error("length differs from the one recorded")]
    Length,
    /// Bytes that no version of the format allows.
    #[error("malformed")]
    Malformed,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each variant is the errno that [`Error::errno`] says
pub enum Error {
    #[error("no such file or directory")]
    NotFound,
    #[error("file exists")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("directory not empty")]
    NotEmpty,
    #[error("file name too long")]
    NameTooLong,
    #[error("invalid argument")]
    Invalid,
    #[error("bad handle")]
    BadHandle,
    #[error("operation not permitted")]
    NotPermitted,
    #[error("read-only file system")]
    ReadOnly,
    #[error("no such attribute")]
    NoAttribute,
    #[error("result does not fit")]
    Range,
    #[error("argument too big")]
    TooBig,
    #[error("operation not supported")]
    NotSupported,
    #[error("no such data or hole")]
    NoSuchAddress,
    #[error("file too large")]
    FileTooLarge,
    #[error("no space left")]
    NoSpace,
    #[error("stale node")]
    Stale,
    #[error("stored data: {0}")]
    Damaged(Damage),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// The errno that the kernel gets.
    pub fn errno(&self) -> i32 {
        use rustix::io::Errno as E;
        let errno = match self {
            Self::NotFound => E::NOENT,
            Self::Exists => E::EXIST,
            Self::NotDirectory => E::NOTDIR,
            Self::IsDirectory => E::ISDIR,
            Self::NotEmpty => E::NOTEMPTY,
            Self::NameTooLong => E::NAMETOOLONG,
            Self::Invalid => E::INVAL,
            Self::BadHandle => E::BADF,
            Self::NotPermitted => E::PERM,
            Self::ReadOnly => E::ROFS,
            Self::NoAttribute => E::NODATA,
            Self::Range => E::RANGE,
            Self::TooBig => E::TOOBIG,
            Self::NotSupported => E::OPNOTSUPP,
            Self::NoSuchAddress => E::NXIO,
            Self::FileTooLarge => E::FBIG,
            Self::NoSpace => E::NOSPC,
            Self::Stale => E::STALE,
            Self::Damaged(_) => E::IO,
            Self::Io(source) => return source.raw_os_error().unwrap_or(E::IO.raw_os_error()),
        };
        errno.raw_os_error()
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}
