//! The file system behind an image volume: one file or block device that hides names, sizes and the shape of the tree,
//! and in which every page is authenticated from the superblock down.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`layout`] | where things lie; what a commit is; what shows |
//! | [`device`] | the file or block device, and the seam for tests |
//! | [`pages`], [`pointer`] | sealed pages, and what proves them |
//! | [`superblock`] | where the tree begins |
//! | [`space`] | which pages are free |
//! | [`node`], [`tree`], [`key`] | the one tree, and what its items are |
//! | [`ground`], [`store`] | what the tree stands on; changes and commits |

pub mod device;
pub mod ground;
pub mod key;
pub mod layout;
pub mod node;
pub mod pages;
pub mod pointer;
pub mod space;
pub mod store;
pub mod superblock;
pub mod tree;
