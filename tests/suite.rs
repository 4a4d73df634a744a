//! One binary, so that the suite stays quick to build.
//!
//! | module | what it proves |
//! | --- | --- |
//! | [`model`] | random operations give what a plain in-memory tree gives, for every kind of volume |
#![allow(unreachable_pub)] // nothing is exported from a test binary

mod model;
