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

/// Largest record that is decoded.
const LIMIT: usize = 1 << 20;

/// A record's bytes.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Our records have no type that bincode refuses, and a Vec takes what it is given.
    bincode::serde::encode_to_vec(record, config()).expect("records encode")
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
