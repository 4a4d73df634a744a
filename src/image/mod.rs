//! The file system behind an image volume: one file or block device that hides names, sizes and the shape of the tree,
//! and in which every page is authenticated from the superblock down.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`layout`] | where things lie; what a commit is; what shows |
//! | [`device`] | the file or block device, and the seam for tests |
//! | [`pages`], [`mod@pointer`] | sealed pages, and what proves them |
//! | [`superblock`] | where the tree begins |
//! | [`bits`], [`space`] | which pages are free |
//! | [`node`], [`tree`], [`key`] | the one tree, and what its items are |
//! | [`ground`], [`store`] | what the tree stands on; changes and commits |
//! | [`inode`], `items`, `names` | what the items mean |
//! | [`core`] and those it names | the operations |
//! | [`open`](fn@format) | making and opening |
//! | [`log`] | changes since the last superblock: what an fsync writes |
//! | [`mod@check`] | every pointer of the image |
//! | [`snapshot`] | roots that are kept |
//! | `backup` | a consistent copy while mounted |
//! | `resize` | another size |

pub mod acl;
mod attr;
mod backup;
pub mod bits;
pub mod check;
mod content;
pub mod core;
pub mod device;
mod filesystem;
pub mod ground;
pub mod inode;
pub mod items;
pub mod key;
pub mod layout;
mod list;
mod log;
mod make;
mod names;
pub mod node;
pub mod nodes;
mod open;
pub mod pages;
pub mod pointer;
mod remove;
mod resize;
pub mod snapshot;
pub mod space;
pub mod store;
pub mod superblock;
mod survey;
mod timer;
pub mod tree;
mod xattr;

pub use backup::HOLDER;
pub use check::check;
pub use filesystem::Image;
pub use open::{OpenError, Options, format, prove_size};
pub use survey::Survey;
