//! Which volumes `status` and `report` are about: those that were named, or all that the keystore
//! knows.
use super::{Code, Error, Result, message};
use crate::printable::{exact, printable};
use crate::volume::keys::Uuid;
use crate::volume::{self, Keystore, Locked, uuid};
use std::path::PathBuf;

/// A volume that a command looks at.
pub enum Subject {
    /// One that was named by its path.
    Named(PathBuf),
    /// One that the keystore knows, and where it was last seen.
    Known(Uuid, Option<PathBuf>),
}

/// Lists the volumes: `named`, or where that is empty all that the keystore knows.
///
/// # Errors
/// The keystore exists and cannot be read: an empty list would look as if all were well.
pub fn subjects(named: &[PathBuf], keystore: &volume::Result<Keystore>) -> Result<Vec<Subject>> {
    if !named.is_empty() {
        return Ok(named.iter().cloned().map(Subject::Named).collect());
    }
    match keystore {
        Ok(keystore) => {
            let known = keystore.known()?;
            let known = known.into_iter();
            Ok(known.map(|(id, path)| Subject::Known(id, path)).collect())
        }
        Err(volume::Error::KeystoreMissing(_)) => Ok(Vec::new()),
        Err(error) => {
            let hint = "cryptfs doctor VOLUME says what to do about it";
            Err(Error::told(Code::Keystore, error.to_string(), hint))
        }
    }
}

impl Subject {
    /// Names the volume for a message or a record.
    pub fn name(&self) -> String {
        match self {
            Self::Named(path) | Self::Known(_, Some(path)) => exact(path),
            Self::Known(id, None) => uuid::text(id),
        }
    }

    /// Reads its header.
    ///
    /// # Errors
    /// There is no volume, or another one lies where this one was last seen.
    pub fn open(&self) -> Result<Locked> {
        match self {
            Self::Named(path) => Ok(Locked::open(path)?),
            Self::Known(id, Some(path)) => match Locked::open(path) {
                Ok(locked) if locked.header().uuid != *id => Err(gone(
                    id,
                    &format!("{} is another volume now", printable(path)),
                )),
                Ok(locked) => Ok(locked),
                Err(error @ (volume::Error::Missing(_) | volume::Error::NotAVolume(_))) => {
                    Err(gone(id, &error.to_string()))
                }
                Err(error) => Err(error.into()),
            },
            Self::Known(id, None) => Err(gone(id, "the keystore does not say where it was")),
        }
    }
}

/// The volume is not where the keystore saw it.
fn gone(id: &Uuid, why: &str) -> Error {
    let id = uuid::text(id);
    let hint = format!(
        "if it was moved or its disk is away, mount it where it is; if it is gone for good, \
         cryptfs forget {id}"
    );
    Error::told(
        Code::Place,
        format!("volume {id} is not where it was last seen: {why}"),
        &hint,
    )
}

/// Warns about a volume of several that could not be looked at.
pub fn skipped(error: &Error) {
    message::warning(error);
    if let Some(hint) = error.hint() {
        message::hint(hint);
    }
}
