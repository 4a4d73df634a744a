//! Real mounts: the kernel above, a file system below, and the door between them.
//!
//! Where there is no `/dev/fuse` nothing here can be shown; each test then says so (see [`crate::needs`]).
mod daemon;
mod features;
mod hidden;
mod layers;
mod lost;
mod model;
mod requests;
pub mod served;
mod times;
mod together;
