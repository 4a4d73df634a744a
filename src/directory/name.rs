//! Sealed names (man/cryptfs.5, "SEALED NAMES").
//!
//! | entry | backing name |
//! | --- | --- |
//! | file | `<sealed>` |
//! | directory | `<sealed>.<id>`, id: the directory's own 12 random bytes |
//! | long name | `~<hash>` or `~<hash>.<id>`, with the sealed name in the side file `~<hash>+` |
//!
//! sealed = encoding of AES-256-SIV over the name padded with zeros to a multiple of 16; associated data: id of the parent
//! directory, type ("f" or "d"), a directory's own id. So a name opens only where it was put, and moving a tree moves
//! one entry.
use crate::crypto::{digest, random, siv::Siv};
use crate::fs::Damage;
use crate::volume::keys::Keys;
use data_encoding::{BASE32HEX_NOPAD, BASE64URL_NOPAD, Encoding};
use std::ffi::CString;
use std::sync::Arc;

/// The longest name, bytes.
pub const MAX_NAME: usize = 255;
/// A sealed name is at most this long; the rest of 255 bytes is a directory's suffix.
const MAX_SEALED: usize = 238;
const LONG: u8 = b'~';
const SIDE: u8 = b'+';

/// Names a directory for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirId(pub [u8; 12]);

impl DirId {
    /// A new one.
    pub fn random() -> Self {
        Self(random::bytes())
    }
}

/// How sealed names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NameEncoding {
    /// RFC 4648, section 5, without padding.
    #[default]
    Base64Url,
    /// RFC 4648, section 7, without padding: for stores that ignore case.
    Base32Hex,
}

impl NameEncoding {
    fn table(self) -> Encoding {
        match self {
            Self::Base64Url => BASE64URL_NOPAD,
            Self::Base32Hex => BASE32HEX_NOPAD,
        }
    }
}

/// The side file of a long name: it must be durable before the entry appears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its name.
    pub name: CString,
    /// Its content: the sealed name.
    pub content: Vec<u8>,
}

/// A name as it stands in the backing directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The entry's name.
    pub entry: CString,
    /// Of a long name.
    pub side: Option<Side>,
}

/// What a backing name looks like, before any key is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Anything but a directory.
    File,
    /// A directory with its id.
    Directory(DirId),
    /// A side file.
    Side,
    /// "." or "..", or cryptfs's own file at the root.
    Reserved,
    /// Nothing that cryptfs makes.
    Alien,
}

/// Seals and opens names.
pub struct Names {
    keys: Arc<Keys>,
    encoding: NameEncoding,
}

impl Names {
    /// With a volume's keys.
    pub fn new(keys: Arc<Keys>, encoding: NameEncoding) -> Self {
        Self { keys, encoding }
    }

    fn siv(&self) -> &Siv {
        self.keys.names()
    }

    /// The backing name of a file, link or special file.
    pub fn file(&self, parent: DirId, name: &[u8]) -> Sealed {
        self.encode(self.siv().seal(&[&parent.0, b"f"], &pad(name)), None)
    }

    /// The backing name of the directory `id`.
    pub fn directory(&self, parent: DirId, name: &[u8], id: DirId) -> Sealed {
        self.encode(
            self.siv().seal(&[&parent.0, b"d", &id.0], &pad(name)),
            Some(id),
        )
    }

    fn encode(&self, sealed: Vec<u8>, id: Option<DirId>) -> Sealed {
        let table = self.encoding.table();
        let suffix = id
            .map(|id| format!(".{}", table.encode(&id.0)))
            .unwrap_or_default();
        let text = table.encode(&sealed);
        if text.len() + suffix.len() <= MAX_NAME && text.len() <= MAX_SEALED {
            return Sealed {
                entry: c_string(text + &suffix),
                side: None,
            };
        }
        let hash = table.encode(&digest::sha256(&[&sealed]));
        let side = Side {
            name: c_string(format!("~{hash}+")),
            content: sealed,
        };
        Sealed {
            entry: c_string(format!("~{hash}{suffix}")),
            side: Some(side),
        }
    }

    /// What kind of entry a backing name stands for.
    pub fn shape(&self, entry: &[u8]) -> Shape {
        match entry {
            b"." | b".." | b"cryptfs.volume" | b".cryptfs" | b"lost+found" => {
                return Shape::Reserved;
            }
            _ => {}
        }
        if entry.ends_with(&[SIDE]) && entry.starts_with(&[LONG]) {
            return Shape::Side;
        }
        let Some(dot) = entry.iter().position(|b| *b == b'.') else {
            return Shape::File;
        };
        let id = self
            .encoding
            .table()
            .decode(&entry[dot + 1..])
            .ok()
            .and_then(|id| id.try_into().ok());
        id.map_or(Shape::Alien, |id| Shape::Directory(DirId(id)))
    }

    /// The side file that holds the name of this entry, if it is a long one.
    pub fn side(&self, entry: &[u8]) -> Option<CString> {
        let end = entry.iter().position(|b| *b == b'.').unwrap_or(entry.len());
        let stem = entry[..end].strip_prefix(&[LONG])?;
        CString::new([&[LONG], stem, &[SIDE]].concat()).ok()
    }

    /// The plaintext name of a backing entry in `parent`; `side`: the content of its side file, if it has one.
    pub fn open(
        &self,
        parent: DirId,
        entry: &[u8],
        side: Option<&[u8]>,
    ) -> Result<Vec<u8>, Damage> {
        let id = match self.shape(entry) {
            Shape::File => None,
            Shape::Directory(id) => Some(id),
            Shape::Side | Shape::Reserved | Shape::Alien => return Err(Damage::Malformed),
        };
        let end = entry.iter().position(|b| *b == b'.').unwrap_or(entry.len());
        let decoded;
        let sealed = match side {
            Some(content) => content,
            None => {
                decoded = self
                    .encoding
                    .table()
                    .decode(&entry[..end])
                    .map_err(|_| Damage::Malformed)?;
                &decoded
            }
        };
        let plain = match &id {
            None => self.siv().open(&[&parent.0, b"f"], sealed),
            Some(id) => self.siv().open(&[&parent.0, b"d", &id.0], sealed),
        };
        let name = unpad(plain.map_err(|_| Damage::Tag)?)?;
        // One plaintext name has one backing name: anything else would be listed but never found.
        if self.encode(sealed.to_vec(), id).entry.as_bytes() != entry {
            return Err(Damage::Malformed);
        }
        Ok(name)
    }
}

fn pad(name: &[u8]) -> Vec<u8> {
    let mut padded = name.to_vec();
    padded.resize(name.len().next_multiple_of(16), 0);
    padded
}

fn unpad(mut padded: Vec<u8>) -> Result<Vec<u8>, Damage> {
    let length = padded
        .iter()
        .rposition(|b| *b != 0)
        .map_or(0, |last| last + 1);
    padded.truncate(length);
    let legal = !padded.is_empty()
        && length <= MAX_NAME
        && !padded.iter().any(|b| matches!(b, 0 | b'/'))
        && padded != b"."
        && padded != b"..";
    if legal {
        Ok(padded)
    } else {
        Err(Damage::Malformed)
    }
}

fn c_string(text: String) -> CString {
    CString::new(text).expect("the encodings' alphabets have no NUL")
}
