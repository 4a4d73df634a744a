//! Unlocking by hand and copying out. Never needs FUSE.
//!
//! - [`mod@find`]: every header copy that there is, the volume's own, the keystore's and a kit's
//! - [`open`]: the file system of an unlocked volume
//! - [`mod@salvage`]: all that still decrypts, to another place, without writing to the volume
//! - `copy_out`: by the volume's own tree; [`scan`]: without it
//! - `target`: the destination, which may be where others can write
mod climb;
mod copy_out;
mod error;
mod find;
pub mod journal;
mod open;
pub mod salvage;
pub mod scan;
mod stored;
mod target;
pub mod verdict;

pub use error::{Error, Result};
pub use find::{Search, find};
pub use open::{How, belongs, directory, file_system, image, may_repair, prove_size};
pub use salvage::{Job, salvage};
pub use scan::Placed;
pub use verdict::{Outcome, Summary, Verdict};
