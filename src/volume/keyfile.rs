//! The keyfile: 32 random bytes that unlock one volume without anyone typing, with the names of what they are for.
use super::keys::Uuid;
use super::layout::{Field, covers, field};
use super::uuid;
use crate::crypto::digest;
use crate::crypto::secret::Secret;

/// Bytes of a keyfile.
pub const SIZE: usize = 104;
const MAGIC_TEXT: [u8; 8] = *b"CFSKEY1\x1a";
const MAGIC: Field = field(0, 8);
const VOLUME: Field = field(8, 16);
const SLOT: Field = field(24, 16);
const KEY: Field = field(40, 32);
const CHECKSUM: Field = field(72, 32);
const _: () = assert!(covers(&[MAGIC, VOLUME, SLOT, KEY, CHECKSUM], SIZE));

/// A keyfile's content.
#[derive(Debug)]
pub struct Keyfile {
    /// The volume that it is for.
    pub volume: Uuid,
    /// The key protector that it opens.
    pub slot: Uuid,
    /// The credential.
    pub key: Secret<32>,
}

impl Keyfile {
    /// A new one.
    pub(crate) fn random(volume: &Uuid) -> Self {
        Self {
            volume: *volume,
            slot: uuid::random(),
            key: Secret::random(),
        }
    }

    /// Its bytes, for a file of mode 0600.
    pub fn encode(&self) -> Secret<SIZE> {
        Secret::fill_with(|out| {
            MAGIC.put(out, &MAGIC_TEXT);
            VOLUME.put(out, &self.volume);
            SLOT.put(out, &self.slot);
            KEY.put(out, self.key.expose());
            let sum = digest::sha256(&[&out[..CHECKSUM.start()]]);
            CHECKSUM.put(out, &sum);
        })
    }

    /// Reads a keyfile; `None` if it is not an intact one. `read` fills a buffer and says how much of it.
    pub(crate) fn decode(
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<Option<Self>> {
        let mut length = Ok(0);
        // One byte more than a keyfile has, so that a longer file shows.
        let bytes = Secret::<{ SIZE + 1 }>::fill_with(|buffer| length = read(buffer));
        let length = length?;
        let bytes = &bytes.expose()[..SIZE];
        let sum = digest::sha256(&[&bytes[..CHECKSUM.start()]]);
        if length != SIZE || MAGIC.get(bytes) != MAGIC_TEXT || CHECKSUM.get(bytes) != sum {
            return Ok(None);
        }
        Ok(Some(Self {
            volume: VOLUME.array(bytes),
            slot: SLOT.array(bytes),
            key: Secret::fill_with(|key| key.copy_from_slice(KEY.get(bytes))),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Option<Keyfile> {
        Keyfile::decode(|buffer| {
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            Ok(length)
        })
        .unwrap()
    }

    #[test]
    fn back_again_and_every_flip_and_cut_seen() {
        let made = Keyfile::random(&[7; 16]);
        let bytes = made.encode();
        let bytes = bytes.expose();
        let read = decode(bytes).unwrap();
        assert_eq!((read.volume, read.slot), (made.volume, made.slot));
        assert_eq!(read.key.expose(), made.key.expose());
        for i in 0..SIZE {
            let mut bad = *bytes;
            bad[i] ^= 1;
            assert!(decode(&bad).is_none());
            assert!(decode(&bytes[..i]).is_none());
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_none());
    }
}
