//! What people read when something is wrong, and the exit codes; man/cryptfs.1 lists both.
//!
//! ```text
//! cryptfs: error: volume /srv/data is already mounted
//! cryptfs: hint: unmount it with cryptfs umount DIR
//! ```
use crate::image::OpenError;
pub use crate::printable::typed;
use crate::printable::{harmless, printable};
use crate::volume::error::{date_or_never, kind_name};
use crate::volume::keystore::Protection;
use crate::volume::same_disk::{SameDisk, same_disk};
use crate::volume::{self, Protector, ProtectorKind, ProtectorState, uuid};
use crate::{fs, recover};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Exit codes. `status --check` has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Anything that has no code of its own.
    Failure = 1,
    /// The recovery password, passphrase or keyfile does not open the volume.
    WrongKey = 10,
    /// The keystore or the keyfile is missing, damaged or too open.
    Keystore = 11,
    /// No header copy is usable.
    Header = 12,
    /// Made by a newer version.
    Unsupported = 13,
    /// Already mounted, or the mount point is busy.
    Busy = 14,
    /// The header is older than what this computer has seen.
    RolledBack = 15,
    /// The path is not what the command needs: missing, not empty, not a volume.
    Place = 16,
    /// Damage was found, or not everything could be copied out.
    Damage = 17,
    /// Wrong arguments: EX_USAGE of sysexits.h, as 2 is an answer of `status --check`.
    Usage = 64,
    /// Interrupted by the person.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The volume layer's.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// The file system's.
    #[error("{0}")]
    FileSystem(#[from] fs::Error),
    /// Copying out.
    #[error(transparent)]
    Recover(#[from] recover::Error),
    /// Mounting and unmounting.
    #[cfg(feature = "fuse")]
    #[error(transparent)]
    Fuse(#[from] crate::fuse::Error),
    /// A system call failed.
    #[error("{}: {source}", printable(.path))]
    Io {
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was typed is not a recovery password.
    #[error("not a recovery password: {0}")]
    Typed(#[from] volume::recovery_password::ParseError),
    /// A command's own.
    #[error("{message}")]
    Told {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
        /// The exit code.
        code: Code,
    },
}

impl Error {
    /// An error of a command's own.
    pub fn told(code: Code, message: impl Into<String>, hint: &str) -> Self {
        Self::Told {
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
            code,
        }
    }

    /// A failed system call on a path.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// The exit code.
    pub fn code(&self) -> Code {
        use volume::Error as V;
        match self {
            Self::Told { code, .. } => *code,
            Self::Typed(_) => Code::WrongKey,
            Self::Volume(error) => match error {
                V::WrongPassword { .. }
                | V::WrongPassphrase
                | V::WrongKeyfile { .. }
                | V::NoProtector(_)
                | V::ProtectorRemoved { .. } => Code::WrongKey,
                V::KeystoreMissing(_)
                | V::KeystoreUnknown
                | V::KeyfileMissing(_)
                | V::KeyfileDamaged(_)
                | V::Unsealing { .. }
                | V::Sealing { .. }
                | V::KeyfileForeign { .. }
                | V::Mode { .. }
                | V::Owner { .. } => Code::Keystore,
                V::HeaderForged
                | V::HeaderLost { .. }
                | V::Contested(_)
                | V::OtherVolume { .. }
                | V::Kit(_) => Code::Header,
                V::Unsupported(_) | V::ReadOnlyFeatures(_) => Code::Unsupported,
                V::AlreadyMounted(_) => Code::Busy,
                V::RolledBack { .. } | V::Diverged(_) => Code::RolledBack,
                V::Missing(_)
                | V::WrongType(_)
                | V::NotAVolume(_)
                | V::NotEmpty(_)
                | V::DeviceHolds(_)
                | V::OtherBackup(_)
                | V::AlreadyAVolume(_) => Code::Place,
                V::Label
                | V::Cost
                | V::NoSize
                | V::DeviceSize
                | V::WhichProtector { .. }
                | V::RotateWhich(_) => Code::Usage,
                V::NoFreeSlot(_)
                | V::RotationUnderWay { .. }
                | V::NoRotation
                | V::LastProtector { .. }
                | V::PartlyWritten { .. }
                | V::Audit { .. }
                | V::NotWritable(_)
                | V::Io { .. } => Code::Failure,
            },
            #[cfg(feature = "fuse")]
            Self::Fuse(error) => fuse_code(error),
            Self::Recover(error) => recover_code(error),
            Self::FileSystem(_) | Self::Io { .. } => Code::Failure,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Told { hint, .. } => hint.clone(),
            Self::Typed(_) => {
                Some("type the 48 digits as the sheet has them, in 8 groups of 6".to_owned())
            }
            Self::Volume(error) => volume_hint(error),
            #[cfg(feature = "fuse")]
            Self::Fuse(error) => error.hint(),
            Self::Recover(error) => recover_hint(error).map(str::to_owned),
            Self::FileSystem(_) | Self::Io { .. } => None,
        }
    }
}

/// Where the system lets this user not do something, the volume's own files may be root's.
fn permission_hint(errno: Option<i32>) -> Option<&'static str> {
    use rustix::io::Errno;
    let denied = [Errno::ACCESS, Errno::PERM].map(Errno::raw_os_error);
    denied
        .contains(&errno?)
        .then_some("cryptfs doctor VOLUME shows whose the volume's own files are")
}

fn recover_code(error: &recover::Error) -> Code {
    use recover::Error as R;
    match error {
        R::NotEmpty(_) | R::NoJournal(_) | R::Inside(_) | R::Shared { .. } => Code::Place,
        R::NoSnapshots | R::NotAnImage => Code::Usage,
        R::Image(OpenError::RolledBack { .. }) => Code::RolledBack,
        R::Image(OpenError::NoSuperblock | OpenError::BrokenLog | OpenError::Cut { .. }) => {
            Code::Damage
        }
        R::Image(OpenError::Size) => Code::Usage,
        R::Keys(_) => Code::Header,
        R::Image(OpenError::NoSnapshot) => Code::Place,
        R::Image(OpenError::Fs(_)) | R::FileSystem(_) | R::Io { .. } => Code::Failure,
    }
}

fn recover_hint(error: &recover::Error) -> Option<&'static str> {
    use recover::Error as R;
    Some(match error {
        R::NotEmpty(_) => {
            "name a new or empty directory, or go on with an earlier salvage with --resume"
        }
        R::NoJournal(_) => "name a new or empty directory",
        R::Shared { .. } => {
            "name a directory that does not exist yet, or one that belongs to root and that nobody else can write to; on a \
             disk that the desktop has mounted for a user all files are that user's: unmount it, and mount it as root"
        }
        R::Inside(_) => "name a directory elsewhere",
        R::Image(OpenError::RolledBack { .. }) => {
            "if you put back a backup on purpose, cryptfs mount --accept-rollback VOLUME MOUNTPOINT takes it"
        }
        R::Image(OpenError::NoSuperblock) => {
            "put a backup back; if cryptfs init or cryptfs backup was cut short, run it again"
        }
        R::Image(OpenError::BrokenLog) => {
            "cryptfs check --repair goes on without it; cryptfs recover --salvage DEST copies out what there is"
        }
        R::Image(OpenError::Cut { .. }) => {
            "copy the image again from where it came; cryptfs recover --salvage DEST copies out what there is"
        }
        R::Image(OpenError::NoSnapshot) => "cryptfs snapshot list IMAGE shows them",
        R::Image(OpenError::Fs(_)) => "cryptfs recover --salvage DEST copies out what can be read",
        R::Keys(_) => "put a good header back with cryptfs header restore VOLUME FILE",
        R::NotAnImage => "back up a directory volume by copying its directory",
        R::FileSystem(error) => return permission_hint(Some(error.errno())),
        R::Image(OpenError::Size) | R::NoSnapshots | R::Io { .. } => return None,
    })
}

#[cfg(feature = "fuse")]
fn fuse_code(error: &crate::fuse::Error) -> Code {
    use crate::fuse::Error as F;
    match error {
        F::Option(_) => Code::Usage,
        F::Missing(_) | F::NotDirectory(_) | F::NotEmpty(_) | F::Nested(_) | F::Reachable(_) => {
            Code::Place
        }
        F::NotMounted(_) | F::Foreign(_) => Code::Place,
        F::AlreadyMounted { .. } | F::Busy(..) | F::BusyElsewhere(..) => Code::Busy,
        F::Waiting(..) | F::Unwatched(_) => Code::Failure,
        F::NoDevice | F::Device(_) | F::NoFusermount | F::AllowOther => Code::Failure,
        F::Unclean(_) | F::RemountRights(_) | F::Mount(..) | F::Unmount(..) | F::Path(..) => {
            Code::Failure
        }
        F::Serve(_) | F::Lost(_) | F::Close(_) => Code::Failure,
    }
}

fn volume_hint(error: &volume::Error) -> Option<String> {
    use volume::Error as V;
    const BY_HAND: &str = "unlock it by hand with cryptfs recover VOLUME";
    Some(match error {
        V::WrongPassword { .. } => "look for the sheet with one of these password IDs".to_owned(),
        V::WrongPassphrase => "check the keyboard layout and caps lock".to_owned(),
        V::WrongKeyfile { .. } | V::KeyfileMissing(_) | V::KeyfileDamaged(_) | V::KeyfileForeign { .. } => {
            format!("{BY_HAND}; that makes a new keyfile")
        }
        V::Unsealing { form, .. } => {
            let first = match form {
                Protection::SecretService => "log in to the desktop and unlock its keyring, or ",
                _ => "",
            };
            format!("{first}{BY_HAND}; that makes a new keyfile")
        }
        V::Sealing { .. } => {
            let names: Vec<_> = Protection::ALL.iter().map(|form| form.name()).collect();
            format!("say with --protect how else to keep it: {}", names.join(", "))
        }
        V::NoProtector(ProtectorKind::Keyfile) => BY_HAND.to_owned(),
        V::NoProtector(_) => "cryptfs key list VOLUME shows what opens it".to_owned(),
        V::ProtectorRemoved { .. } => "cryptfs key list VOLUME shows what opens it now".to_owned(),
        V::HeaderForged => "put a good header back with cryptfs header restore, or recover with --kit".to_owned(),
        V::KeystoreMissing(_) => {
            format!("name another one with --keystore DIR, or {BY_HAND}")
        }
        V::KeystoreUnknown => "set HOME, or name it with --keystore DIR".to_owned(),
        V::Mode { path, wanted, .. } => format!("run chmod {wanted:03o} {}", typed(path)),
        V::Owner { path, .. } => format!("run chown $(id -u) {}", typed(path)),
        V::RolledBack { .. } | V::Diverged(_) => {
            "if you put back a backup on purpose, cryptfs mount --accept-rollback VOLUME MOUNTPOINT takes it; \
             otherwise cryptfs recover VOLUME repairs the header from the keystore's copy"
                .to_owned()
        }
        V::Missing(_) => "check the path; is its disk mounted?".to_owned(),
        V::NotAVolume(_) => "make one with cryptfs init VOLUME; if it was one, cryptfs recover VOLUME rebuilds its header from the \
                             keystore's copy or --kit FILE"
            .to_owned(),
        V::HeaderLost { .. } => "cryptfs recover VOLUME rebuilds it from the keystore's copy or --kit FILE".to_owned(),
        V::Unsupported(_) => "use a newer cryptfs".to_owned(),
        V::ReadOnlyFeatures(_) => "mount it with -o ro, or use a newer cryptfs".to_owned(),
        V::AlreadyMounted(path) => already_mounted(path),
        V::NotWritable(_) => "to read it, mount it with -o ro".to_owned(),
        V::NotEmpty(_) => "name a new file, or a new or empty directory; copy the files in once it is mounted".to_owned(),
        V::NoSize => "say how large it is to be with --size, as in --size 20G".to_owned(),
        V::OtherBackup(_) => "make a new backup: leave --update out, and name a file that does not exist".to_owned(),
        V::DeviceSize => "leave --size out".to_owned(),
        V::DeviceHolds(_) => "make sure that it is the right one; --overwrite takes it all the same, and what it holds is lost".to_owned(),
        V::AlreadyAVolume(_) => "mount it with cryptfs mount VOLUME MOUNTPOINT".to_owned(),
        V::RotateWhich(_) => "name the one to replace by its ID; cryptfs key list VOLUME shows them".to_owned(),
        V::RotationUnderWay { new, .. } => format!(
            "prove the new one with cryptfs key rotate --finish VOLUME, or give it up with cryptfs key remove VOLUME {}",
            uuid::short(new)
        ),
        V::NoRotation => "begin one with cryptfs key rotate VOLUME".to_owned(),
        V::WhichProtector { .. } => "cryptfs key list VOLUME shows the IDs".to_owned(),
        V::LastProtector { .. } => "add another one first with cryptfs key add VOLUME".to_owned(),
        V::NoFreeSlot(None) => {
            "cryptfs key list VOLUME shows them; remove one with cryptfs key remove VOLUME ID".to_owned()
        }
        V::NoFreeSlot(Some(slot)) => no_free_slot(slot),
        V::Contested(_) => "cryptfs recover VOLUME, with the recovery password of what lies there, puts its header back".to_owned(),
        V::PartlyWritten { .. } => "the change stands; run cryptfs check --repair once the disk can be written".to_owned(),
        V::Audit { path, source } => {
            let rule = "secrets are shown only when the log can be written";
            match (path.parent(), permission_hint(source.raw_os_error())) {
                (Some(dir), Some(_)) => {
                    let (dir, log) = (typed(dir), typed(path));
                    format!("{rule}: if it is root's, sudo chown --reference={dir} {log}")
                }
                _ => format!("{rule}; see to its directory"),
            }
        }
        V::OtherVolume { .. } => {
            "find the kit of this volume; if it is the header in the volume that is the wrong one, move cryptfs.volume, \
             .cryptfs/header.1 and .cryptfs/header.2 out of it first"
                .to_owned()
        }
        V::Io { source, .. } => return permission_hint(source.raw_os_error()).map(str::to_owned),
        V::WrongType(_) | V::Label | V::Cost | V::Kit(_) => return None,
    })
}

/// Which protector to give up where all slots are taken.
fn no_free_slot(slot: &Protector) -> String {
    let (kind, made) = (kind_name(slot.kind), date_or_never(slot.created));
    let what = match slot.state {
        ProtectorState::Pending => format!("a {kind} that was never handed over"),
        _ => format!("the oldest keyfile, of {}, made {made}", slot.description),
    };
    let id = uuid::short(&slot.id);
    format!(
        "cryptfs key remove VOLUME {id} removes {what}; it takes a recovery password too, with --recovery-password"
    )
}

#[cfg(feature = "fuse")]
fn already_mounted(path: &Path) -> String {
    super::whereabouts::hint(path)
}

#[cfg(not(feature = "fuse"))]
fn already_mounted(_: &Path) -> String {
    "unmount it with fusermount3 -u MOUNTPOINT".to_owned()
}

/// Prints a line of a result on standard output.
pub fn out(text: fmt::Arguments<'_>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", harmless(&text.to_string()))
        .map_err(Error::io(Path::new("standard output")))
}

/// Prints an error and its hint. Whoever closed the pipe that results went into (`| head`) has read enough.
pub fn error(error: &Error) {
    if matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe) {
        return;
    }
    say("error", error);
    if let Some(text) = error.hint() {
        hint(text);
    }
}

/// Something that the person should see to.
pub fn warning(text: impl Display) {
    say("warning", text);
}

/// What to do next.
pub fn hint(text: impl Display) {
    say("hint", text);
}

/// What happened. On standard error: standard output is for results.
pub fn note(text: impl Display) {
    eprintln!("cryptfs: {}", harmless(&text.to_string()));
}

/// Warns where the keystore could not note the last change of the header, which stands.
pub fn unkept(volume: &mut volume::Volume) {
    if let Some(error) = volume.take_unkept() {
        warning(format_args!("the keystore could not be updated: {error}"));
        hint("the change stands; the next mount brings the keystore up to date");
    }
}

/// A volume as people know it: its path, and its label where it has one.
pub fn named(path: &Path, label: &str) -> String {
    match label {
        "" => printable(path).to_string(),
        label => format!("{} [{label}]", printable(path)),
    }
}

/// Warns where keystore and volume lie on one disk: when a keyfile is made, and not at each mount, where people would learn to
/// overlook it. `status` shows it at any time.
pub fn one_disk(volume: &volume::Volume, keystore: &volume::Keystore) {
    let path = printable(keystore.path());
    let form = keystore.protection(&volume.header().uuid);
    if !form.is_none_or(Protection::lies_on_disk) {
        return;
    }
    match same_disk(keystore.as_fd(), volume.place().as_fd()) {
        SameDisk::Same => warning(format_args!(
            "keystore {path} and volume lie on the same disk: whoever takes that disk has both"
        )),
        SameDisk::CannotTell => note(format_args!(
            "cannot tell whether keystore {path} and volume lie on the same disk"
        )),
        SameDisk::Different => {}
    }
}

fn say(kind: &str, text: impl Display) {
    eprintln!("cryptfs: {kind}: {}", harmless(&text.to_string()));
}
