//! A volume that nobody has unlocked yet: what its header copies say is shown, and not believed.
use super::copies::{self, Candidate, CopyReport, CopyState, Found, Spare};
use super::error::{Error, Result};
use super::header::{Header, Image};
use super::keys::Uuid;
use super::keystore::Keystore;
use super::opened::Belongs;
use super::passphrase;
use super::place::{COPIES, Place};
use super::protector::{Credential, Protector, ProtectorKind};
use super::recovery_password::RecoveryPassword;
use super::unlocked::Volume;
use super::vmk::Vmk;
use std::path::Path;

/// A volume before it is unlocked.
pub struct Locked {
    place: Place,
    found: Found,
}

/// What to do with a header older than what this computer has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// Stop.
    Refuse,
    /// Go on: a backup was put back on purpose.
    Accept,
}

impl Locked {
    /// Reads the volume's own header copies.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &[])
    }

    /// As [`Locked::open`], and takes header copies from elsewhere into account: for recovery.
    pub fn open_with(path: &Path, spares: &[Spare]) -> Result<Self> {
        let place = Place::open(path)?;
        let found = copies::find(&place, spares)?;
        Ok(Self { place, found })
    }

    /// Believes one saved header instead of the volume's own copies, as long as it is of the same volume. Also the highest
    /// number among those copies.
    pub fn open_only(path: &Path, saved: &Spare) -> Result<(Self, u64)> {
        let place = Place::open(path)?;
        let mut found = copies::find(&place, std::slice::from_ref(saved))?;
        let Some(place_of) = found
            .candidates
            .iter()
            .position(|c| c.image[..] == saved.bytes[..])
        else {
            return Err(Error::Kit(saved.name.clone()));
        };
        let saved = found.candidates.swap_remove(place_of);
        let own = |c: &Candidate| (c.header.uuid, c.header.sequence);
        let newest = found
            .candidates
            .iter()
            .map(own)
            .filter(|(id, _)| *id == saved.header.uuid);
        let newest = newest.map(|(_, sequence)| sequence).max().unwrap_or(0);
        found.candidates = vec![saved];
        Ok((Self { place, found }, newest))
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What the newest copy says; to be shown, not believed.
    pub fn header(&self) -> &Header {
        &self.newest().header
    }

    /// The newest header of each volume that the copies are of: one, unless a copy of another volume was put here.
    pub fn volumes(&self) -> Vec<&Header> {
        let mut volumes: Vec<&Header> = Vec::new();
        for Candidate { header, .. } in &self.found.candidates {
            if !volumes.iter().any(|other| other.uuid == header.uuid) {
                volumes.push(header);
            }
        }
        volumes
    }

    /// What was found of each copy; the volume's own first, then the spares.
    pub fn copies(&self) -> &[CopyReport] {
        &self.found.reports
    }

    /// What was found of the volume's own copies.
    pub fn own_copies(&self) -> &[CopyReport] {
        &self.found.reports[..COPIES]
    }

    /// The IDs of the recovery passwords that could open it.
    pub fn password_ids(&self) -> Vec<Uuid> {
        let passwords = |p: &&Protector| p.kind == ProtectorKind::RecoveryPassword;
        self.slots().filter(passwords).map(|p| p.id).collect()
    }

    /// Unlocks with what a person or the keystore has in hand.
    pub fn unlock(&self, credential: Credential<'_>) -> Result<Volume> {
        let (vmk, id, index) = self.try_unlock(&credential)?;
        self.volume(vmk, id, index)
    }

    /// As [`Locked::unlock`] with a recovery password; if it opens nothing, with two of its groups exchanged, each pair in
    /// turn. `tried` is told of each attempt after the first, counted from 1, and their number.
    pub fn unlock_recovery(
        &self,
        password: &RecoveryPassword,
        tried: &mut dyn FnMut(usize, usize),
    ) -> Result<(Volume, Swapped)> {
        let refused = match self.unlock(Credential::Recovery(password)) {
            Ok(volume) => return Ok((volume, Swapped::No)),
            Err(error @ Error::WrongPassword { .. }) => error,
            Err(other) => return Err(other),
        };
        let swapped: Vec<_> = password.swapped().collect();
        for (i, password) in swapped.iter().enumerate() {
            tried(i + 1, swapped.len());
            match self.unlock(Credential::Recovery(password)) {
                Ok(volume) => return Ok((volume, Swapped::Yes)),
                Err(Error::WrongPassword { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Err(refused)
    }

    /// Unlocks with a passphrase: as RFC 8265 has it, else as it was typed, which is how older versions took it.
    pub fn unlock_passphrase(&self, typed: &[u8]) -> Result<Volume> {
        let prepared = passphrase::prepared(typed);
        match self.unlock(Credential::Passphrase(&prepared)) {
            Err(Error::WrongPassphrase) if prepared[..] != *typed => {
                self.unlock(Credential::Passphrase(typed))
            }
            unlocked => unlocked,
        }
    }

    /// Unlocks with the keystore's keyfile. Changes nothing.
    pub fn unlock_auto(&self, keystore: &Keystore, rollback: Rollback) -> Result<Volume> {
        self.unlock_proven(keystore, rollback, &|_| Ok(false))
            .or_else(|error| match error {
                // To be looked at; nothing is written to a volume whose header is contested.
                Error::Contested(volume) => self.unlock_auto_as(&volume, keystore, rollback),
                error => Err(error),
            })
    }

    /// As [`Locked::unlock_auto`]. Where the volume's own copies are of different volumes, the one that `belongs`
    /// accepts.
    pub fn unlock_proven(
        &self,
        keystore: &Keystore,
        rollback: Rollback,
        belongs: Belongs<'_>,
    ) -> Result<Volume> {
        let (mut refused, mut contested) = (None, None);
        for header in self.volumes() {
            match self.unlock_auto_as(&header.uuid, keystore, rollback) {
                Ok(volume) if !volume.is_contested() => return Ok(volume),
                Ok(mut volume) if belongs(&volume)? => {
                    volume.prove();
                    return Ok(volume);
                }
                Ok(volume) => drop(contested.get_or_insert(Error::Contested(volume.header().uuid))),
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        let missing = || Error::KeyfileMissing(keystore.keyfile_path(&self.header().uuid));
        Err(contested.or(refused).unwrap_or_else(missing))
    }

    fn unlock_auto_as(
        &self,
        volume: &Uuid,
        keystore: &Keystore,
        rollback: Rollback,
    ) -> Result<Volume> {
        let mut refused = None;
        for keyfile in keystore.keyfiles(volume)? {
            match self.unlock(Credential::Keyfile(&keyfile.key, &keyfile.slot)) {
                Ok(volume) => {
                    volume.check_rollback(keystore, rollback)?;
                    return Ok(volume);
                }
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| Error::KeyfileMissing(keystore.keyfile_path(volume))))
    }

    /// The VMK, the protector that gave it, and the newest authentic header.
    ///
    /// An older copy may open with a protector that was removed since. So whatever opens first only gives the VMK; the
    /// newest header whose MAC is right under it decides, and must still have the protector.
    fn try_unlock(&self, credential: &Credential<'_>) -> Result<(Vmk, Uuid, usize)> {
        let mut forged = false;
        for Try { volume, slot, .. } in self.tries(credential) {
            let Some(vmk) = slot.open(volume, credential) else {
                continue;
            };
            let authentic =
                |c: &Candidate| c.header.uuid == *volume && Header::is_authentic(&c.image, &vmk);
            let Some(index) = self.found.candidates.iter().position(authentic) else {
                forged = true;
                continue;
            };
            let newest = &self.found.candidates[index].header;
            return match newest.protectors().any(|p| p.id == slot.id) {
                true => Ok((vmk, slot.id, index)),
                false => Err(Error::ProtectorRemoved { id: slot.id }),
            };
        }
        Err(if forged {
            Error::HeaderForged
        } else {
            self.refusal(credential)
        })
    }

    /// The slots that a credential may open, in the order in which to try them: those on which two copies agree before
    /// those that a single copy has, which anyone may have put there; then the cheapest first, so that a hostile slot
    /// does not hold up the right one. Which one opens first does not matter: it only gives the VMK.
    fn tries(&self, credential: &Credential<'_>) -> Vec<Try<'_>> {
        let mut tries: Vec<Try<'_>> = Vec::new();
        for candidate in &self.found.candidates {
            let volume = &candidate.header.uuid;
            let slots = candidate.header.protectors();
            for slot in slots.filter(|slot| credential.fits(slot)) {
                // Copies differ in dates and in other slots: the same slot is stretched once only.
                let fingerprint = slot.fingerprint(volume);
                match tries
                    .iter_mut()
                    .find(|known| known.fingerprint == fingerprint)
                {
                    Some(known) => known.copies += candidate.copies,
                    None => tries.push(Try {
                        volume,
                        slot,
                        fingerprint,
                        copies: candidate.copies,
                    }),
                }
            }
        }
        tries.sort_by_key(|known| (known.copies < 2, known.slot.stretch.work()));
        tries
    }

    #[cfg(test)]
    pub(super) fn tried_in_order(&self, credential: &Credential<'_>) -> Vec<Uuid> {
        self.tries(credential)
            .iter()
            .map(|known| known.slot.id)
            .collect()
    }

    fn refusal(&self, credential: &Credential<'_>) -> Error {
        let kind = credential.kind();
        match *credential {
            Credential::Keyfile(_, id) => Error::WrongKeyfile { id: *id },
            _ if !self.slots().any(|p| p.kind == kind) => Error::NoProtector(kind),
            Credential::Recovery(_) => Error::WrongPassword {
                ids: self.password_ids(),
            },
            Credential::Passphrase(_) => Error::WrongPassphrase,
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Protector> {
        self.volumes().into_iter().flat_map(Header::protectors)
    }

    fn volume(&self, vmk: Vmk, opened_with: Uuid, index: usize) -> Result<Volume> {
        let Candidate { header, image, .. } = &self.found.candidates[index];
        let place = self.place.try_clone()?;
        let mut reports = self.found.reports[..COPIES].to_vec();
        for (i, report) in reports.iter_mut().enumerate() {
            let undamaged = matches!(
                report.state,
                CopyState::Good { .. } | CopyState::Old { .. } | CopyState::Foreign(_)
            );
            if undamaged {
                report.state = judge(&place, i, header, image, &vmk);
            }
        }
        Ok(Volume::new(
            place,
            header.clone(),
            image.clone(),
            vmk,
            opened_with,
            reports,
        ))
    }

    fn newest(&self) -> &Candidate {
        // `copies::find` fails where there is none.
        &self.found.candidates[0]
    }
}

/// A slot that a credential may open.
struct Try<'a> {
    volume: &'a Uuid,
    slot: &'a Protector,
    fingerprint: [u8; 32],
    copies: usize,
}

/// Judges an undamaged copy against the header that was proven to be the newest.
fn judge(place: &Place, index: usize, header: &Header, image: &Image, vmk: &Vmk) -> CopyState {
    let Ok(bytes) = place.read_copy(index) else {
        return CopyState::Unreadable("changed while it was read".to_owned());
    };
    if bytes[..] == image[..] {
        let sequence = header.sequence;
        return CopyState::Good { sequence };
    }
    let authentic = <&Image>::try_from(&bytes[..]).is_ok_and(|b| Header::is_authentic(b, vmk));
    match Header::decode(&bytes) {
        Ok(copy) if authentic && copy.uuid == header.uuid && copy.sequence < header.sequence => {
            CopyState::Old {
                sequence: copy.sequence,
            }
        }
        Ok(copy) if copy.uuid != header.uuid => CopyState::Foreign(copy.uuid),
        Ok(_) => CopyState::Forged,
        Err(why) => CopyState::Bad(why),
    }
}

/// Whether two groups of the recovery password had to be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Swapped {
    No,
    Yes,
}
