//! The door to the kernel: a [`crate::fs::FileSystem`] as a mount. Unpacks, calls, replies.
//!
//! - [`Session`], `worker`, `late`: a mount and its threads. fuser mounts; the loop is ours.
//! - `wire`, `abi`, `encode`: the kernel's protocol as bytes.
//! - `adapter`: one function for each operation.
//! - [`MountOptions`], [`mountpoint`]: what people ask for, and where. [`reach`]: whether others reach the ciphertext.
//! - [`daemon`]: the process around it. [`control`]: what commands ask of it.
mod abi;
mod adapter;
pub mod control;
mod counters;
pub mod daemon;
mod encode;
mod error;
mod late;
pub mod mountpoint;
mod mtimes;
mod options;
mod presence;
pub mod processes;
pub mod reach;
mod session;
mod wire;
mod worker;

pub use counters::Counters;
pub use daemon::serve;
pub use error::Error;
pub use options::{MountOptions, OptionError};
pub use session::{Session, available};
