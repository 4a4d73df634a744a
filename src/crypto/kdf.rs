//! Key derivation. Each use of HKDF has a purpose in [`Label`]: info = "cryptfs/v1/" + label + 0x00 + context.
use super::secret::Secret;

/// What a derived key is for: the one table of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Wraps the VMK; context: volume UUID + SHA-256 of the slot's public bytes.
    Kek,
    /// Authenticates the header.
    HeaderMac,
    /// Wraps a FVEK; context: epoch as u16.
    FvekWrap,
    /// Chains the audit log.
    Audit,
    /// Authenticates session records.
    Session,
    /// Seals the recovery password kept in the header (escrow); context: slot UUID.
    Escrow,
    /// A file's two XTS keys; context: file id.
    Content,
    /// A file's tag keys; context: file id.
    Tag,
    /// Names of directory entries.
    Name,
    /// Symbolic link targets.
    Link,
    /// Extended attributes: values.
    Xattr,
    /// Extended attributes: names on the backing store.
    XattrName,
    /// An image's page keys; context: scope as u64.
    Page,
    /// An image's page tags; context: scope as u64.
    PageTag,
}

impl Label {
    /// The label's text, as it goes into HKDF's info.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Kek => "kek",
            Self::HeaderMac => "header-mac",
            Self::FvekWrap => "fvek-wrap",
            Self::Audit => "audit",
            Self::Session => "session",
            Self::Escrow => "escrow",
            Self::Content => "content",
            Self::Tag => "tag",
            Self::Name => "name",
            Self::Link => "link",
            Self::Xattr => "xattr",
            Self::XattrName => "xattr-name",
            Self::Page => "page",
            Self::PageTag => "page-tag",
        }
    }
}

/// HKDF's pseudo-random key: extracted once from a master secret, expanded once for each purpose.
pub struct Prk(#[allow(dead_code)] Secret<32>);

impl Prk {
    /// HKDF-Extract (RFC 5869, section 2.2).
    pub fn extract(_salt: &[u8], _ikm: &[u8]) -> Self {
        todo!()
    }

    /// HKDF-Expand (RFC 5869, section 2.3) of `N` bytes for one purpose.
    pub fn expand<const N: usize>(&self, _label: Label, _context: &[&[u8]]) -> Secret<N> {
        todo!()
    }
}

/// How a credential is stretched before it becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// 32 random bytes need none.
    None,
    /// PBKDF2-HMAC-SHA-256 (RFC 8018).
    Pbkdf2 {
        /// Rounds.
        iterations: u32,
    },
    /// Argon2id version 0x13 (RFC 9106).
    Argon2id {
        /// Passes.
        passes: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// The cost lies outside the bounds that are accepted before any work is done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("key derivation cost is out of bounds")]
pub struct CostOutOfBounds;

impl Stretch {
    /// The stretched credential, 32 bytes. `Stretch::None` requires a credential of 32 bytes.
    pub fn run(&self, _credential: &[u8], _salt: &[u8; 32]) -> Result<Secret<32>, CostOutOfBounds> {
        todo!()
    }
}
