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
        let seat = self.seat(keystore);
        let earlier = self.keyfiles_of(keystore);
        let host = keystore.host()?;
        keystore.stage_keyfile(&seat, &keyfile, protection)?;
        let volume = self.header().uuid;
        let opened_with = *self.opened_with();
        let changed = self.update(Some(keystore), |header, vmk| {
            for id in &earlier {
                remove(header, id);
            }
            let new = NewProtector {
                credential: Credential::Keyfile(&keyfile.key, &keyfile.slot),
                stretch: Stretch::None,
                state: ProtectorState::Active,
                escrow: false,
                host,
                description: &audit::computer(),
            };
            let slot = Protector::new(&volume, vmk, &new).map_err(|_| Error::Cost)?;
            add(header, slot, &opened_with)
        });
        match &changed {
            Ok(()) | Err(Error::PartlyWritten { .. }) => keystore.commit_keyfile(&seat)?,
            Err(_) => keystore.drop_staged_keyfile(&seat)?,
        }
        changed.map(|()| keyfile.slot)
    }

    /// The keyfile protectors that a new keyfile of this keystore replaces: those that its keyfiles open, and the one
    /// that the volume was opened with. Where its keyfiles are lost, those that were made for it. Never one that another
    /// keystore made for itself, though that may be a clone of this one.
    pub(super) fn keyfiles_of(&self, keystore: &Keystore) -> Vec<Uuid> {
        let mut slots = self.header().protectors().cloned().collect::<Vec<_>>();
        slots.retain(|slot| slot.kind == ProtectorKind::Keyfile);
        let own = keystore.keyfiles(&self.header().uuid).unwrap_or_default();
        slots.retain(|slot| match own.is_empty() {
            true => keystore.made(slot) || slot.id == *self.opened_with(),
            false => own.iter().any(|key| key.slot == slot.id) || slot.id == *self.opened_with(),
        });
        slots.into_iter().map(|slot| slot.id).collect()
    }

    /// Adds a key protector.
    pub fn add_protector(
        &mut self,
        keystore: Option<&Keystore>,
        new: &NewProtector<'_>,
    ) -> Result<Uuid> {
        let (volume, opened_with) = (self.header().uuid, *self.opened_with());
        self.update(keystore, |header, vmk| {
            let slot = Protector::new(&volume, vmk, new).map_err(|_| Error::Cost)?;
            let id = slot.id;
            add(header, slot, &opened_with)?;
            Ok(id)
        })
    }

    /// Adds a recovery password. It counts as delivered once it was shown, and as active once it was proven.
    pub fn add_recovery_password(
        &mut self,
        keystore: Option<&Keystore>,
        escrow: bool,
        iterations: u32,
        remark: &str,
    ) -> Result<(Uuid, RecoveryPassword)> {
        let password = RecoveryPassword::random();
        let new = NewProtector {
            credential: Credential::Recovery(&password),
            stretch: Stretch::Pbkdf2 { iterations },
            state: ProtectorState::Pending,
            escrow,
            host: [0; 16],
            description: remark,
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
            let slot = slot.clone();
            remove(header, &id);
            Ok(slot)
        })?;
        if let Some(keystore) = keystore {
            keystore.drop_entry(&self.seat(keystore), &removed.id)?;
        }
        Ok(removed)
    }

    /// Takes a protector back that was just added and could not be handed over, so that failed tries do not fill the
    /// slots. Says whether that went.
    pub fn take_back(&mut self, keystore: &Keystore, id: &Uuid) -> Result<()> {
        self.update(Some(keystore), |header, _| {
            remove(header, id);
            Ok(())
        })
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

/// Puts a protector into a free slot. `in_use`: the one that the volume was opened with, which is not offered for
/// removal where there is no free slot.
pub(crate) fn add(header: &mut Header, new: Protector, in_use: &Uuid) -> Result<()> {
    let Some(free) = header.slots.iter_mut().find(|slot| slot.is_none()) else {
        return Err(Error::NoFreeSlot(to_give_up(header, in_use).map(Box::new)));
    };
    *free = Some(new);
    Ok(())
}

/// The protector that is missed least where all slots are taken: one that was never handed over, else the oldest keyfile.
fn to_give_up(header: &Header, in_use: &Uuid) -> Option<Protector> {
    let others: Vec<_> = header.protectors().filter(|p| p.id != *in_use).collect();
    let pending = |p: &&&Protector| p.state == ProtectorState::Pending && p.replaces().is_none();
    let keyfiles = others.iter().filter(|p| p.kind == ProtectorKind::Keyfile);
    let oldest = keyfiles.min_by_key(|p| p.created.max(p.verified));
    others.iter().find(pending).or(oldest).map(|p| (*p).clone())
}

/// Removes a protector.
pub(super) fn remove(header: &mut Header, id: &Uuid) {
    for place in &mut header.slots {
        if place.as_ref().is_some_and(|p| p.id == *id) {
            *place = None;
        }
    }
}
