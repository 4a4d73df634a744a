//! What the keystore can say of a volume without its disk: from the volume where it can be reached, else from the
//! keystore's own copy of the header.
use super::date::Seconds;
use super::error::{Error, Result};
use super::header::{Header, Image};
use super::keys::Uuid;
use super::keystore::Keystore;
use super::locked::{Locked, Rollback};
use super::protector::{Credential, Protector, ProtectorKind};
use super::recovery_password::RecoveryPassword;
use super::vmk::Vmk;
use crate::crypto::secret::Secret;
use std::path::PathBuf;

/// A volume that the keystore can unlock.
pub struct Kept {
    /// Its header, authentic.
    pub header: Header,
    /// Where it is, or was last seen.
    pub path: Option<PathBuf>,
    /// Authenticates lines of the audit log about it.
    pub audit_key: Secret<32>,
    /// Its recovery passwords.
    pub passwords: Vec<KeptPassword>,
}

/// A recovery password's protector.
pub struct KeptPassword {
    /// The password ID.
    pub id: Uuid,
    /// The password, where the escrow holds it.
    pub password: Option<RecoveryPassword>,
    /// What is noted of it: "split 2of3".
    pub remark: String,
    /// When it was made.
    pub created: Seconds,
    /// When it was last shown; 0: never.
    pub exported: Seconds,
    /// When it was last proven; 0: never.
    pub verified: Seconds,
}

impl Kept {
    /// Unlocks a volume's header by the keystore's keyfile: where it was last seen, else the keystore's own copy.
    pub fn open(keystore: &Keystore, volume: &Uuid) -> Result<Self> {
        let (kept, mut failed) = Self::open_all(keystore, volume);
        match kept.into_iter().next() {
            Some(kept) => Ok(kept),
            None => Err(failed.remove(0)),
        }
    }

    /// As [`Kept::open`], of the volume and of every copy of it that is there. Where one of them does not open, as its
    /// header was put back from a backup for example, the keystore's own copy of the header serves. Also what failed; at
    /// least one of the two lists holds something.
    pub fn open_all(keystore: &Keystore, volume: &Uuid) -> (Vec<Self>, Vec<Error>) {
        let (mut kept, mut failed) = (Vec::new(), Vec::new());
        for path in keystore.present(volume) {
            match Locked::open(&path) {
                Ok(locked) if locked.header().uuid == *volume => {
                    match locked.unlock_auto(keystore, Rollback::Refuse) {
                        Ok(unlocked) => {
                            let key = unlocked.audit_key();
                            let header = unlocked.header().clone();
                            let escrowed = |p: &Protector| unlocked.escrowed_in(p);
                            kept.push(Self::new(header, Some(path), key, escrowed));
                        }
                        Err(error) => failed.push(error),
                    }
                }
                _ => {}
            }
        }
        if kept.is_empty() || !failed.is_empty() {
            match unlock_copy(keystore, volume) {
                Ok((header, vmk)) => {
                    let path = keystore.path_hint(volume);
                    let escrowed = |p: &Protector| p.escrowed(&vmk);
                    kept.push(Self::new(header, path, vmk.audit(), escrowed));
                }
                Err(error) => failed.push(error),
            }
        }
        (kept, failed)
    }

    fn new(
        header: Header,
        path: Option<PathBuf>,
        audit_key: Secret<32>,
        open: impl Fn(&Protector) -> Option<RecoveryPassword>,
    ) -> Self {
        let passwords = header
            .protectors()
            .filter(|p| p.kind == ProtectorKind::RecoveryPassword)
            .map(|p| KeptPassword {
                id: p.id,
                password: open(p),
                remark: p.remark().to_owned(),
                created: p.created,
                exported: p.exported,
                verified: p.verified,
            })
            .collect();
        Self {
            header,
            path,
            audit_key,
            passwords,
        }
    }
}

/// The newest header in the keystore that its keyfile opens.
fn unlock_copy(keystore: &Keystore, volume: &Uuid) -> Result<(Header, Vmk)> {
    let keyfiles = keystore.keyfiles(volume)?;
    for bytes in keystore.headers(volume) {
        let (Ok(header), Ok(image)) = (Header::decode(&bytes), <&Image>::try_from(&bytes[..]))
        else {
            continue;
        };
        for keyfile in &keyfiles {
            let credential = Credential::Keyfile(&keyfile.key, &keyfile.slot);
            let slots = header.protectors().filter(|slot| credential.fits(slot));
            let opened = slots
                .filter_map(|slot| slot.open(volume, &credential))
                .next();
            if let Some(vmk) = opened.filter(|vmk| Header::is_authentic(image, vmk)) {
                return Ok((header, vmk));
            }
        }
    }
    Err(match keyfiles.first() {
        Some(keyfile) => Error::WrongKeyfile { id: keyfile.slot },
        None => Error::KeyfileMissing(keystore.keyfile_path(volume)),
    })
}
