//! Keys of the tree's items.
//!
//! A key is a number of 8 bytes, the item's type (1 byte), and what the type says; all numbers big-endian.
//!
//! ```text
//! inode 0 (the volume itself)
//!   0  1  index (8)          map of used pages: 1024 bytes, bit b of byte n: page 8192 index + 8 n + b is in use
//!   0  2  inode (8)          an inode without a name, to be removed when nobody has it open: empty
//!   0  3  name               snapshot: SnapshotRecord
//! any other inode i
//!   i  1                     inode: InodeRecord
//!   i  2  name               of a directory: what the name means: NameRecord
//!   i  3  position (8)       of a directory: the listing: PositionRecord
//!   i  4  name 0 chunk (2)   extended attribute: the value, in chunks of 1536 bytes
//!   i  5  chunk (2)          content of a small file, target of a symbolic link: in chunks of 1536 bytes
//!   i  6  group (8)          content: pointers to pages 16 group .. 16 group + 15; zeros: hole; holes at the end left out
//! ```

const FREEMAP: u8 = 1;
const ORPHAN: u8 = 2;
const SNAPSHOT: u8 = 3;
const INODE: u8 = 1;
const NAME: u8 = 2;
const POSITION: u8 = 3;
const XATTR: u8 = 4;
const INLINE: u8 = 5;
const EXTENT: u8 = 6;

fn key(ino: u64, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + rest.len());
    key.extend(ino.to_be_bytes());
    key.push(kind);
    key.extend(rest);
    key
}

/// A part of the map of used pages.
pub fn freemap(index: u64) -> Vec<u8> {
    key(0, FREEMAP, &index.to_be_bytes())
}

/// An orphan.
pub fn orphan(ino: u64) -> Vec<u8> {
    key(0, ORPHAN, &ino.to_be_bytes())
}

/// All orphans.
pub fn orphans() -> Vec<u8> {
    key(0, ORPHAN, &[])
}

/// All parts of the map.
pub fn freemaps() -> Vec<u8> {
    key(0, FREEMAP, &[])
}

/// All names in a directory.
pub fn names(dir: u64) -> Vec<u8> {
    key(dir, NAME, &[])
}

/// All places in a listing.
pub fn positions(dir: u64) -> Vec<u8> {
    key(dir, POSITION, &[])
}

/// All pointers of a file.
pub fn extents(ino: u64) -> Vec<u8> {
    key(ino, EXTENT, &[])
}

/// A snapshot.
pub fn snapshot(name: &[u8]) -> Vec<u8> {
    key(0, SNAPSHOT, name)
}

/// An inode.
pub fn inode(ino: u64) -> Vec<u8> {
    key(ino, INODE, &[])
}

/// A name in a directory.
pub fn name(dir: u64, name: &[u8]) -> Vec<u8> {
    key(dir, NAME, name)
}

/// A place in a listing.
pub fn position(dir: u64, position: u64) -> Vec<u8> {
    key(dir, POSITION, &position.to_be_bytes())
}

/// All attributes of an inode.
pub fn xattrs(ino: u64) -> Vec<u8> {
    key(ino, XATTR, &[])
}

/// An attribute, before its chunks. No name has a NUL.
pub fn xattr(ino: u64, name: &[u8]) -> Vec<u8> {
    let mut key = key(ino, XATTR, name);
    key.push(0);
    key
}

/// Small content, before its chunks.
pub fn inline(ino: u64) -> Vec<u8> {
    key(ino, INLINE, &[])
}

/// Pointers of content.
pub fn extent(ino: u64, group: u64) -> Vec<u8> {
    key(ino, EXTENT, &group.to_be_bytes())
}

/// The number at a key's end, of those that end with one.
pub fn number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The part after number and type.
pub fn rest(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

/// Number and type.
pub fn head(key: &[u8]) -> &[u8] {
    key.get(..9).unwrap_or(key)
}

/// What an item is: for check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Item {
    Freemap,
    Orphan,
    Snapshot,
    Inode,
    Name,
    Position,
    Xattr,
    Inline,
    Extent,
}

/// An item's number and type; `None` if no item has such a key.
pub fn parse(key: &[u8]) -> Option<(u64, Item)> {
    let (ino, rest) = key.split_first_chunk::<8>()?;
    let ino = u64::from_be_bytes(*ino);
    let (kind, rest) = rest.split_first()?;
    let (item, fits) = match (ino, *kind) {
        (0, FREEMAP) => (Item::Freemap, rest.len() == 8),
        (0, ORPHAN) => (Item::Orphan, rest.len() == 8),
        (0, SNAPSHOT) => (Item::Snapshot, !rest.is_empty()),
        (0, _) => return None,
        (_, INODE) => (Item::Inode, rest.is_empty()),
        (_, NAME) => (Item::Name, !rest.is_empty()),
        (_, POSITION) => (Item::Position, rest.len() == 8),
        (_, XATTR) => (Item::Xattr, rest.len() > 3),
        (_, INLINE) => (Item::Inline, rest.len() == 2),
        (_, EXTENT) => (Item::Extent, rest.len() == 8),
        _ => return None,
    };
    fits.then_some((ino, item))
}
