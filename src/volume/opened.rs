//! An unlocked volume without its VMK: what file systems and the mount daemon work with.
use super::copies::CopyReport;
use super::error::{Error, Result};
use super::header::{Header, Kind};
use super::keys::Keys;
use super::keystore::Keystore;
use super::locked::{Locked, Rollback};
use super::place::{Access, MountLock, Place};
use super::state::State;
use std::path::Path;

/// What a file system needs of an unlocked volume.
pub struct Opened {
    /// The header, authentic.
    pub header: Header,
    /// The content keys.
    pub keys: Keys,
    /// Where it lies; its descriptor is the backing directory's or the image's.
    pub place: Place,
}

/// How to open for a mount.
#[derive(Clone, Copy, Debug)]
pub struct MountOptions {
    /// For writing or not.
    pub access: Access,
    /// What to do with an older header.
    pub rollback: Rollback,
}

/// A volume that is about to be mounted.
pub struct Mountable {
    /// The unlocked volume.
    pub opened: Opened,
    /// Keeps other mounts out for as long as it lives.
    pub lock: MountLock,
    /// What the keystore knew of the last session; [`Mountable::begin`] starts the new one.
    pub state: State,
    /// Header copies that were put right. To be told to the person.
    pub repaired: Vec<CopyReport>,
    /// What else the person should know: "header copies could not be repaired: ...".
    pub warnings: Vec<String>,
}

impl Mountable {
    /// Unlocks with the keystore, takes the mount lock, repairs the header's copies and remembers what was seen.
    pub fn open(path: &Path, keystore: &Keystore, options: MountOptions) -> Result<Self> {
        let locked = Locked::open(path)?;
        let lock = locked.place().lock(options.access)?;
        let mut volume = locked.unlock_auto(keystore, options.rollback)?;
        let mut warnings = Vec::new();
        let mut repaired = Vec::new();
        if options.access == Access::ReadWrite {
            match volume.header().unknown_ro_compat() {
                0 => {}
                unknown => return Err(Error::ReadOnlyFeatures(unknown)),
            }
            match volume.repair_copies() {
                Ok(done) => repaired = done,
                Err(e) => warnings.push(format!("header copies could not be repaired: {e}")),
            }
        }
        let state = volume.remember(keystore).unwrap_or_else(|e| {
            warnings.push(format!("the keystore could not be updated: {e}"));
            State::default()
        });
        Ok(Self {
            opened: volume.into_opened()?,
            lock,
            state,
            repaired,
            warnings,
        })
    }

    /// Marks a read-write session as begun: until [`Session::end`] the volume counts as not cleanly closed.
    pub fn begin(&mut self, keystore: &Keystore) -> Result<()> {
        self.state.session += 1;
        self.state.clean = false;
        self.save(keystore)
    }

    /// Marks the session as cleanly ended.
    pub fn end(&mut self, keystore: &Keystore) -> Result<()> {
        self.state.clean = true;
        self.save(keystore)
    }

    fn save(&self, keystore: &Keystore) -> Result<()> {
        let opened = &self.opened;
        keystore.save_state(&opened.header.uuid, opened.keys.session(), &self.state)
    }
}

impl Opened {
    /// A directory or an image.
    pub fn kind(&self) -> Kind {
        self.header.kind
    }
}
