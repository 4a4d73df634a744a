//! Why bytes are not a usable header.
use super::{MAJOR, SIZE};

/// Why bytes are not a header that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not 16 KiB.
    #[error("{0} bytes instead of {SIZE}")]
    Length(u64),
    /// Something else, or destroyed at its beginning.
    #[error("not a cryptfs header")]
    Magic,
    /// Another major version.
    #[error("format version {major}.{minor} is unknown (this cryptfs knows {MAJOR}.x)")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
        /// The checksum is right: it is not damage that looks like a version.
        intact: bool,
    },
    /// Damaged.
    #[error("the checksum does not match")]
    Checksum,
    /// Uses features that this version does not know.
    #[error("needs features that this version does not know: {}", bits(*.0))]
    Incompatible(u64),
    /// Bytes that must be zero are not.
    #[error("reserved bytes are in use ({0})")]
    Reserved(&'static str),
    /// A value that the format does not have.
    #[error("{field} {value} is unknown")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// Text that is not plain UTF-8.
    #[error("{0} is not plain text")]
    Text(&'static str),
    /// The table of FVEKs is empty, out of order or has no last one to write with.
    #[error("the key table is malformed")]
    KeyTable,
}

impl HeaderError {
    /// True where the bytes are whole and a newer cryptfs would understand them: never to be overwritten as damage.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Version { intact, .. } => *intact,
            Self::Incompatible(_) => true,
            _ => false,
        }
    }
}

fn bits(set: u64) -> String {
    let names: Vec<_> = (0..64)
        .filter(|i| set >> i & 1 == 1)
        .map(|i| format!("incompat bit {i}"))
        .collect();
    names.join(", ")
}
