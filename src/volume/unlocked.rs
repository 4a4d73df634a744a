//! An unlocked volume, with the VMK: what changes headers. Mounts go on with [`Volume::into_opened`], without it.
use super::audit;
use super::copies::{self, CopyReport, CopyState};
use super::date;
use super::error::{Error, Result};
use super::header::{Header, Image};
use super::keyfile::Keyfile;
use super::keys::{Keys, Uuid};
use super::keystore::Keystore;
use super::locked::Rollback;
use super::opened::Opened;
use super::place::Place;
use super::protector::{Credential, NewProtector, Protector, ProtectorKind, ProtectorState};
use super::recovery_password::RecoveryPassword;
use super::state::State;
use super::uuid;
use super::vmk::Vmk;
use crate::crypto::kdf::Stretch;
use std::os::unix::ffi::OsStrExt;

/// An unlocked volume. Exists only through an unlock, or because it was just made.
pub struct Volume {
    place: Place,
    header: Header,
    image: Box<Image>,
    vmk: Vmk,
    opened_with: Uuid,
    copies: Vec<CopyReport>,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Volume {
    pub(crate) fn new(
        place: Place,
        header: Header,
        image: Box<Image>,
        vmk: Vmk,
        opened_with: Uuid,
        copies: Vec<CopyReport>,
    ) -> Self {
        Self {
            place,
            header,
            image,
            vmk,
            opened_with,
            copies,
        }
    }

    /// Its header, authentic.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its header's bytes: for kits and backups.
    pub fn header_bytes(&self) -> &Image {
        &self.image
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The key protector that opened it.
    pub fn opened_with(&self) -> &Uuid {
        &self.opened_with
    }

    /// Each header copy in the volume, judged after the unlock.
    pub fn copies(&self) -> &[CopyReport] {
        &self.copies
    }

    /// The content keys.
    pub fn keys(&self) -> Result<Keys> {
        let fveks: Option<Vec<_>> = self
            .header
            .fveks
            .iter()
            .map(|f| Some((f.epoch, self.vmk.unwrap_fvek(f.epoch, &f.wrapped).ok()?)))
            .collect();
        let h = &self.header;
        // The MAC was right, so both can fail only if whoever has the key wrote nonsense.
        fveks
            .and_then(|fveks| Keys::derive(&h.uuid, h.cipher, h.tag, &fveks, self.vmk.session()))
            .ok_or(Error::HeaderForged)
    }

    /// The recovery password that a protector keeps in escrow.
    pub fn escrowed_in(&self, protector: &Protector) -> Option<RecoveryPassword> {
        protector.escrowed(&self.vmk)
    }

    /// Puts the right header where a copy is missing, damaged, older or forged. Says what was repaired.
    pub fn repair_copies(&mut self) -> Result<Vec<CopyReport>> {
        let bad: Vec<usize> = (0..self.copies.len())
            .filter(|&i| !self.copies[i].is_good())
            .collect();
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self
            .place
            .lock_header()
            .map_err(Error::io(self.place.path()))?;
        let mut repaired = Vec::new();
        // Backups before the primary, as always.
        for i in bad.into_iter().rev() {
            let written = self.place.write_copy(i, &self.image[..]);
            written.map_err(Error::io(&self.place.path().join(self.place.copy_name(i))))?;
            let sequence = self.header.sequence;
            let report = &mut self.copies[i];
            repaired.push(report.clone());
            report.state = CopyState::Good { sequence };
        }
        repaired.reverse();
        Ok(repaired)
    }

    /// Changes the header: all copies in the volume, then the keystore's. `change` sees the newest header, which another
    /// command may have written since this volume was opened.
    pub fn update<T>(
        &mut self,
        keystore: Option<&Keystore>,
        change: impl FnOnce(&mut Header, &Vmk) -> Result<T>,
    ) -> Result<T> {
        let _lock = self
            .place
            .lock_header()
            .map_err(Error::io(self.place.path()))?;
        self.refresh();
        match self.header.unknown_ro_compat() {
            0 => {}
            unknown => return Err(Error::ReadOnlyFeatures(unknown)),
        }
        let mut header = self.header.clone();
        let out = change(&mut header, &self.vmk)?;
        header.sequence = header.sequence.saturating_add(1);
        header.written = date::now();
        let image = header.encode(&self.vmk);
        let partly = match copies::write_all(&self.place, &image) {
            Ok(()) => None,
            Err(partly @ Error::PartlyWritten { .. }) => Some(partly),
            Err(nothing_changed) => return Err(nothing_changed),
        };
        (self.header, self.image) = (header, image);
        if let Some(keystore) = keystore {
            self.remember(keystore)?;
        }
        if let Some(partly) = partly {
            return Err(partly);
        }
        let sequence = self.header.sequence;
        for report in &mut self.copies {
            report.state = CopyState::Good { sequence };
        }
        Ok(out)
    }

    /// Lets this keystore unlock the volume without anyone typing. An earlier keyfile of the same keystore is replaced.
    pub fn enrol(&mut self, keystore: &Keystore) -> Result<Uuid> {
        let keyfile = Keyfile::random(&self.header.uuid);
        keystore.stage_keyfile(&keyfile)?;
        let host = keystore.host();
        let volume = self.header.uuid;
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
        let volume = self.header.uuid;
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
        self.update(keystore, |header, _| {
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
        })
    }

    /// Changes what is written about a protector: its state and dates. Nothing is written where nothing changes.
    pub fn annotate(
        &mut self,
        keystore: Option<&Keystore>,
        id: &Uuid,
        change: impl FnOnce(&mut Protector),
    ) -> Result<()> {
        let Some(before) = self.header.protectors().find(|p| p.id == *id) else {
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

    /// The newest header number that this keystore has seen of the volume; 0: none.
    pub fn known_sequence(&self, keystore: &Keystore) -> u64 {
        let state = keystore.state(&self.header.uuid, &self.vmk.session());
        state.map_or(0, |state| state.sequence)
    }

    /// Writes this header, which may be an old one, as the newest: numbered above `known`. No keystore keeps a newer one.
    pub fn put_back(&mut self, known: u64, keystore: &Keystore) -> Result<()> {
        let _lock = self
            .place
            .lock_header()
            .map_err(Error::io(self.place.path()))?;
        self.header.sequence = self.header.sequence.max(known).saturating_add(1);
        self.header.written = date::now();
        self.image = self.header.encode(&self.vmk);
        copies::write_all(&self.place, &self.image)?;
        self.remember(keystore)?;
        Ok(())
    }

    /// Keeps the header and what was seen of the volume in the keystore.
    pub fn remember(&self, keystore: &Keystore) -> Result<State> {
        let session = self.vmk.session();
        let uuid = &self.header.uuid;
        let before = keystore.state(uuid, &session);
        let mut state = before.clone().unwrap_or_default();
        state.set_header(self.header.sequence, &self.image);
        state.path = self.place.path().as_os_str().as_bytes().to_vec();
        keystore.save_header(&self.header, &self.image)?;
        if before.as_ref() != Some(&state) {
            keystore.save_state(uuid, &session, &state)?;
        }
        Ok(state)
    }

    /// Drops the VMK; what is left is enough for a mount.
    pub fn into_opened(self) -> Result<Opened> {
        Ok(Opened {
            keys: self.keys()?,
            header: self.header,
            place: self.place,
        })
    }

    pub(crate) fn check_rollback(&self, keystore: &Keystore, rollback: Rollback) -> Result<()> {
        let Some(state) = keystore.state(&self.header.uuid, &self.vmk.session()) else {
            return Ok(());
        };
        let found = self.header.sequence;
        let mut now = State::default();
        now.set_header(found, &self.image);
        match (found.cmp(&state.sequence), rollback) {
            (_, Rollback::Accept) | (std::cmp::Ordering::Greater, _) => Ok(()),
            (std::cmp::Ordering::Equal, _) if now.header == state.header => Ok(()),
            (std::cmp::Ordering::Equal, _) => Err(Error::Diverged(found)),
            (std::cmp::Ordering::Less, _) => Err(Error::RolledBack {
                found,
                seen: state.sequence,
            }),
        }
    }

    /// Takes over a newer authentic header that another command has written.
    fn refresh(&mut self) {
        let Ok(found) = copies::find(&self.place, &[]) else {
            return;
        };
        let newer = found.candidates.into_iter().find(|c| {
            c.header.uuid == self.header.uuid
                && c.header.sequence > self.header.sequence
                && Header::is_authentic(&c.image, &self.vmk)
        });
        if let Some(newer) = newer {
            (self.header, self.image) = (newer.header, newer.image);
        }
    }
}

/// Puts a protector into a free slot.
pub(crate) fn add(header: &mut Header, new: Protector) -> Result<()> {
    let free = header.slots.iter_mut().find(|slot| slot.is_none());
    *free.ok_or(Error::NoFreeSlot)? = Some(new);
    Ok(())
}
