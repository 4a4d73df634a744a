//! Rotation: a protector is replaced only by one that was proven to open the volume.
//!
//! pending (in the header, shown to nobody) -> delivered (shown) -> proven (it opened the volume) -> the old one is removed
//! from every copy. Each step is one update of the header, so that a rotation cut short leaves the old protector in
//! force; which one a new recovery password replaces stands in its description until then.
use super::audit;
use super::enrol::{add, remove};
use super::error::{Error, Result};
use super::header::Header;
use super::keyfile::Keyfile;
use super::keys::Uuid;
use super::keystore::{Keystore, Protection};
use super::locked::Locked;
use super::protector::{
    Credential, NewProtector, Protector, ProtectorKind, ProtectorState, REPLACES,
};
use super::recovery_password::RecoveryPassword;
use super::unlocked::Volume;
use super::{date, passphrase, uuid};
use crate::crypto::kdf::Stretch;

/// How a passphrase is stretched: RFC 9106's second recommendation with four times its memory.
pub const PASSPHRASE: Stretch = Stretch::Argon2id {
    passes: 3,
    memory_kib: 256 << 10,
    lanes: 4,
};

/// A rotation that has begun.
pub struct Rotation {
    /// What is going to be removed.
    pub old: Uuid,
    /// What replaces it.
    pub new: Uuid,
    /// The new recovery password, to be delivered.
    pub password: RecoveryPassword,
}

/// What a new recovery password is like.
#[derive(Clone, Debug)]
pub struct NewPassword {
    /// Keep it in the header, sealed.
    pub escrow: bool,
    /// PBKDF2 rounds.
    pub iterations: u32,
    /// What is noted of it: "split 2of3".
    pub remark: String,
}

impl Volume {
    /// Adds the replacement of a recovery password, pending. `prefix`: of the ID of the one to replace; needed where there
    /// are several and not just one of them is due.
    pub fn begin_rotation(
        &mut self,
        keystore: &Keystore,
        prefix: Option<&str>,
        like: NewPassword,
    ) -> Result<Rotation> {
        let password = RecoveryPassword::random();
        let (volume, opened_with) = (self.header().uuid, *self.opened_with());
        let (old, new) = self.update(Some(keystore), |header, vmk| {
            let old = to_replace(header, prefix)?;
            let begun = header.protectors().find(|p| p.replaces() == Some(old));
            match begun.map(|p| (p.id, p.state)) {
                // Nobody has seen it: a rotation was cut short before its password was shown.
                Some((id, ProtectorState::Pending)) => remove(header, &id),
                Some((new, _)) => return Err(Error::RotationUnderWay { old, new }),
                None => {}
            }
            let description = format!("{REPLACES}{} {}", uuid::text(&old), like.remark);
            let from = NewProtector {
                credential: Credential::Recovery(&password),
                stretch: Stretch::Pbkdf2 {
                    iterations: like.iterations,
                },
                state: ProtectorState::Pending,
                escrow: like.escrow,
                host: [0; 16],
                description: description.trim_end(),
            };
            let slot = Protector::new(&volume, vmk, &from).map_err(|_| Error::Cost)?;
            let new = slot.id;
            add(header, slot, &opened_with)?;
            Ok((old, new))
        })?;
        Ok(Rotation { old, new, password })
    }

    /// The new password was shown: it counts as delivered.
    pub fn delivered(&mut self, keystore: &Keystore, new: &Uuid) -> Result<()> {
        self.annotate(Some(keystore), new, |slot| {
            slot.exported = date::now();
            slot.state = ProtectorState::Delivered;
        })
    }

    /// Replacements whose old password is still in force, and whether they were proven.
    pub fn rotations(&self) -> Vec<(Uuid, bool)> {
        let under_way = |p: &&Protector| p.replaces().is_some();
        self.header()
            .protectors()
            .filter(under_way)
            .map(|p| (p.id, p.state == ProtectorState::Active))
            .collect()
    }

    /// The replacement `new` was proven: what it replaces is removed from every copy. Returns the removed one's ID.
    pub fn finish_rotation(&mut self, keystore: &Keystore, new: &Uuid) -> Result<Uuid> {
        self.update(Some(keystore), |header, _| {
            let slot = header.slots.iter_mut().flatten().find(|p| p.id == *new);
            let slot = slot.ok_or(Error::NoRotation)?;
            let old = slot.replaces().ok_or(Error::NoRotation)?;
            slot.description = slot.remark().to_owned();
            slot.state = ProtectorState::Active;
            slot.verified = date::now();
            remove(header, &old);
            Ok(old)
        })
    }

    /// Replaces this computer's keyfile. The new one is proven on the volume as it then is on the disk, before the old one is
    /// removed. `protection`: another form in the keystore than before.
    pub fn rotate_keyfile(
        &mut self,
        keystore: &Keystore,
        protection: Option<Protection>,
    ) -> Result<Uuid> {
        let keyfile = Keyfile::random(&self.header().uuid);
        let seat = self.seat(keystore);
        let earlier = self.keyfiles_of(keystore);
        let host = keystore.host()?;
        keystore.stage_keyfile(&seat, &keyfile, protection)?;
        let credential = Credential::Keyfile(&keyfile.key, &keyfile.slot);
        let from = NewProtector {
            credential,
            stretch: Stretch::None,
            state: ProtectorState::Pending,
            escrow: false,
            host,
            description: &audit::computer(),
        };
        if let Err(error) = self.add_protector(Some(keystore), &from) {
            keystore.drop_staged_keyfile(&seat)?;
            return Err(error);
        }
        if let Err(error) = self.prove_keyfile(keystore, &keyfile) {
            let _ = self.take_back(keystore, &keyfile.slot);
            keystore.drop_staged_keyfile(&seat)?;
            return Err(error);
        }
        self.update(Some(keystore), |header, _| {
            for id in &earlier {
                remove(header, id);
            }
            activate(header, &keyfile.slot);
            Ok(())
        })?;
        keystore.commit_keyfile(&seat)?;
        Ok(keyfile.slot)
    }

    /// Opens the volume with a keyfile as the next mount is going to read it.
    fn prove_keyfile(&self, keystore: &Keystore, keyfile: &Keyfile) -> Result<()> {
        let kept = keystore.keyfiles(&keyfile.volume)?;
        let kept = kept.iter().find(|kept| kept.slot == keyfile.slot);
        let kept =
            kept.ok_or_else(|| Error::KeyfileMissing(keystore.keyfile_path(&keyfile.volume)))?;
        let locked = Locked::open(self.place().path())?;
        locked
            .unlock(Credential::Keyfile(&kept.key, &kept.slot))
            .map(drop)
    }

    /// Adds a passphrase; `replace`: every other one is removed, once this one was proven.
    pub fn set_passphrase(
        &mut self,
        keystore: &Keystore,
        passphrase: &[u8],
        stretch: Stretch,
        replace: bool,
    ) -> Result<Uuid> {
        let passphrase = passphrase::prepared(passphrase);
        let from = NewProtector {
            credential: Credential::Passphrase(&passphrase),
            stretch,
            state: ProtectorState::Pending,
            escrow: false,
            host: [0; 16],
            description: "",
        };
        let id = self.add_protector(Some(keystore), &from)?;
        let proven = Locked::open(self.place().path()).and_then(|l| l.unlock(from.credential));
        if let Err(error) = proven {
            let _ = self.take_back(keystore, &id);
            return Err(error);
        }
        self.update(Some(keystore), |header, _| {
            for place in header.slots.iter_mut().filter(|_| replace) {
                let old = |p: &Protector| p.kind == ProtectorKind::Passphrase && p.id != id;
                if place.as_ref().is_some_and(old) {
                    *place = None;
                }
            }
            activate(header, &id);
            Ok(())
        })?;
        Ok(id)
    }

    /// A keyfile with which another computer enrols itself. It is spent by that.
    pub fn add_computer(&mut self, keystore: &Keystore, computer: &str) -> Result<Keyfile> {
        let keyfile = Keyfile::random(&self.header().uuid);
        let from = NewProtector {
            credential: Credential::Keyfile(&keyfile.key, &keyfile.slot),
            stretch: Stretch::None,
            state: ProtectorState::Delivered,
            escrow: false,
            host: [0; 16],
            description: computer,
        };
        self.add_protector(Some(keystore), &from)?;
        Ok(keyfile)
    }
}

/// The one that is named; else the only one; else the only one that is due.
fn to_replace(header: &Header, prefix: Option<&str>) -> Result<Uuid> {
    let settled =
        |p: &&Protector| p.kind == ProtectorKind::RecoveryPassword && p.replaces().is_none();
    let all: Vec<_> = header.protectors().filter(settled).collect();
    if let Some(prefix) = prefix {
        let named: Vec<_> = all
            .iter()
            .filter(|p| uuid::has_prefix(&p.id, prefix))
            .collect();
        return match named[..] {
            [slot] => Ok(slot.id),
            _ => Err(Error::WhichProtector {
                prefix: prefix.to_owned(),
                found: named.len(),
            }),
        };
    }
    let due = |p: &&&Protector| p.state == ProtectorState::RotateDue;
    let due: Vec<_> = all.iter().filter(due).copied().collect();
    match (&all[..], &due[..]) {
        ([slot], _) | (_, [slot]) => Ok(slot.id),
        _ => Err(Error::RotateWhich(all.len())),
    }
}

fn activate(header: &mut Header, id: &Uuid) {
    for slot in header.slots.iter_mut().flatten().filter(|p| p.id == *id) {
        slot.state = ProtectorState::Active;
        slot.verified = date::now();
    }
}
