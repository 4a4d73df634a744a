//! Unlocking by hand and copying out. Never needs FUSE.
//!
//! - [`find`]: every header copy that there is, the volume's own, the keystore's and a kit's
//! - [`open`]: the file system of an unlocked volume
//! - [`copy_out`]: salvage: all that still decrypts, to another place, without writing to the volume
pub mod copy_out;
mod error;
mod find;
mod open;
mod target;

pub use copy_out::{Outcome, Summary, Verdict, copy_out};
pub use error::{Error, Result};
pub use find::{Search, find};
pub use open::{belongs, directory, file_system};
