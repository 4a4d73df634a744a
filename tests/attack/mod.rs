//! Attacks: by other users of the computer, and by editors of the backing store who have no key. And what the defence must
//! not cost: the help of root for the owner of a volume.
#[cfg(feature = "fuse")]
mod exchanged;
mod owners;
mod places;
#[cfg(feature = "fuse")]
mod reach;
mod salvage;
