//! What this computer remembers of a volume, so that an older header or an older image is noticed.
use super::header::Image;
use super::keys::Uuid;
use crate::codec::{self, StateRecord};
use crate::crypto::digest;
use crate::crypto::secret::Secret;

const MAGIC: &[u8; 8] = b"CFSSTA1\x1a";
const MAC: usize = 32;

/// What the keystore remembers of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The newest header's sequence number.
    pub sequence: u64,
    /// The newest header's SHA-256.
    pub header: [u8; 32],
    /// An image's newest generation.
    pub generation: u64,
    /// Where the volume was last seen.
    pub path: Vec<u8>,
}

impl State {
    /// Remembers this header.
    pub(crate) fn set_header(&mut self, sequence: u64, image: &Image) {
        self.sequence = sequence;
        self.header = digest::sha256(&[image]);
    }

    pub(crate) fn encode(&self, volume: &Uuid, key: &Secret<32>) -> Vec<u8> {
        let record = codec::encode(&StateRecord {
            sequence: self.sequence,
            header: self.header,
            generation: self.generation,
            path: self.path.clone(),
        });
        let mac = digest::hmac_sha256(key, &[MAGIC, volume, &record]);
        [&MAGIC[..], &mac, &record].concat()
    }

    /// `None` for anything that was not written by [`State::encode`] with this key: nothing is decoded before its MAC was
    /// checked.
    pub(crate) fn decode(bytes: &[u8], volume: &Uuid, key: &Secret<32>) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (mac, record) = rest.split_at_checked(MAC)?;
        let wanted = digest::hmac_sha256(key, &[MAGIC, volume, record]);
        if !digest::equal(mac, &wanted) {
            return None;
        }
        let record: StateRecord = codec::decode(record).ok()?;
        Some(Self {
            sequence: record.sequence,
            header: record.header,
            generation: record.generation,
            path: record.path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_holder_writes_it() {
        let key = Secret::random();
        let state = State {
            sequence: 7,
            generation: 3,
            path: b"/srv/data".to_vec(),
            ..State::default()
        };
        let bytes = state.encode(&[1; 16], &key);
        assert_eq!(State::decode(&bytes, &[1; 16], &key), Some(state));
        assert_eq!(State::decode(&bytes, &[2; 16], &key), None);
        assert_eq!(State::decode(&bytes, &[1; 16], &Secret::random()), None);
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x40;
            assert_eq!(State::decode(&bad, &[1; 16], &key), None);
            assert_eq!(State::decode(&bytes[..i], &[1; 16], &key), None);
        }
    }
}
