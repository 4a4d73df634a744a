//! Attacks: by other users of the computer, and by editors of the backing store who have no key. And what the defence must
//! not cost: the help of root for the owner of a volume.
#[cfg(feature = "fuse")]
mod descriptors;
#[cfg(feature = "fuse")]
mod exchanged;
#[cfg(feature = "fuse")]
mod home;
#[cfg(feature = "fuse")]
mod mounting;
mod owners;
mod places;
#[cfg(feature = "fuse")]
mod reach;
mod salvage;
#[cfg(feature = "fuse")]
mod umount;
