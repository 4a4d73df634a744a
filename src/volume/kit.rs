//! The recovery kit: a copy of the header to keep elsewhere. It holds no secret in the clear and opens nothing without a
//! recovery password; with one it rebuilds every copy of the header.
//!
//! Magic (8 bytes), version (u16, 1), zeros (6), time (u64), header (16 KiB), SHA-256 of all before it.
use super::date::{self, Seconds};
use super::header::{Header, Image, SIZE as HEADER};
use super::layout::{Field, covers, field};
use crate::crypto::digest;

const MAGIC_TEXT: [u8; 8] = *b"CFSKIT1\x1a";
const MAGIC: Field = field(0, 8);
const VERSION: Field = field(8, 2);
const RESERVED: Field = field(10, 6);
const MADE: Field = field(16, 8);
const COPY: Field = field(24, HEADER);
const CHECKSUM: Field = field(24 + HEADER, 32);
/// Bytes of a kit.
pub const SIZE: usize = 24 + HEADER + 32;
const _: () = assert!(covers(
    &[MAGIC, VERSION, RESERVED, MADE, COPY, CHECKSUM],
    SIZE
));
const _: () = assert!(SIZE <= 32 * 1024);

/// A kit's content.
#[derive(Debug)]
pub struct Kit {
    /// When it was written.
    pub made: Seconds,
    /// The header in it.
    pub header: Header,
    /// The header's bytes.
    pub bytes: Vec<u8>,
}

/// A kit of this header.
pub fn write(header: &Image) -> Vec<u8> {
    let mut out = vec![0; SIZE];
    MAGIC.put(&mut out, &MAGIC_TEXT);
    VERSION.put(&mut out, &1u16.to_le_bytes());
    MADE.put(&mut out, &date::now().to_le_bytes());
    COPY.put(&mut out, header);
    let sum = digest::sha256(&[&out[..CHECKSUM.start()]]);
    CHECKSUM.put(&mut out, &sum);
    out
}

/// Reads a kit. A plain header copy is taken too. The error says what is wrong.
pub fn read(bytes: &[u8]) -> Result<Kit, String> {
    if bytes.len() == HEADER {
        return open(bytes, 0);
    }
    if bytes.len() != SIZE || MAGIC.get(bytes) != MAGIC_TEXT {
        return Err("not a recovery kit".to_owned());
    }
    let version = VERSION.u16(bytes);
    if version != 1 {
        return Err(format!("recovery kit version {version} is unknown"));
    }
    let sum = digest::sha256(&[&bytes[..CHECKSUM.start()]]);
    if CHECKSUM.get(bytes) != sum || RESERVED.not_zero(bytes).is_some() {
        return Err("the checksum does not match".to_owned());
    }
    open(COPY.get(bytes), MADE.u64(bytes))
}

fn open(header: &[u8], made: Seconds) -> Result<Kit, String> {
    Ok(Kit {
        made,
        header: Header::decode(header).map_err(|e| e.to_string())?,
        bytes: header.to_vec(),
    })
}
