//! Making a volume: nothing half-made is left behind.
use super::audit;
use super::copies;
use super::date;
use super::enrol::add;
use super::error::{Error, Result};
use super::header::{
    Features, Fvek, Header, KEEPS_SPACE, Kind, MINOR, NameEncoding, SLOTS, TEXT_SIZE,
};
use super::keyfile::Keyfile;
use super::keys::Uuid;
use super::keystore::{Keystore, Protection};
use super::layout;
use super::place::{Access, COPIES};
use super::protector::{Credential, NewProtector, Protector, ProtectorState};
use super::recovery_password::RecoveryPassword;
use super::site::{Claim, Site};
use super::unlocked::Volume;
use super::uuid;
use super::vmk::Vmk;
use crate::crypto::kdf::Stretch;
use crate::crypto::random;
use crate::crypto::secret::Secret;
use crate::crypto::tag::Algorithm;
use crate::crypto::xts::Cipher;
use std::path::Path;

/// PBKDF2 rounds of a recovery password: its 128 random bits need none, the form they follow has 2^20.
pub const ITERATIONS: u32 = 1 << 20;

/// What a new volume is like.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Where its data lies.
    pub site: Site,
    /// Content cipher.
    pub cipher: Cipher,
    /// Tag algorithm.
    pub tag: Algorithm,
    /// Spelling of sealed names.
    pub name_encoding: NameEncoding,
    /// The volume's name, for people.
    pub label: String,
    /// Keep the recovery password in the header, sealed, so that `recovery-keys` can show it.
    pub escrow: bool,
    /// PBKDF2 rounds of the recovery password.
    pub iterations: u32,
    /// What is noted of it: "split 2of3".
    pub remark: String,
    /// In which form the keystore keeps the keyfile.
    pub protection: Protection,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            site: Site::Directory,
            cipher: Cipher::XtsAes256,
            tag: Algorithm::PolyvalAes256,
            name_encoding: NameEncoding::Base64Url,
            label: String::new(),
            escrow: true,
            iterations: ITERATIONS,
            remark: String::new(),
            protection: Protection::File,
        }
    }
}

/// A new volume.
pub struct Created {
    /// Unlocked.
    pub volume: Volume,
    /// To be shown once and kept elsewhere.
    pub recovery_password: RecoveryPassword,
    /// Its ID.
    pub password_id: Uuid,
    claim: Claim,
}

impl Created {
    /// Takes the new volume back, keyfile included.
    pub fn discard(self, keystore: &Keystore) {
        self.claim.take_back(self.volume.place());
        let _ = keystore.forget(&self.volume.header().uuid);
    }
}

/// Makes a volume and its keyfile in the keystore. The file system of an image is still to be made.
pub fn create(path: &Path, options: &CreateOptions, keystore: &Keystore) -> Result<Created> {
    if options.label.len() > TEXT_SIZE || !layout::is_plain(&options.label) {
        return Err(Error::Label);
    }
    let (place, claim) = options.site.claim(path)?;
    let keyfile = Keyfile::random(&uuid::random());
    let (header, vmk, password) = match draw(place.kind(), options, keystore, &keyfile) {
        Ok(drawn) => drawn,
        Err(error) => {
            claim.take_back(&place);
            return Err(error);
        }
    };
    let image = header.encode(&vmk);
    let passwords = |p: &&Protector| p.kind == super::protector::ProtectorKind::RecoveryPassword;
    let password_id = header
        .protectors()
        .find(passwords)
        .map_or([0; 16], |p| p.id);
    let copies = (0..COPIES)
        .map(|i| copies::CopyReport {
            name: place.copy_name(i).to_owned(),
            state: copies::CopyState::Good { sequence: 1 },
        })
        .collect();
    let volume = Volume::new(place, header, image, vmk, keyfile.slot, copies);
    let written = write(&volume, &keyfile, keystore, options.protection);
    let created = Created {
        volume,
        recovery_password: password,
        password_id,
        claim,
    };
    match written {
        Ok(()) => Ok(created),
        Err(error) => {
            created.discard(keystore);
            Err(error)
        }
    }
}

/// The keyfile first: a volume that this computer could not open never comes to be.
fn write(
    volume: &Volume,
    keyfile: &Keyfile,
    keystore: &Keystore,
    protection: Protection,
) -> Result<()> {
    let seat = volume.seat(keystore);
    keystore.stage_keyfile(&seat, keyfile, Some(protection))?;
    keystore.commit_keyfile(&seat)?;
    drop(volume.place().lock(Access::ReadWrite)?); // makes the file, so that readers find it
    copies::write_all(volume.place(), volume.header_bytes())?;
    volume.remember(keystore)?;
    Ok(())
}

fn draw(
    kind: Kind,
    options: &CreateOptions,
    keystore: &Keystore,
    keyfile: &Keyfile,
) -> Result<(Header, Vmk, RecoveryPassword)> {
    let uuid = keyfile.volume;
    let now = date::now();
    let computer = audit::computer();
    let vmk = Vmk::random(&uuid);
    let password = RecoveryPassword::random();
    let mut header = Header {
        minor: MINOR,
        uuid,
        sequence: 1,
        created: now,
        written: now,
        features: Features {
            compat: match options.site {
                Site::Image {
                    preallocate: true, ..
                } => KEEPS_SPACE,
                _ => 0,
            },
            ..Features::default()
        },
        kind,
        cipher: options.cipher,
        tag: options.tag,
        name_encoding: options.name_encoding,
        label: options.label.clone(),
        computer: layout::fit(&computer, TEXT_SIZE).to_owned(),
        root: random::bytes(),
        fveks: vec![Fvek {
            epoch: 1,
            created: now,
            wrapped: vmk.wrap_fvek(1, &Secret::random()),
        }],
        slots: [const { None }; SLOTS],
    };
    let by_keyfile = NewProtector {
        credential: Credential::Keyfile(&keyfile.key, &keyfile.slot),
        stretch: Stretch::None,
        state: ProtectorState::Active,
        escrow: false,
        host: keystore.host()?,
        description: &computer,
    };
    let by_password = NewProtector {
        credential: Credential::Recovery(&password),
        stretch: Stretch::Pbkdf2 {
            iterations: options.iterations,
        },
        escrow: options.escrow,
        host: [0; 16],
        description: &options.remark,
        ..by_keyfile
    };
    for new in [by_keyfile, by_password] {
        let slot = Protector::new(&uuid, &vmk, &new).map_err(|_| Error::Cost)?;
        add(&mut header, slot, &keyfile.slot)?;
    }
    Ok((header, vmk, password))
}
