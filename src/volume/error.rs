//! What opening and changing a volume can fail with. Facts are fields; hints are the command line's.
use super::date::Seconds;
use super::header::HeaderError;
use super::keys::Uuid;
use super::keystore::Protection;
use super::protector::{Protector, ProtectorKind};
use super::{copies::CopyReport, uuid};
use crate::printable::printable;
use std::io;
use std::path::{Path, PathBuf};

/// A result of the volume layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a volume could not be made, opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // ---- the credential
    /// The recovery password is well formed and opens nothing.
    #[error("this recovery password does not open the volume (it has: {})", short_ids(.ids))]
    WrongPassword {
        /// The password IDs that the header holds.
        ids: Vec<Uuid>,
    },
    /// The passphrase opens nothing.
    #[error("this passphrase does not open the volume")]
    WrongPassphrase,
    /// The keyfile opens nothing.
    #[error("the keyfile does not open the volume (key protector {} is not in the header or does not fit)", uuid::short(.id))]
    WrongKeyfile {
        /// The key protector that it says it is for.
        id: Uuid,
    },
    /// The header has no protector of this kind.
    #[error("the volume has no {} key protector", kind_name(*.0))]
    NoProtector(ProtectorKind),
    /// It opened an older copy of the header; the newest one no longer has it.
    #[error("this key protector ({}) was removed from the volume", uuid::short(.id))]
    ProtectorRemoved {
        /// Which one.
        id: Uuid,
    },
    /// The credential fits, the header's MAC does not.
    #[error("the header was changed by someone without the key")]
    HeaderForged,

    // ---- the keystore
    /// There is no keystore.
    #[error("there is no keystore at {}", printable(.0))]
    KeystoreMissing(PathBuf),
    /// Neither HOME nor XDG_DATA_HOME says where it is.
    #[error("cannot tell where the keystore is: HOME is not set")]
    KeystoreUnknown,
    /// No keyfile for this volume.
    #[error("no keyfile for this volume: {} does not exist", printable(.0))]
    KeyfileMissing(PathBuf),
    /// Not a keyfile, or damaged.
    #[error("keyfile {} is damaged", printable(.0))]
    KeyfileDamaged(PathBuf),
    /// What keeps the keyfile does not give it.
    #[error("keyfile {}: {source}", printable(.path))]
    Unsealing {
        /// The file.
        path: PathBuf,
        /// In which form it is kept.
        form: Protection,
        /// Why.
        source: io::Error,
    },
    /// What is to keep the keyfile does not take it.
    #[error("the keyfile cannot be kept as {}: {source}", .form.name())]
    Sealing {
        /// In which form.
        form: Protection,
        /// Why.
        source: io::Error,
    },
    /// A keyfile under this volume's name that is for another one.
    #[error("keyfile {} is of another volume ({})", printable(.path), uuid::text(.volume))]
    KeyfileForeign {
        /// The file.
        path: PathBuf,
        /// The volume that it is for.
        volume: Uuid,
    },
    /// Others may read or change a secret.
    #[error("permissions {mode:04o} of {} are too open", printable(.path))]
    Mode {
        /// What is too open.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// A secret that belongs to someone else.
    #[error("{} belongs to user {owner}", printable(.path))]
    Owner {
        /// What it is.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// Older than what this computer has seen.
    #[error(
        "the volume's header was rolled back: number {found}, this computer has seen number {seen}"
    )]
    RolledBack {
        /// The header's sequence number.
        found: u64,
        /// The keystore's.
        seen: u64,
    },
    /// Same number as what this computer has seen, other content.
    #[error("the volume's header number {0} is not the one that this computer has seen")]
    Diverged(u64),

    // ---- the volume
    /// There is nothing at the path.
    #[error("{} does not exist", printable(.0))]
    Missing(PathBuf),
    /// Neither a directory nor an image.
    #[error("{} is neither a directory nor a file nor a block device", printable(.0))]
    WrongType(PathBuf),
    /// Nothing in it looks like a header.
    #[error("{} is not a cryptfs volume", printable(.0))]
    NotAVolume(PathBuf),
    /// Every copy of the header is damaged or gone.
    #[error("no copy of the volume's header is usable: {}", list(.copies))]
    HeaderLost {
        /// The volume.
        path: PathBuf,
        /// What was found.
        copies: Vec<CopyReport>,
    },
    /// Made by a cryptfs that does more than this one.
    #[error("unsupported volume: {0}")]
    Unsupported(HeaderError),
    /// A saved header that is not this volume's.
    #[error("the saved header is of volume {}, this is volume {}", uuid::text(.saved), uuid::text(.here))]
    OtherVolume {
        /// The volume that it is of.
        saved: Uuid,
        /// The volume that is here.
        here: Uuid,
    },
    /// The volume's own header copies are of different volumes, and this one was not proven to be what lies here.
    #[error(
        "the volume's header copies are of different volumes, and the header of volume {} opens nothing here",
        uuid::text(.0)
    )]
    Contested(Uuid),
    /// Uses features that allow reading only.
    #[error("the volume uses features that this version can only read (ro_compat {0:#x})")]
    ReadOnlyFeatures(u64),
    /// In use by another mount.
    #[error("volume {} is already mounted", printable(.0))]
    AlreadyMounted(PathBuf),
    /// It was to be opened for writing.
    #[error("{} cannot be written to", printable(.0))]
    NotWritable(PathBuf),
    /// A new volume needs an empty place.
    #[error("{} is not empty", printable(.0))]
    NotEmpty(PathBuf),
    /// An image file is as large as was said.
    #[error("an image file needs a size")]
    NoSize,
    /// A block device is taken whole.
    #[error("an image on a block device takes all of it")]
    DeviceSize,
    /// A block device that is or was in use for something else.
    #[error("{} holds something", printable(.0))]
    DeviceHolds(PathBuf),
    /// Nothing that could be brought up to date.
    #[error("{} is not a backup of this image as large as it is now", printable(.0))]
    OtherBackup(PathBuf),
    /// There already is a volume.
    #[error("{} already is a cryptfs volume", printable(.0))]
    AlreadyAVolume(PathBuf),
    /// A label that does not fit.
    #[error("the label must be plain text of at most 64 bytes")]
    Label,
    /// A key derivation cost outside of what is accepted.
    #[error("the key derivation cost is out of bounds")]
    Cost,
    /// All slots are taken; the one that is missed least.
    #[error("all 12 key protectors are in use")]
    NoFreeSlot(Option<Box<Protector>>),
    /// No such protector, or several.
    #[error("{found} key protectors have an ID that begins with {prefix}")]
    WhichProtector {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        found: usize,
    },
    /// Several recovery passwords could be meant.
    #[error("the volume has {0} recovery passwords")]
    RotateWhich(usize),
    /// A replacement was delivered and not yet proven.
    #[error("recovery password {} is already being replaced by {}", uuid::short(.old), uuid::short(.new))]
    RotationUnderWay {
        /// What is replaced.
        old: Uuid,
        /// By what.
        new: Uuid,
    },
    /// Nothing was begun that could be finished.
    #[error("no rotation of a recovery password is under way")]
    NoRotation,
    /// Without it nobody would get the data back.
    #[error("{} is the last {} of the volume", uuid::short(.id), kind_name(*.kind))]
    LastProtector {
        /// Which one.
        id: Uuid,
        /// What it is.
        kind: ProtectorKind,
    },
    /// Some copies could not be written; the change stands in the others.
    #[error("only {written} of {wanted} header copies could be written ({}: {source})", .copy)]
    PartlyWritten {
        /// How many were.
        written: usize,
        /// Out of how many.
        wanted: usize,
        /// The first that was not.
        copy: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The audit log cannot be written: no secret is shown.
    #[error("cannot write the audit log {}: {source}", printable(.path))]
    Audit {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a recovery kit, or damaged.
    #[error("{0} is not an intact recovery kit")]
    Kit(String),
    /// A system call failed.
    #[error("{}: {source}", printable(.path))]
    Io {
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn sys(path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self::Io {
            path,
            source: errno.into(),
        }
    }
}

/// The kind's name, as people read it.
pub fn kind_name(kind: ProtectorKind) -> &'static str {
    match kind {
        ProtectorKind::Keyfile => "keyfile",
        ProtectorKind::RecoveryPassword => "recovery password",
        ProtectorKind::Passphrase => "passphrase",
    }
}

fn short_ids(ids: &[Uuid]) -> String {
    let ids: Vec<_> = ids.iter().map(uuid::short).collect();
    ids.join(", ")
}

fn list(copies: &[CopyReport]) -> String {
    let copies: Vec<_> = copies.iter().map(CopyReport::to_string).collect();
    copies.join("; ")
}

/// When something happened, or never.
pub fn date_or_never(seconds: Seconds) -> String {
    match seconds {
        0 => "never".to_owned(),
        _ => super::date::rfc3339(seconds),
    }
}
