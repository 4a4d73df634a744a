//! One binary, so that the suite stays quick to build.
//!
//! | module | what it proves |
//! | --- | --- |
//! | [`vectors`] | the standards' vectors, and our own from an independent implementation |
//! | [`attack`] | what other users and editors of the backing store try |
//! | [`backing`] | the disk below refuses, fills up, or is changed behind the volume's back |
//! | [`crash`] | a power cut before every operation loses nothing that was promised |
//! | [`directory`] | the directory layer through its trait, and the format's rules |
//! | [`fuzz`] | noise for every parser: refused, never a panic (under libFuzzer: tests/fuzz/Cargo.toml) |
//! | [`golden`] | volumes of format 1 open for ever; a reader written from the manual alone agrees |
//! | [`image`] | images: damage is an error where it is, a power cut loses nothing promised, snapshots, a full volume |
//! | [`hostile`] | damaged backing files give errors, never other bytes |
//! | [`drill`] | every disaster that recovery promises a way back from, on a volume of 5 000 files |
//! | [`kinds`] | the kinds of volume that the suites below run on |
//! | [`layers`] | the layer rule, and the one door of each outside crate |
//! | [`needs`] | what the machine must have |
//! | [`model`] | random operations give what a plain in-memory tree gives, for every kind of volume |
//! | [`mount`] | the same under a real mount; options, features, and requests per operation |
//! | [`transcripts`] | what people type and see: every command that needs no mount, and every wrong input |
//! | [`docs`] | the manual pages and the README say what the programs do |
//! | [`acceptance`] | nothing leaks; lost headers come back; what is refused changes nothing |
//! | [`schema`] | what programs may rely on in `--json` outputs |
//! | [`programs`] | git, cargo, sqlite, PostgreSQL, rsync and tar on a real mount, compared with the plain disk |
//!
//! Everyday runs are short. For long ones:
//!
//! | variable | |
//! | --- | --- |
//! | `CRYPTFS_MODEL_SEEDS`, `CRYPTFS_MOUNT_SEEDS` | seeds of the model through the trait, and mounted: `from..to` |
//! | `CRYPTFS_CRASH`, `CRYPTFS_THREADS`, `CRYPTFS_KILLS` | rounds of power cuts, of threads, of killed daemons |
//! | `CRYPTFS_FUZZ_SECONDS` | how long parsers get noise |
//! | `CRYPTFS_HOSTILE=all` | every damage instead of a sample |
//! | `CRYPTFS_REQUIRE_FUSE=1` | a machine without FUSE is a failure, not "NOT RUN" |
#![allow(unreachable_pub)] // nothing is exported from a test binary

#[cfg(feature = "fuse")]
mod acceptance;
mod attack;
mod backing;
mod crash;
mod directory;
mod docs;
#[cfg(feature = "fuse")]
mod drill;
mod fuzz;
mod golden;
mod hostile;
mod image;
mod kinds;
mod layers;
mod model;
#[cfg(feature = "fuse")]
mod mount;
mod needs;
#[cfg(feature = "fuse")]
mod programs;
mod schema;
mod transcripts;
mod vectors;
