//! The volume master key and what is derived from it. It feeds the KDF and nothing else.
use super::keys::{Epoch, Uuid};
use super::recovery_password::RecoveryPassword;
use crate::crypto::kdf::{Label, Prk};
use crate::crypto::secret::Secret;
use crate::crypto::wrap::{self, UnwrapError};

/// The volume master key: wraps the FVEKs, authenticates the header, seals the escrow.
pub struct Vmk {
    key: Secret<32>,
    prk: Prk,
}

impl Vmk {
    pub(crate) fn new(volume: &Uuid, key: Secret<32>) -> Self {
        let prk = Prk::extract(volume, key.expose());
        Self { key, prk }
    }

    pub(crate) fn random(volume: &Uuid) -> Self {
        Self::new(volume, Secret::random())
    }

    /// Wraps the VMK for a key protector.
    pub(crate) fn wrapped(&self, kek: &Secret<32>) -> [u8; 40] {
        wrap::wrap32(kek, &self.key)
    }

    /// Authenticates the header.
    pub(crate) fn header_mac(&self) -> Secret<32> {
        self.prk.expand(Label::HeaderMac, &[])
    }

    /// Authenticates session and state records.
    pub(crate) fn session(&self) -> Secret<32> {
        self.prk.expand(Label::Session, &[])
    }

    /// Authenticates lines of the audit log.
    pub(crate) fn audit(&self) -> Secret<32> {
        self.prk.expand(Label::Audit, &[])
    }

    pub(crate) fn wrap_fvek(&self, epoch: Epoch, fvek: &Secret<32>) -> [u8; 40] {
        wrap::wrap32(&self.fvek_wrap(epoch), fvek)
    }

    pub(crate) fn unwrap_fvek(
        &self,
        epoch: Epoch,
        wrapped: &[u8; 40],
    ) -> Result<Secret<32>, UnwrapError> {
        wrap::unwrap32(&self.fvek_wrap(epoch), wrapped)
    }

    /// Seals a recovery password for its own slot, so that `recovery-keys` can show it later.
    pub(crate) fn seal_escrow(&self, slot: &Uuid, password: &RecoveryPassword) -> [u8; 24] {
        wrap::wrap16(&self.prk.expand(Label::Escrow, &[slot]), password.bytes())
    }

    pub(crate) fn open_escrow(
        &self,
        slot: &Uuid,
        sealed: &[u8; 24],
    ) -> Result<RecoveryPassword, UnwrapError> {
        let key = self.prk.expand(Label::Escrow, &[slot]);
        wrap::unwrap16(&key, sealed).map(RecoveryPassword::from_bytes)
    }

    fn fvek_wrap(&self, epoch: Epoch) -> Secret<32> {
        let context = u16::from(epoch).to_le_bytes();
        self.prk.expand(Label::FvekWrap, &[&context])
    }
}
