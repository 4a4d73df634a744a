//! The file system behind a directory volume: one backing file for each file, one backing directory for each directory.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@unit`] | the sealed 4 KiB page |
//! | [`layout`] | where plaintext lies in a backing file |
//! | [`backing`] | every system call on the backing store; [`record`] is the seam for crash tests |

pub mod backing;
pub mod file;
pub mod layout;
pub mod name;
pub mod record;
pub mod session;
pub mod store;
mod tree;
pub mod unit;

pub use tree::{Directory, Options, check, format, link, xattr};
