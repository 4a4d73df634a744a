//! One binary, so that the suite stays quick to build.
//!
//! | module | what it proves |
//! | --- | --- |
//! | [`vectors`] | the standards' vectors, and our own from an independent implementation |
//! | [`directory`] | the directory layer through its trait, and the format's rules |
//! | [`image`] | images: damage is an error where it is, a power cut loses nothing promised, snapshots, a full volume |
//! | [`hostile`] | damaged backing files give errors, never other bytes |
//! | [`kinds`] | the kinds of volume that the suites below run on |
//! | [`layers`] | the layer rule, and the one door of each outside crate |
//! | [`needs`] | what the machine must have |
//! | [`model`] | random operations give what a plain in-memory tree gives, for every kind of volume |
//! | [`mount`] | the same under a real mount; options, features, and requests per operation |
//! | [`transcripts`] | what people type and see: every command that needs no mount, and every wrong input |
//! | [`programs`] | git, cargo, sqlite, rsync and tar on a real mount, compared with the plain disk |
#![allow(unreachable_pub)] // nothing is exported from a test binary

mod directory;
mod hostile;
mod image;
mod kinds;
mod layers;
#[cfg(feature = "fuse")]
mod model;
#[cfg(feature = "fuse")]
mod mount;
mod needs;
#[cfg(feature = "fuse")]
mod programs;
mod transcripts;
mod vectors;
