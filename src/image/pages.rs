//! Sealing and opening pages: plaintext exists only after the tag in its pointer was checked.
use super::device::Device;
use super::layout::{PAGE, SCOPE};
use super::pointer::{Kind, Pointer};
use crate::fs::{Damage, Result};
use crate::volume::keys::{Epoch, FileKeys, Keys};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The device, and the keys of its pages.
pub struct Pages {
    /// Where they lie.
    pub device: Device,
    keys: Arc<Keys>,
    scopes: RwLock<FxHashMap<(Epoch, u64), Arc<FileKeys>>>,
}

impl Pages {
    /// Nothing is derived before it is used.
    pub fn new(device: Device, keys: Arc<Keys>) -> Self {
        Self {
            device,
            keys,
            scopes: RwLock::default(),
        }
    }

    /// The volume's keys.
    pub fn volume_keys(&self) -> &Keys {
        &self.keys
    }

    /// The keys of a page's scope.
    pub fn keys(&self, epoch: Epoch, page: u64) -> Result<Arc<FileKeys>> {
        let at = (epoch, page / SCOPE);
        if let Some(keys) = self.scopes.read().get(&at) {
            return Ok(keys.clone());
        }
        let keys = Arc::new(self.keys.pages(at.0, at.1).ok_or(Damage::Epoch)?);
        self.scopes.write().insert(at, keys.clone());
        Ok(keys)
    }

    /// Seals consecutive pages of one kind into `cipher`; hands out their pointers.
    pub fn seal(
        &self,
        kind: Kind,
        first: u64,
        generation: u64,
        plain: &[u8],
        cipher: &mut [u8],
        pointers: &mut Vec<Pointer>,
    ) -> Result<()> {
        let epoch = self.keys.current();
        let pages = plain.chunks_exact(PAGE).zip(cipher.chunks_exact_mut(PAGE));
        let mut keys = self.keys(epoch, first)?;
        for (page, (plain, cipher)) in (first..).zip(pages) {
            if page % SCOPE == 0 {
                keys = self.keys(epoch, page)?;
            }
            keys.xts.encrypt(page % SCOPE, plain, cipher);
            let mut pointer = Pointer {
                page,
                epoch,
                kind,
                generation,
                tag: [0; 16],
            };
            pointer.tag = keys.tag.tag(page, &pointer.head(), cipher);
            pointers.push(pointer);
        }
        Ok(())
    }

    /// Opens one page, if it is the one that the pointer means.
    pub fn open(&self, at: &Pointer, cipher: &[u8], plain: &mut [u8]) -> Result<()> {
        let keys = self.keys(at.epoch, at.page)?;
        if !keys.tag.verify(&at.tag, at.page, &at.head(), cipher) {
            return Err(Damage::Tag.into());
        }
        keys.xts.decrypt(at.page % SCOPE, cipher, plain);
        Ok(())
    }

    /// Reads and opens one page.
    pub fn read(&self, at: &Pointer, plain: &mut [u8; PAGE]) -> Result<()> {
        let mut cipher = [0; PAGE];
        self.device.read(at.page, &mut cipher)?;
        self.open(at, &cipher, plain)
    }
}
