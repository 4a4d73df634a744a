//! An unlocked volume, with the VMK: what changes headers. Mounts go on with [`Volume::into_opened`], without it.
use super::copies::{self, CopyReport, CopyState};
use super::date;
use super::error::{Error, Result};
use super::header::{Header, Image, Kind};
use super::keys::{Keys, Uuid};
use super::keystore::{Keystore, Seat};
use super::locked::Rollback;
use super::opened::Opened;
use super::place::{COPIES, Place};
use super::protector::Protector;
use super::recovery_password::RecoveryPassword;
use super::state::State;
use super::vmk::Vmk;
use crate::crypto::secret::Secret;
use std::os::unix::ffi::OsStrExt;

/// An unlocked volume. Exists only through an unlock, or because it was just made.
pub struct Volume {
    place: Place,
    header: Header,
    image: Box<Image>,
    vmk: Vmk,
    opened_with: Uuid,
    copies: Vec<CopyReport>,
    proven: bool,
    /// The last header copy lies behind the file system of an image, and not in it.
    end_proven: bool,
    unkept: Option<Error>,
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
            end_proven: place.kind() == Kind::Directory,
            place,
            header,
            image,
            vmk,
            opened_with,
            copies,
            proven: false,
            unkept: None,
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

    /// The same place with another length.
    pub(crate) fn move_to(&mut self, place: Place) {
        self.place = place;
    }

    /// The key protector that opened it.
    pub fn opened_with(&self) -> &Uuid {
        &self.opened_with
    }

    /// Each header copy in the volume, judged after the unlock.
    pub fn copies(&self) -> &[CopyReport] {
        &self.copies
    }

    /// True if the volume's own copies are of different volumes, and nobody has proven yet that this header is of what
    /// lies here: nothing may be written then, as that could destroy the last right copy.
    pub fn is_contested(&self) -> bool {
        let foreign = |copy: &CopyReport| matches!(copy.state, CopyState::Foreign(_));
        !self.proven && self.copies.iter().any(foreign)
    }

    /// Says that the file system in an image ends where the file or device does, or before: the last header copy may be
    /// written. Until then it is written only over a header. The end of an image that was cut is content of files.
    pub fn end_is_proven(&mut self) {
        self.end_proven = true;
    }

    /// Fails if the volume has features with which this version may only read it.
    pub fn must_be_writable(&self) -> Result<()> {
        match self.header.unknown_ro_compat() {
            0 => Ok(()),
            unknown => Err(Error::ReadOnlyFeatures(unknown)),
        }
    }

    /// Whether a header copy's place is known to be one.
    fn is_place_of_header(&self, index: usize) -> bool {
        let ours =
            |bytes: Vec<u8>| Header::decode(&bytes).is_ok_and(|h| h.uuid == self.header.uuid);
        self.end_proven || index + 1 < COPIES || self.place.read_copy(index).is_ok_and(ours)
    }

    /// Writes a header to all copies whose places are known.
    fn write_all(&self, image: &Image) -> Result<()> {
        copies::write_where(&self.place, image, &|index| self.is_place_of_header(index))
    }

    /// The header was proven to be of what lies here.
    pub fn prove(&mut self) {
        self.proven = true;
    }

    fn must_be_uncontested(&self) -> Result<()> {
        match self.is_contested() {
            true => Err(Error::Contested(self.header.uuid)),
            false => Ok(()),
        }
    }

    /// The keystore's files for this volume at this place.
    pub fn seat(&self, keystore: &Keystore) -> Seat {
        keystore.seat(&self.header.uuid, &self.place)
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

    /// Authenticates lines of the audit log about this volume.
    pub fn audit_key(&self) -> Secret<32> {
        self.vmk.audit()
    }

    /// The recovery password that a protector keeps in escrow.
    pub fn escrowed_in(&self, protector: &Protector) -> Option<RecoveryPassword> {
        protector.escrowed(&self.vmk)
    }

    /// Puts the right header where a copy is missing, damaged, older or forged. Says what was repaired.
    pub fn repair_copies(&mut self) -> Result<Vec<CopyReport>> {
        let bad: Vec<usize> = (0..self.copies.len())
            .filter(|&i| !self.copies[i].is_good() && self.is_place_of_header(i))
            .collect();
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        self.must_be_uncontested()?;
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
        self.must_be_uncontested()?;
        let _lock = self
            .place
            .lock_header()
            .map_err(Error::io(self.place.path()))?;
        self.refresh()?;
        self.must_be_writable()?;
        let mut header = self.header.clone();
        let out = change(&mut header, &self.vmk)?;
        header.sequence = header.sequence.saturating_add(1);
        header.written = date::now();
        let image = header.encode(&self.vmk);
        let partly = match self.write_all(&image) {
            Ok(()) => None,
            Err(partly @ Error::PartlyWritten { .. }) => Some(partly),
            Err(nothing_changed) => return Err(nothing_changed),
        };
        (self.header, self.image) = (header, image);
        // The change stands all the same: a keystore that lags behind is brought up to date by the next mount.
        if let Some(keystore) = keystore {
            self.unkept = self.remember(keystore).err();
        }
        if let Some(partly) = partly {
            return Err(partly);
        }
        let sequence = self.header.sequence;
        for index in 0..self.copies.len() {
            if self.is_place_of_header(index) {
                self.copies[index].state = CopyState::Good { sequence };
            }
        }
        Ok(out)
    }

    /// Why the keystore could not note the last change, where it could not. To be told to the person.
    pub fn take_unkept(&mut self) -> Option<Error> {
        self.unkept.take()
    }

    /// Key protectors that this keystore has seen in a header as new as this one or newer, and that this one lacks: it
    /// was put back from a backup, or two computers changed the header while apart. To be told to the person.
    pub fn lacks(&self, keystore: &Keystore) -> Vec<Protector> {
        let mut lost: Vec<Protector> = Vec::new();
        for bytes in keystore.headers_at(&self.seat(keystore)) {
            let (Ok(header), Ok(image)) = (Header::decode(&bytes), <&Image>::try_from(&bytes[..]))
            else {
                continue;
            };
            let newer = header.sequence >= self.header.sequence && image != &*self.image;
            if newer && header.uuid == self.header.uuid && Header::is_authentic(image, &self.vmk) {
                let known = |slot: &Protector, list: &[Protector]| {
                    list.iter().any(|other| other.id == slot.id)
                };
                let here: Vec<_> = self.header.protectors().cloned().collect();
                for slot in header.protectors() {
                    if !known(slot, &here) && !known(slot, &lost) {
                        lost.push(slot.clone());
                    }
                }
            }
        }
        lost
    }

    /// The newest header number that this keystore has seen of the volume; 0: none.
    pub fn known_sequence(&self, keystore: &Keystore) -> u64 {
        let state = self.seen(keystore);
        state.map_or(0, |state| state.sequence)
    }

    /// Writes this header, which may be an old one, as the newest: numbered above `known`. No keystore keeps a newer one.
    pub fn put_back(&mut self, known: u64, keystore: &Keystore) -> Result<()> {
        self.must_be_uncontested()?;
        let _lock = self
            .place
            .lock_header()
            .map_err(Error::io(self.place.path()))?;
        self.header.sequence = self.header.sequence.max(known).saturating_add(1);
        self.header.written = date::now();
        self.image = self.header.encode(&self.vmk);
        self.write_all(&self.image)?;
        self.remember(keystore)?;
        Ok(())
    }

    /// What this keystore remembers of the volume at this place.
    pub(crate) fn seen(&self, keystore: &Keystore) -> Option<State> {
        keystore.state(&self.seat(keystore), &self.vmk.session())
    }

    /// Keeps the header and what was seen of the volume in the keystore.
    pub fn remember(&self, keystore: &Keystore) -> Result<State> {
        let session = self.vmk.session();
        let seat = self.seat(keystore);
        let before = keystore.state(&seat, &session);
        let mut state = before.clone().unwrap_or_default();
        state.set_header(self.header.sequence, &self.image);
        state.path = self.place.path().as_os_str().as_bytes().to_vec();
        keystore.save_header(&seat, &self.header, &self.image)?;
        if before.as_ref() != Some(&state) {
            keystore.save_state(&seat, &session, &state)?;
        }
        Ok(state)
    }

    /// What a file system needs, beside this volume.
    pub fn share(&self) -> Result<Opened> {
        self.share_at(&self.place)
    }

    /// What a file system needs of a copy of this volume at another place.
    pub fn share_at(&self, place: &Place) -> Result<Opened> {
        Ok(Opened {
            keys: self.keys()?,
            header: self.header.clone(),
            place: place.try_clone()?,
        })
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
        // A copy that is seen for the first time may be as old as it likes.
        let Some(state) = self.seen(keystore) else {
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

    /// Takes over a newer authentic header that another command has written. Called with the header locked, so that a
    /// change begins from what is there now. One that a newer version has written is not overwritten.
    fn refresh(&mut self) -> Result<()> {
        let found = match copies::find(&self.place, &[]) {
            Ok(found) => found,
            Err(Error::HeaderLost { .. } | Error::NotAVolume(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let newer = found.candidates.into_iter().find(|c| {
            c.header.uuid == self.header.uuid
                && c.header.sequence > self.header.sequence
                && Header::is_authentic(&c.image, &self.vmk)
        });
        if let Some(newer) = newer {
            (self.header, self.image) = (newer.header, newer.image);
        }
        Ok(())
    }
}
