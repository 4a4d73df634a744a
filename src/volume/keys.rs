//! The keys of an unlocked volume: what the file systems need and nothing above it.
//!
//! The VMK is not here: whoever unlocks derives these keys and wipes it.
use crate::crypto::kdf::{Label, Prk};
use crate::crypto::secret::Secret;
use crate::crypto::siv::Siv;
use crate::crypto::tag::{Algorithm, TagKey};
use crate::crypto::xts::{Cipher, XtsKey};

/// A volume's UUID.
pub type Uuid = [u8; 16];
/// Which FVEK: 1 for the volume's first.
pub type Epoch = u8;

/// One file's content keys, expanded.
pub struct FileKeys {
    /// The cipher's.
    pub xts: XtsKey,
    /// The authenticator's.
    pub tag: TagKey,
}

struct EpochKeys {
    epoch: Epoch,
    prk: Prk,
}

/// The keys of an unlocked volume.
pub struct Keys {
    cipher: Cipher,
    algorithm: Algorithm,
    epochs: Vec<EpochKeys>,
    session: Secret<32>,
    names: Siv,
    links: Siv,
    xattrs: Siv,
    xattr_names: Secret<32>,
}

impl Keys {
    /// Derives the keys from the FVEKs, oldest epoch first, and the VMK's session subkey. Names are keyed by the oldest
    /// epoch, so that a new epoch renames nothing. `None` when there is no FVEK.
    pub fn derive(
        uuid: &Uuid,
        cipher: Cipher,
        algorithm: Algorithm,
        fveks: &[(Epoch, Secret<32>)],
        session: Secret<32>,
    ) -> Option<Self> {
        let epochs: Vec<_> = fveks
            .iter()
            .map(|(epoch, fvek)| EpochKeys {
                epoch: *epoch,
                prk: Prk::extract(uuid, fvek.expose()),
            })
            .collect();
        let first = &epochs.first()?.prk;
        Some(Self {
            cipher,
            algorithm,
            names: Siv::new(&first.expand(Label::Name, &[])),
            links: Siv::new(&first.expand(Label::Link, &[])),
            xattrs: Siv::new(&first.expand(Label::Xattr, &[])),
            xattr_names: first.expand(Label::XattrName, &[]),
            session,
            epochs,
        })
    }

    /// The epoch under which new files are written.
    pub fn current(&self) -> Epoch {
        self.epochs.last().map_or(1, |e| e.epoch)
    }

    /// A file's content keys; `None` for an epoch the header does not hold.
    pub fn file(&self, epoch: Epoch, id: &[u8; 12]) -> Option<FileKeys> {
        let prk = &self.epochs.iter().find(|e| e.epoch == epoch)?.prk;
        // Equal halves have a probability of 2^-128 (XTS-AES-128) and say that the derivation is broken.
        let xts = XtsKey::new(self.cipher, &prk.expand(Label::Content, &[id])).ok()?;
        Some(FileKeys {
            xts,
            tag: TagKey::new(self.algorithm, &prk.expand(Label::Tag, &[id])),
        })
    }

    /// The keys of an image's pages in one scope of 1 TiB; `None` for an epoch the header does not hold.
    pub fn pages(&self, epoch: Epoch, scope: u64) -> Option<FileKeys> {
        let prk = &self.epochs.iter().find(|e| e.epoch == epoch)?.prk;
        let scope = scope.to_le_bytes();
        let xts = XtsKey::new(self.cipher, &prk.expand(Label::Page, &[&scope])).ok()?;
        Some(FileKeys {
            xts,
            tag: TagKey::new(self.algorithm, &prk.expand(Label::PageTag, &[&scope])),
        })
    }

    /// Every epoch that the header holds, the current one first.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> {
        self.epochs.iter().rev().map(|e| e.epoch)
    }

    /// Seals names of directory entries.
    pub fn names(&self) -> &Siv {
        &self.names
    }

    /// Seals symbolic link targets.
    pub fn links(&self) -> &Siv {
        &self.links
    }

    /// Seals values of extended attributes.
    pub fn xattrs(&self) -> &Siv {
        &self.xattrs
    }

    /// Derives the backing names of extended attributes.
    pub fn xattr_names(&self) -> &Secret<32> {
        &self.xattr_names
    }

    /// Authenticates session records.
    pub fn session(&self) -> &Secret<32> {
        &self.session
    }
}
