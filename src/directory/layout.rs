//! Where plaintext lies in a backing file: pure arithmetic (man/cryptfs.5, "FILES").
//!
//! Unit 0's payload begins with the [`Header`]; plaintext offset `o` lies in unit `(o + 64) / 4064`. The backing length is
//! `units x 4096 + slack`, slack being the unused payload of the last unit, so that stat(2) gives the plaintext size
//! without opening the file.
use super::unit::{PAYLOAD, UNIT};
use crate::fs::Damage;

/// Bytes of the header in unit 0's payload.
pub const HEADER: usize = 64;
/// The largest plaintext size: the backing offset must stay within `i64`.
pub const MAX_SIZE: u64 = (i64::MAX as u64 / UNIT as u64 - 1) * PAYLOAD as u64;

/// Where a plaintext offset lies: unit, and offset in its payload.
pub fn locate(offset: u64) -> (u64, usize) {
    let at = offset + HEADER as u64;
    (at / PAYLOAD as u64, (at % PAYLOAD as u64) as usize)
}

/// Units in a file of `size` bytes.
pub fn units(size: u64) -> u64 {
    if size == 0 {
        0
    } else {
        (size + HEADER as u64).div_ceil(PAYLOAD as u64)
    }
}

/// Payload bytes in use in the last of the units of a file of `size` > 0 bytes.
pub fn last_valid(size: u64) -> usize {
    let used = (size + HEADER as u64) - (units(size) - 1) * PAYLOAD as u64;
    used as usize // at most PAYLOAD
}

/// The backing length of a file of `size` bytes.
pub fn backing_length(size: u64) -> u64 {
    if size == 0 {
        return 0;
    }
    units(size) * UNIT as u64 + (PAYLOAD - last_valid(size)) as u64
}

/// The plaintext size that a backing length claims. Lengths that no write makes (a cut file) give the size of the
/// whole units they hold.
pub fn claimed_size(length: u64) -> u64 {
    let units = length / UNIT as u64;
    let slack = (length % UNIT as u64).min(PAYLOAD as u64 - 1);
    (units * PAYLOAD as u64).saturating_sub(slack + HEADER as u64)
}

/// The plaintext offset at which a unit's payload starts (unit 0: 0).
pub fn start(unit: u64) -> u64 {
    (unit * PAYLOAD as u64).saturating_sub(HEADER as u64)
}

/// The first 64 bytes of unit 0's payload.
///
/// ```text
///  0  version    1  = 1
///  1  flags      1  bit 0: SPARSE
///  2  zero       6
///  8  session    8  the session that wrote it
/// 16  length     8  plaintext size at the last release
/// 24  created    8  nanoseconds since 1970
/// 32  parent    12  directory id at creation, for salvage
/// 44  zero      20
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Zero units inside are holes.
    pub sparse: bool,
    /// The session that wrote this header.
    pub session: u64,
    /// Plaintext size when it was last recorded.
    pub length: u64,
    /// When the content was created, nanoseconds since 1970.
    pub created: u64,
    /// The directory in which it was created.
    pub parent: [u8; 12],
}

const VERSION: u8 = 1;
const SPARSE: u8 = 1;

impl Header {
    /// From the start of unit 0's authenticated payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Damage> {
        let bytes: &[u8; HEADER] = payload.first_chunk().ok_or(Damage::Malformed)?;
        let u64_at = |at: usize| {
            let mut out = [0; 8];
            out.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(out)
        };
        let zeros = bytes[2..8].iter().chain(&bytes[44..]).all(|b| *b == 0);
        if bytes[0] != VERSION || bytes[1] & !SPARSE != 0 || !zeros {
            return Err(Damage::Malformed);
        }
        let mut parent = [0; 12];
        parent.copy_from_slice(&bytes[32..44]);
        Ok(Self {
            sparse: bytes[1] & SPARSE != 0,
            session: u64_at(8),
            length: u64_at(16),
            created: u64_at(24),
            parent,
        })
    }

    /// Into the start of unit 0's payload.
    pub fn write(&self, payload: &mut [u8]) {
        let out = &mut payload[..HEADER];
        out.fill(0);
        out[0] = VERSION;
        out[1] = if self.sparse { SPARSE } else { 0 };
        out[8..16].copy_from_slice(&self.session.to_le_bytes());
        out[16..24].copy_from_slice(&self.length.to_le_bytes());
        out[24..32].copy_from_slice(&self.created.to_le_bytes());
        out[32..44].copy_from_slice(&self.parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_round_trips_through_the_backing_length() {
        for size in (0..20_000).chain([1 << 30, (1 << 40) + 7, MAX_SIZE]) {
            assert_eq!(claimed_size(backing_length(size)), size, "{size}");
        }
    }

    #[test]
    fn a_byte_lies_in_the_units_of_its_size() {
        for offset in [0u64, 1, 3999, 4000, 4001, 8063, 8064, 1 << 33] {
            let (unit, at) = locate(offset);
            assert_eq!(units(offset + 1), unit + 1);
            assert_eq!(last_valid(offset + 1), at + 1);
        }
    }
}
