//! A pointer: where a page lies, and what proves that it is the page that was written there.
//!
//! ```text
//!  0  page         6  physical page; 0: there is none (a hole)
//!  6  epoch        1  the key epoch (see FVEK)
//!  7  kind         1  1: node, 2: data
//!  8  generation   8  the commit that wrote it
//! 16  tag         16  of the page's 4096 bytes of ciphertext
//! ```
//!
//! The tag's index is the physical page, its head is generation (8), kind (1) and seven zeros. So a page that was moved,
//! exchanged, zeroed, changed, or replaced by an older page of the same place is not the page that the pointer means.
use crate::fs::{Damage, Result};

/// Bytes of a pointer.
pub const SIZE: usize = 32;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node of the tree.
    Node,
    /// Content of a file.
    Data,
}

impl Kind {
    /// As it is stored.
    pub const fn code(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Data => 2,
        }
    }
}

/// A pointer to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Where.
    pub page: u64,
    /// Under which keys.
    pub epoch: u8,
    /// What.
    pub kind: Kind,
    /// When.
    pub generation: u64,
    /// The proof.
    pub tag: [u8; 16],
}

impl Pointer {
    /// As it is stored.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..6].copy_from_slice(&self.page.to_le_bytes()[..6]);
        bytes[6] = self.epoch;
        bytes[7] = self.kind.code();
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..].copy_from_slice(&self.tag);
        bytes
    }

    /// Reads a pointer; `None` for a hole, which is all zeros.
    pub fn decode(bytes: &[u8; SIZE]) -> Result<Option<Self>> {
        let mut page = [0; 8];
        page[..6].copy_from_slice(&bytes[..6]);
        let page = u64::from_le_bytes(page);
        if page == 0 {
            return match bytes.iter().all(|byte| *byte == 0) {
                true => Ok(None),
                false => Err(Damage::Malformed.into()),
            };
        }
        let kind = match bytes[7] {
            1 => Kind::Node,
            2 => Kind::Data,
            _ => return Err(Damage::Malformed.into()),
        };
        Ok(Some(Self {
            page,
            epoch: bytes[6],
            kind,
            generation: u64::from_le_bytes(std::array::from_fn(|i| bytes[8 + i])),
            tag: std::array::from_fn(|i| bytes[16 + i]),
        }))
    }

    /// The tag's head.
    pub fn head(&self) -> [u8; 16] {
        let mut head = [0; 16];
        head[..8].copy_from_slice(&self.generation.to_le_bytes());
        head[8] = self.kind.code();
        head
    }
}

#[test]
fn a_pointer_is_read_as_it_was_written() {
    let pointer = Pointer {
        page: 0x1234_5678_9abc,
        epoch: 3,
        kind: Kind::Data,
        generation: 7,
        tag: [9; 16],
    };
    let bytes = pointer.encode();
    assert_eq!(Pointer::decode(&bytes).unwrap(), Some(pointer));
    assert_eq!(Pointer::decode(&[0; SIZE]).unwrap(), None);
    let mut nowhere = bytes;
    nowhere[..6].fill(0);
    assert!(Pointer::decode(&nowhere).is_err());
    let mut unknown = bytes;
    unknown[7] = 3;
    assert!(Pointer::decode(&unknown).is_err());
}
