//! cryptfs: an encrypted filesystem that unlocks itself, and that you get back by hand when it does not.
//!
//! # The map
//!
//! 1. [`crypto`] turns bytes into bytes and has never seen a disk.
//! 2. [`volume`] is what every kind of volume shares: the header, its key protectors, the keystore, the keys. A
//!    `Volume` that can decrypt exists only through an unlock.
//! 3. [`fs`] is one trait, [`fs::FileSystem`], in POSIX words (nodes, names as bytes, errno at its edge).
//! 4. Two file systems stand behind it: [`directory`] (one backing file for each file: sync it, back it up, restore one
//!    file of it) and [`image`] (one file or block device that hides names, sizes and tree shape).
//! 5. `fuse`, [`cli`] and [`recover`] are doors: they unpack, call, and reply. They decide nothing.
//!
//! ```text
//!             cli                    may use everything; used by the mains only
//!            /   \
//!         fuse   recover             siblings
//!            \   /
//!             fs  <- directory, image  (kinds of volume do not know each other)
//!              |
//!            volume
//!              |
//!            crypto      sys         sys is a leaf: raw system calls
//! ```
//!
//! Each outside crate has one door: `fuser` only in fuse/, `clap`, `indicatif` and `qrcode` only in cli/, ciphers and hashes
//! only in crypto/, `serde` and `bincode` only in codec.rs, `libc` only in sys. `unsafe` stands in sys and in crypto's two
//! kernels, xts/vaes.rs and tag/vpclmul.rs. `tests/layers.rs` enforces it.

pub mod cli;
pub mod codec;
pub mod crypto;
pub mod directory;
pub mod fs;
#[cfg(feature = "fuse")]
pub mod fuse;
pub mod image;
pub mod printable;
pub mod recover;
pub mod sys;
pub mod volume;
