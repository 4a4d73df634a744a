//! Adding, removing and annotating the key protectors of an unlocked volume.
use super::audit;
use super::error::{Error, Result};
use super::header::Header;
use super::keyfile::Keyfile;
use super::keys::Uuid;
use super::keystore::{Keystore, Protection};
use super::protector::{Credential, NewProtector, Protector, ProtectorKind, ProtectorState};
use super::recovery_password::RecoveryPassword;
use super::unlocked::Volume;
use super::uuid;
use crate::crypto::kdf::Stretch;

impl Volume {
    /// Lets this keystore unlock the volume without anyone typing. An earlier keyfile of the same keystore is replaced.
    /// `protection`: another form in the keystore than before.
    pub fn enrol(&mut self, keystore: &Keystore, protection: Option<Protection>) -> Result<Uuid> {
        let keyfile = Keyfile::random(&self.header().uuid);
        keystore.stage_keyfile(&keyfile, protection)?;
        let host = keystore.host();
        let volume = self.header().uuid;
        let changed = self.update(Some(keystore), |header, vmk| {
            for slot in &mut header.slots {
                let mine = |p: &Protector| p.kind == ProtectorKind::Keyfile && p.host == host;
                if slot.as_ref().is_some_and(mine) {
                    *slot = None;
                }
            }
            let new = NewProtector {
                credential: Credential::Keyfile(&keyfile.key, &keyfile.slot),
                stretch: Stretch::None,
                state: ProtectorState::Active,
                escrow: false,
                host,
                description: &audit::computer(),
            };
            add(
                header,
                Protector::new(&volume, vmk, &new).map_err(|_| Error::Cost)?,
            )
        });
        match &changed {
            Ok(()) | Err(Error::PartlyWritten { .. }) => keystore.commit_keyfile(&volume)?,
            Err(_) => keystore.drop_staged_keyfile(&volume)?,
        }
        changed.map(|()| keyfile.slot)
    }

    /// Adds a key protector.
    pub fn add_protector(
        &mut self,
        keystore: Option<&Keystore>,
        new: &NewProtector<'_>,
    ) -> Result<Uuid> {
        let volume = self.header().uuid;
        self.update(keystore, |header, vmk| {
            let slot = Protector::new(&volume, vmk, new).map_err(|_| Error::Cost)?;
            let id = slot.id;
            add(header, slot)?;
            Ok(id)
        })
    }

    /// Adds a recovery password. It counts as delivered once it was shown, and as active once it was proven.
    pub fn add_recovery_password(
        &mut self,
        keystore: Option<&Keystore>,
        escrow: bool,
        iterations: u32,
    ) -> Result<(Uuid, RecoveryPassword)> {
        let password = RecoveryPassword::random();
        let new = NewProtector {
            credential: Credential::Recovery(&password),
            stretch: Stretch::Pbkdf2 { iterations },
            state: ProtectorState::Pending,
            escrow,
            host: [0; 16],
            description: "",
        };
        let id = self.add_protector(keystore, &new)?;
        Ok((id, password))
    }

    /// Removes the one protector whose ID begins so, from every copy. Not the last recovery password
    /// that anybody has seen.
    pub fn remove_protector(
        &mut self,
        keystore: Option<&Keystore>,
        prefix: &str,
    ) -> Result<Protector> {
        let volume = self.header().uuid;
        let removed = self.update(keystore, |header, _| {
            let named = |slot: &&Protector| uuid::has_prefix(&slot.id, prefix);
            let found: Vec<_> = header.protectors().filter(named).cloned().collect();
            let [slot] = &found[..] else {
                let (prefix, found) = (prefix.to_owned(), found.len());
                return Err(Error::WhichProtector { prefix, found });
            };
            let (id, kind) = (slot.id, slot.kind);
            let same = header.protectors().filter(|p| p.kind == kind).count();
            let usable = |p: &&Protector| p.kind == kind && p.state != ProtectorState::Pending;
            let proven = header.protectors().filter(usable).any(|p| p.id != id);
            if kind == ProtectorKind::RecoveryPassword && (same == 1 || !proven) {
                return Err(Error::LastProtector { id, kind });
            }
            for place in &mut header.slots {
                if place.as_ref().is_some_and(|p| p.id == id) {
                    *place = None;
                }
            }
            Ok(slot.clone())
        })?;
        if let Some(keystore) = keystore {
            keystore.drop_entry(&volume, &removed.id)?;
        }
        Ok(removed)
    }

    /// Changes what is written about a protector: its state and dates. Nothing is written where nothing changes.
    pub fn annotate(
        &mut self,
        keystore: Option<&Keystore>,
        id: &Uuid,
        change: impl FnOnce(&mut Protector),
    ) -> Result<()> {
        let Some(before) = self.header().protectors().find(|p| p.id == *id) else {
            return Ok(());
        };
        let mut after = before.clone();
        change(&mut after);
        if after == *before {
            return Ok(());
        }
        self.update(keystore, |header, _| {
            let slot = header.slots.iter_mut().flatten().find(|p| p.id == *id);
            if let Some(slot) = slot {
                slot.state = after.state;
                slot.exported = after.exported;
                slot.verified = after.verified;
            }
            Ok(())
        })
    }
}

/// Puts a protector into a free slot.
pub(crate) fn add(header: &mut Header, new: Protector) -> Result<()> {
    let free = header.slots.iter_mut().find(|slot| slot.is_none());
    *free.ok_or(Error::NoFreeSlot)? = Some(new);
    Ok(())
}
