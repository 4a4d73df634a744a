//! The rungs of the keystore: in which forms a keyfile is kept, what each takes, and what lies in its file.
use super::super::keyfile::{self, Keyfile};
use super::super::keys::Uuid;
use super::super::uuid;
use crate::crypto::secret::Secret;
use crate::sys::program::read_up_to;
use crate::sys::{creds, secret_service, tpm2};
use data_encoding::BASE64URL_NOPAD;
use std::io::{self, Read};
use zeroize::Zeroizing;

/// Bytes that tell a file's form. A plain keyfile's key begins behind them.
pub(super) const HEAD: usize = 40;
/// Bytes of a file that names an entry of the Secret Service.
pub(super) const MARKER: usize = SECRET_SERVICE.len() + 16;
const MAX: u64 = 1 << 16;
const TPM2: [u8; 8] = *b"CFSTPM1\x1a";
const SECRET_SERVICE: [u8; 8] = *b"CFSSVC1\x1a";
/// A keyfile as text.
const TEXT: usize = (keyfile::SIZE * 4).div_ceil(3);

/// In which form a keyfile is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// As it is, mode 0600.
    File,
    /// Sealed by systemd-creds(1) with this computer's key, and its TPM2 where there is one.
    SystemdCreds,
    /// Sealed by this computer's TPM2.
    Tpm2,
    /// In the desktop's Secret Service; the file only says where.
    SecretService,
}

impl Protection {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::File,
        Self::SystemdCreds,
        Self::Tpm2,
        Self::SecretService,
    ];

    /// Its name, for options.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::SystemdCreds => "systemd-creds",
            Self::Tpm2 => "tpm2",
            Self::SecretService => "secret-service",
        }
    }

    /// What it is, for people.
    pub fn explained(self) -> &'static str {
        match self {
            Self::File => "a file of mode 0600, open to whoever takes the disk",
            Self::SystemdCreds => "sealed with this computer's key, and its TPM2 if it has one",
            Self::Tpm2 => "sealed by this computer's TPM2",
            Self::SecretService => "in the desktop's keyring, which the login opens",
        }
    }

    /// Whether the computer's disks alone may give the keyfile away. systemd-creds does not say whether a TPM2 takes part.
    pub fn lies_on_disk(self) -> bool {
        matches!(self, Self::File | Self::SystemdCreds)
    }

    /// Why it cannot be used here and now. Where nothing is missing, it may still fail.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::File => None,
            Self::SystemdCreds => creds::missing(),
            Self::Tpm2 => tpm2::missing(),
            Self::SecretService => secret_service::missing(),
        }
    }

    /// What form a file has, by its first bytes: all but a damaged one has a sign of its own. What systemd-creds makes is base64.
    pub(super) fn of(head: &[u8]) -> Self {
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\n".contains(byte);
        match head {
            _ if head.starts_with(&TPM2) => Self::Tpm2,
            _ if head.starts_with(&SECRET_SERVICE) => Self::SecretService,
            _ if head.len() == HEAD && head.iter().all(base64) => Self::SystemdCreds,
            _ => Self::File,
        }
    }

    /// What is to lie in the file.
    pub(super) fn seal(self, keyfile: &Keyfile) -> io::Result<Zeroizing<Vec<u8>>> {
        self.there()?;
        let plain = keyfile.encode();
        let sealed = match self {
            Self::File => plain.expose().to_vec(),
            Self::SystemdCreds => creds::seal(&credential(&keyfile.volume), plain.expose())?,
            Self::Tpm2 => [&TPM2[..], &tpm2::seal(plain.expose())?].concat(),
            Self::SecretService => {
                Entry::new(&keyfile.volume, &keyfile.slot).write(plain.expose())?;
                [&SECRET_SERVICE[..], &keyfile.slot].concat()
            }
        };
        Ok(sealed.into())
    }

    /// Reads the keyfile straight into `buffer`. The bytes that there were: none, where the file is damaged.
    pub(super) fn open(
        self,
        volume: &Uuid,
        file: &mut impl Read,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        if self == Self::File {
            return read_up_to(file, buffer);
        }
        self.there()?;
        let mut kept = Vec::new();
        file.take(MAX).read_to_end(&mut kept)?;
        match self {
            Self::File => Ok(0),
            Self::SystemdCreds => creds::open(&credential(volume), &kept, buffer),
            Self::Tpm2 => match kept.strip_prefix(&TPM2) {
                Some(sealed) => tpm2::open(sealed, buffer),
                None => Ok(0),
            },
            Self::SecretService => match slot(&kept) {
                Some(slot) => Entry::new(volume, &slot).read(buffer),
                None => Ok(0),
            },
        }
    }

    fn there(self) -> io::Result<()> {
        self.missing()
            .map_or(Ok(()), |why| Err(io::Error::other(why)))
    }
}

/// Under which name systemd-creds seals a keyfile.
fn credential(volume: &Uuid) -> String {
    format!("cryptfs-{}", uuid::text(volume))
}

/// The key protector that a file of [`Protection::SecretService`] names.
pub(super) fn slot(kept: &[u8]) -> Option<Uuid> {
    kept.strip_prefix(&SECRET_SERVICE)?.try_into().ok()
}

/// An entry of the Secret Service: a keyfile in base64url.
pub(super) struct Entry {
    volume: String,
    protector: String,
}

impl Entry {
    pub(super) fn new(volume: &Uuid, slot: &Uuid) -> Self {
        Self {
            volume: uuid::text(volume),
            protector: uuid::text(slot),
        }
    }

    fn write(&self, plain: &[u8; keyfile::SIZE]) -> io::Result<()> {
        let text = Secret::<TEXT>::fill_with(|text| BASE64URL_NOPAD.encode_mut(plain, text));
        let label = format!("cryptfs volume {}", self.volume);
        secret_service::store(&label, &self.attributes(), text.expose())
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut found = Ok(0);
        let text = Secret::<TEXT>::fill_with(|text| {
            found = secret_service::lookup(&self.attributes(), text);
        });
        let plain = &mut buffer[..keyfile::SIZE];
        match found? {
            TEXT => Ok(BASE64URL_NOPAD
                .decode_mut(text.expose(), plain)
                .unwrap_or(0)),
            _ => Ok(0),
        }
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        secret_service::clear(&self.attributes())
    }

    fn attributes(&self) -> [&str; 6] {
        let (volume, protector) = (&self.volume, &self.protector);
        [
            "application",
            "cryptfs",
            "volume",
            volume,
            "protector",
            protector,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_by_its_first_bytes() {
        let keyfile = Keyfile::random(&[7; 16]).encode();
        assert_eq!(Protection::of(&keyfile.expose()[..HEAD]), Protection::File);
        assert_eq!(Protection::of(&[b'A'; HEAD]), Protection::SystemdCreds);
        assert_eq!(Protection::of(&TPM2), Protection::Tpm2);
        let marker = [&SECRET_SERVICE[..], &[9; 16]].concat();
        assert_eq!(Protection::of(&marker), Protection::SecretService);
        assert_eq!(slot(&marker), Some([9; 16]));
        for bad in [&marker[..23], &[&marker[..], &[0]].concat()] {
            assert_eq!(slot(bad), None);
        }
        assert_eq!(Protection::of(b"CFSTPM2\x1a"), Protection::File);
    }
}
