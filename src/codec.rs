//! The one door to serde, bincode and serde_json.
//!
//! bincode 2.0.1 is frozen (RUSTSEC-2025-0141: unmaintained). It is used for records that were authenticated before
//! they come here and for nothing else: bytes that an attacker may have made never reach it. JSON is only written, apart
//! from cryptfs's own audit log.
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use serde_json::{Value as Json, json};

/// The bytes are not such a record.
#[derive(Debug, thiserror::Error)]
#[error("malformed record")]
pub struct Malformed;

/// What the keystore remembers of a volume (see `volume::state`). Fields are only ever added at the end, under a new magic.
#[derive(Serialize, Deserialize)]
#[allow(missing_docs)] // volume::state::State says what they are
pub struct StateRecord {
    pub sequence: u64,
    pub header: [u8; 32],
    pub generation: u64,
    pub path: Vec<u8>,
}

/// A point in time: seconds since 1970, UTC, and nanoseconds.
pub type Stamp = (i64, u32);

/// An inode of an image (see `image::inode`). Read from authenticated pages only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // image::inode says what they are
pub struct InodeRecord {
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub pages: u64,
    pub flags: u32,
    pub parent: u64,
    pub next: u64,
    pub atime: Stamp,
    pub mtime: Stamp,
    pub ctime: Stamp,
    pub btime: Stamp,
}

/// What a name in an image means: the inode, and the name's place in listings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NameRecord {
    pub ino: u64,
    pub position: u64,
}

/// What stands at a place of a listing: inode, type bits of its mode, name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PositionRecord {
    pub ino: u64,
    pub kind: u32,
    pub name: Vec<u8>,
}

/// A root that is kept (see `image::snapshot`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SnapshotRecord {
    pub generation: u64,
    pub root: [u8; 32],
    pub created: Stamp,
}

/// Largest record that is decoded.
const LIMIT: usize = 1 << 20;

/// What [`decode`] gives: for callers that may not name serde.
pub trait Record: DeserializeOwned {}
impl<T: DeserializeOwned> Record for T {}

/// A record's bytes.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Our records have no type that bincode refuses, and a Vec takes what it is given.
    bincode::serde::encode_to_vec(record, config()).expect("records encode")
}

/// Writes a record over one that is as long as it.
pub fn encode_over<T: Serialize>(record: &T, bytes: &mut [u8]) -> Result<(), Malformed> {
    match bincode::serde::encode_into_slice(record, bytes, config()) {
        Ok(used) if used == bytes.len() => Ok(()),
        _ => Err(Malformed),
    }
}

/// A record from authenticated bytes; all of them are used.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match bincode::serde::decode_from_slice(bytes, config()) {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        _ => Err(Malformed),
    }
}

/// JSON as one line.
pub fn json_line(value: &Json) -> String {
    value.to_string()
}

/// JSON to read: indented.
pub fn json_text(value: &Json) -> String {
    format!("{value:#}")
}

/// Reads JSON.
pub fn parse_json(text: &str) -> Result<Json, Malformed> {
    serde_json::from_str(text).map_err(|_| Malformed)
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<LIMIT>()
}
