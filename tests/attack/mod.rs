//! Attacks: by other users of the computer, and by editors of the backing store who have no key. And what the defence must
//! not cost: the help of root for the owner of a volume.
mod owners;
mod places;
mod salvage;
