//! The door to the kernel: a [`crate::fs::FileSystem`] as a mount. Unpacks, calls, replies.
//!
//! - [`Session`], `worker`, `late`: a mount and its threads. fuser mounts; the loop is ours.
//! - `wire`, `abi`, `encode`: the kernel's protocol as bytes.
//! - `adapter`: one function for each operation.
//! - [`MountOptions`], [`mountpoint`]: what people ask for, and where. [`reach`]: whether others reach the ciphertext.
//! - [`Point`], `attach`, `fusermount`: mounts on the directory that was checked.
//! - [`daemon`]: the process around it; `unmounter`: its helper. [`control`]: what commands ask of the file system.
//! - [`contact`], [`about`]: how commands find the daemon and wait for its end; `monitor`, `ending`: the daemon's side.
mod abi;
pub mod about;
mod adapter;
mod attach;
pub mod contact;
pub mod control;
mod counters;
pub mod daemon;
mod encode;
mod ending;
mod error;
mod fusermount;
mod late;
mod lost;
mod monitor;
pub mod mountpoint;
mod mtimes;
mod options;
mod point;
pub mod processes;
pub mod reach;
mod session;
mod unmounter;
mod wire;
mod worker;

pub use attach::available;
pub use counters::Counters;
pub use daemon::serve;
pub use error::Error;
pub use options::{MountOptions, OptionError};
pub use point::Point;
pub use session::Session;
pub use unmounter::Unmounter;
