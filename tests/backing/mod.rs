//! What lies below a volume fails, fills up, or is changed behind its back.
//!
//! | module | what happens below | what must hold |
//! | --- | --- | --- |
//! | [`refused`] | the kernel refuses one kind of system call: ENOSPC, EDQUOT, EIO, EROFS | that errno or EIO, no other; nothing old is lost; all is well once it works again |
//! | [`full`] | the disk below is full (through a mount) | ENOSPC, never a lost file that was acknowledged; it can be emptied and filled again |
//! | [`clock`] | the clock is set back | sessions count on; crash and cut are told apart as before |
//! | [`changed`] | files and directories are cut, replaced, removed; the disk goes away, or is read-only (through a mount) | an error there, and nowhere else; the daemon lives |
//! | [`seeks`] | the answers to SEEK_HOLE do not move forward | everything counts as data; nothing hangs |
//! | [`sides`] | a long name cannot be made | no side file stays behind |
//! | [`holes`] | a file system that has none, below an image (through a mount) | the space is used again |
//! | [`stores`] | the disk below is bindfs, encfs, sshfs, overlayfs, or btrfs with subvolumes (through a mount) | what is written is there, under every name and after a remount; check finds nothing |
#[cfg(feature = "fuse")]
mod changed;
pub mod clock;
#[cfg(feature = "fuse")]
mod full;
#[cfg(feature = "fuse")]
mod holes;
pub mod refused;
mod seeks;
mod sides;
#[cfg(feature = "fuse")]
mod stores;
