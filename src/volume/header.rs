//! The header: 16 KiB of fixed binary, the same for every kind of volume; man/cryptfs.5 is the law.
//!
//! Reading one proves nothing but that it is undamaged and understood. It is believed once a key protector gave the VMK
//! and the MAC under it was right ([`Header::is_authentic`]).
mod attention;
mod codes;
mod error;

pub use error::HeaderError;

use super::date::Seconds;
use super::keys::{Epoch, Uuid};
use super::layout::{Field, covers, field};
use super::protector::{Protector, ProtectorKind, ProtectorState, SLOT_SIZE};
use super::uuid;
use super::vmk::Vmk;
use crate::crypto::digest;
use crate::crypto::tag::Algorithm;
use crate::crypto::xts::Cipher;
use codes::*;

/// Bytes of a header.
pub const SIZE: usize = 16 * 1024;
/// Key protector slots.
pub const SLOTS: usize = 12;
/// FVEK entries.
pub const EPOCHS: usize = 32;
/// Longest label and computer name, bytes.
pub const TEXT_SIZE: usize = 64;
/// The format's major version: another one is refused.
pub const MAJOR: u16 = 1;
/// The format's minor version: a higher one is read.
pub const MINOR: u16 = 0;
/// A header as it is stored.
pub type Image = [u8; SIZE];

const MAGIC_TEXT: [u8; 8] = *b"CRYPTFS\x1a";
const FVEK_SIZE: usize = 64;

const MAGIC: Field = field(0, 8);
const VERSION_MAJOR: Field = field(8, 2);
const VERSION_MINOR: Field = field(10, 2);
const LENGTH: Field = field(12, 4);
const UUID: Field = field(16, 16);
const SEQUENCE: Field = field(32, 8);
const CREATED: Field = field(40, 8);
const WRITTEN: Field = field(48, 8);
const COMPAT: Field = field(56, 8);
const RO_COMPAT: Field = field(64, 8);
const INCOMPAT: Field = field(72, 8);
const KIND: Field = field(80, 1);
const PROFILE: Field = field(81, 1);
const CIPHER: Field = field(82, 1);
const TAG: Field = field(83, 1);
const NAME_CIPHER: Field = field(84, 1);
const NAME_ENCODING: Field = field(85, 1);
const RESERVED1: Field = field(86, 2);
const ROOT: Field = field(88, 12);
const RESERVED2: Field = field(100, 4);
const LABEL: Field = field(104, TEXT_SIZE);
const COMPUTER: Field = field(168, TEXT_SIZE);
const RESERVED3: Field = field(232, 280);
const FVEKS: Field = field(512, EPOCHS * FVEK_SIZE);
const RESERVED4: Field = field(2560, 512);
const SLOT_TABLE: Field = field(3072, SLOTS * SLOT_SIZE);
const RESERVED5: Field = field(15360, 960);
const MAC: Field = field(16320, 32);
const CHECKSUM: Field = field(16352, 32);
const _: () = assert!(covers(
    &[
        MAGIC,
        VERSION_MAJOR,
        VERSION_MINOR,
        LENGTH,
        UUID,
        SEQUENCE,
        CREATED,
        WRITTEN,
        COMPAT,
        RO_COMPAT,
        INCOMPAT,
        KIND,
        PROFILE,
        CIPHER,
        TAG,
        NAME_CIPHER,
        NAME_ENCODING,
        RESERVED1,
        ROOT,
        RESERVED2,
        LABEL,
        COMPUTER,
        RESERVED3,
        FVEKS,
        RESERVED4,
        SLOT_TABLE,
        RESERVED5,
        MAC,
        CHECKSUM
    ],
    SIZE
));

// One entry of the FVEK table.
const EPOCH: Field = field(0, 1);
const EPOCH_STATE: Field = field(1, 1);
const EPOCH_CIPHER: Field = field(2, 1);
const EPOCH_RESERVED1: Field = field(3, 5);
const EPOCH_CREATED: Field = field(8, 8);
const EPOCH_WRAPPED: Field = field(16, 40);
const EPOCH_RESERVED2: Field = field(56, 8);
const _: () = assert!(covers(
    &[
        EPOCH,
        EPOCH_STATE,
        EPOCH_CIPHER,
        EPOCH_RESERVED1,
        EPOCH_CREATED,
        EPOCH_WRAPPED,
        EPOCH_RESERVED2
    ],
    FVEK_SIZE
));

/// A compat feature: an image keeps the space that its files gave up, as it was made with all of it.
pub const KEEPS_SPACE: u64 = 1 << 0;
/// Features this version knows beside, by bit: none yet.
const KNOWN_INCOMPAT: u64 = 0;
const KNOWN_RO_COMPAT: u64 = 0;

/// What stores the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One backing file for each file.
    Directory,
    /// One file or block device.
    Image,
}

/// How sealed names are spelled on the backing store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameEncoding {
    /// base64url: upper and lower case differ.
    Base64Url,
    /// base32hex: for stores that ignore case.
    Base32Hex,
}

/// Feature bits (as in ext4): unknown compat bits are ignored, unknown ro_compat bits forbid writing, unknown incompat bits
/// forbid everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Features {
    pub compat: u64,
    pub ro_compat: u64,
    pub incompat: u64,
}

/// A key that content is encrypted under, wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fvek {
    /// Its epoch; the last in the table is the one that new files are written under.
    pub epoch: Epoch,
    /// When it was made.
    pub created: Seconds,
    pub(crate) wrapped: [u8; 40],
}

/// A header's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor version.
    pub minor: u16,
    /// The volume's UUID.
    pub uuid: Uuid,
    /// Counts the changes: the copy with the highest is the newest.
    pub sequence: u64,
    /// When the volume was made.
    pub created: Seconds,
    /// When this header was written.
    pub written: Seconds,
    /// Feature bits.
    pub features: Features,
    /// What stores the data.
    pub kind: Kind,
    /// Content cipher.
    pub cipher: Cipher,
    /// Tag algorithm.
    pub tag: Algorithm,
    /// Spelling of sealed names.
    pub name_encoding: NameEncoding,
    /// The volume's name, for people.
    pub label: String,
    /// The computer it was made on.
    pub computer: String,
    /// The root directory's id.
    pub root: [u8; 12],
    /// Wrapped content keys, oldest first; never empty.
    pub fveks: Vec<Fvek>,
    /// Key protectors.
    pub slots: [Option<Protector>; SLOTS],
}

impl Header {
    /// Reads a header. What it says is not yet to be believed.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &Image = bytes
            .try_into()
            .map_err(|_| HeaderError::Length(bytes.len() as u64))?;
        check_frame(bytes)?;
        let features = Features {
            compat: COMPAT.u64(bytes),
            ro_compat: RO_COMPAT.u64(bytes),
            incompat: INCOMPAT.u64(bytes),
        };
        if features.incompat & !KNOWN_INCOMPAT != 0 {
            return Err(HeaderError::Incompatible(
                features.incompat & !KNOWN_INCOMPAT,
            ));
        }
        check_reserved(bytes)?;
        only("profile", PROFILE.u8(bytes), 1)?;
        only("name cipher", NAME_CIPHER.u8(bytes), 1)?;
        let cipher = CIPHER.u8(bytes);
        Ok(Self {
            minor: VERSION_MINOR.u16(bytes),
            uuid: UUID.array(bytes),
            sequence: SEQUENCE.u64(bytes),
            created: CREATED.u64(bytes),
            written: WRITTEN.u64(bytes),
            features,
            kind: decode_kind(KIND.u8(bytes))?,
            cipher: decode_cipher(cipher)?,
            tag: decode_tag(TAG.u8(bytes))?,
            name_encoding: decode_encoding(NAME_ENCODING.u8(bytes))?,
            label: LABEL.text(bytes).ok_or(HeaderError::Text("label"))?,
            computer: COMPUTER
                .text(bytes)
                .ok_or(HeaderError::Text("computer name"))?,
            root: ROOT.array(bytes),
            fveks: decode_fveks(FVEKS.get(bytes), cipher)?,
            slots: decode_slots(SLOT_TABLE.get(bytes))?,
        })
    }

    /// The bytes to store, authenticated under the VMK.
    pub(crate) fn encode(&self, vmk: &Vmk) -> Box<Image> {
        let mut out = Box::new([0; SIZE]);
        let bytes = &mut out[..];
        MAGIC.put(bytes, &MAGIC_TEXT);
        VERSION_MAJOR.put(bytes, &MAJOR.to_le_bytes());
        VERSION_MINOR.put(bytes, &self.minor.to_le_bytes());
        LENGTH.put(bytes, &(SIZE as u32).to_le_bytes());
        UUID.put(bytes, &self.uuid);
        SEQUENCE.put(bytes, &self.sequence.to_le_bytes());
        CREATED.put(bytes, &self.created.to_le_bytes());
        WRITTEN.put(bytes, &self.written.to_le_bytes());
        COMPAT.put(bytes, &self.features.compat.to_le_bytes());
        RO_COMPAT.put(bytes, &self.features.ro_compat.to_le_bytes());
        INCOMPAT.put(bytes, &self.features.incompat.to_le_bytes());
        let cipher = cipher_code(self.cipher);
        KIND.put(bytes, &[kind_code(self.kind)]);
        PROFILE.put(bytes, &[1]);
        CIPHER.put(bytes, &[cipher]);
        TAG.put(bytes, &[tag_code(self.tag)]);
        NAME_CIPHER.put(bytes, &[1]);
        NAME_ENCODING.put(bytes, &[encoding_code(self.name_encoding)]);
        ROOT.put(bytes, &self.root);
        LABEL.put_text(bytes, &self.label);
        COMPUTER.put_text(bytes, &self.computer);
        let entries = FVEKS.get_mut(bytes).chunks_exact_mut(FVEK_SIZE);
        for (entry, fvek) in entries.zip(&self.fveks) {
            let last = self
                .fveks
                .last()
                .is_some_and(|last| last.epoch == fvek.epoch);
            EPOCH.put(entry, &[fvek.epoch]);
            EPOCH_STATE.put(entry, &[if last { 1 } else { 2 }]);
            EPOCH_CIPHER.put(entry, &[cipher]);
            EPOCH_CREATED.put(entry, &fvek.created.to_le_bytes());
            EPOCH_WRAPPED.put(entry, &fvek.wrapped);
        }
        let places = SLOT_TABLE.get_mut(bytes).as_chunks_mut::<SLOT_SIZE>().0;
        for (place, slot) in places.iter_mut().zip(&self.slots) {
            if let Some(slot) = slot {
                slot.encode(place);
            }
        }
        let mac = digest::hmac_sha256(&vmk.header_mac(), &[&bytes[..MAC.start()]]);
        MAC.put(bytes, &mac);
        let checksum = digest::sha256(&[&bytes[..CHECKSUM.start()]]);
        CHECKSUM.put(bytes, &checksum);
        out
    }

    /// True if whoever wrote these bytes had the VMK.
    pub(crate) fn is_authentic(bytes: &Image, vmk: &Vmk) -> bool {
        let mac = digest::hmac_sha256(&vmk.header_mac(), &[&bytes[..MAC.start()]]);
        digest::equal(&mac, MAC.get(bytes))
    }

    /// The key protectors in use.
    pub fn protectors(&self) -> impl Iterator<Item = &Protector> {
        self.slots.iter().flatten()
    }

    /// Feature bits that allow reading only, as far as this version does not know them.
    pub fn unknown_ro_compat(&self) -> u64 {
        self.features.ro_compat & !KNOWN_RO_COMPAT
    }
}

/// Magic, version and damage, in the order in which their messages help most.
fn check_frame(bytes: &Image) -> Result<(), HeaderError> {
    if MAGIC.get(bytes) != MAGIC_TEXT {
        return Err(HeaderError::Magic);
    }
    let intact = digest::sha256(&[&bytes[..CHECKSUM.start()]]) == CHECKSUM.array(bytes);
    let (major, minor) = (VERSION_MAJOR.u16(bytes), VERSION_MINOR.u16(bytes));
    if major != MAJOR {
        return Err(HeaderError::Version {
            major,
            minor,
            intact,
        });
    }
    if !intact {
        return Err(HeaderError::Checksum);
    }
    if LENGTH.u32(bytes) as usize != SIZE {
        return Err(HeaderError::Length(LENGTH.u32(bytes).into()));
    }
    Ok(())
}

fn check_reserved(bytes: &Image) -> Result<(), HeaderError> {
    let all = [RESERVED1, RESERVED2, RESERVED3, RESERVED4, RESERVED5];
    match all.iter().any(|place| place.not_zero(bytes).is_some()) {
        true => Err(HeaderError::Reserved("header")),
        false => Ok(()),
    }
}

fn only(name: &'static str, value: u8, known: u8) -> Result<(), HeaderError> {
    if value == known {
        Ok(())
    } else {
        Err(unknown(name, value))
    }
}

/// The table is packed, its epochs rise, and only the last one is there to write with.
fn decode_fveks(table: &[u8], cipher: u8) -> Result<Vec<Fvek>, HeaderError> {
    let entries: Vec<&[u8]> = table.chunks_exact(FVEK_SIZE).collect();
    let used = entries
        .iter()
        .take_while(|entry| EPOCH.u8(entry) != 0)
        .count();
    if used == 0
        || entries[used..]
            .iter()
            .any(|entry| entry.iter().any(|&b| b != 0))
    {
        return Err(HeaderError::KeyTable);
    }
    let mut fveks: Vec<Fvek> = Vec::with_capacity(used);
    for (i, entry) in entries[..used].iter().enumerate() {
        let fvek = Fvek {
            epoch: EPOCH.u8(entry),
            created: EPOCH_CREATED.u64(entry),
            wrapped: EPOCH_WRAPPED.array(entry),
        };
        only("key cipher", EPOCH_CIPHER.u8(entry), cipher)?;
        only(
            "key state",
            EPOCH_STATE.u8(entry),
            if i + 1 == used { 1 } else { 2 },
        )?;
        if EPOCH_RESERVED1
            .not_zero(entry)
            .or(EPOCH_RESERVED2.not_zero(entry))
            .is_some()
        {
            return Err(HeaderError::Reserved("key table"));
        }
        if fveks
            .last()
            .is_some_and(|before| before.epoch >= fvek.epoch)
        {
            return Err(HeaderError::KeyTable);
        }
        fveks.push(fvek);
    }
    Ok(fveks)
}

fn decode_slots(table: &[u8]) -> Result<[Option<Protector>; SLOTS], HeaderError> {
    let mut slots = [const { None }; SLOTS];
    for (slot, bytes) in slots.iter_mut().zip(table.as_chunks::<SLOT_SIZE>().0) {
        *slot = Protector::decode(bytes)?;
    }
    Ok(slots)
}

#[cfg(test)]
mod tests;
