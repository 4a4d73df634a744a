//! An unlocked volume without its VMK: what file systems and the mount daemon work with.
use super::copies::CopyReport;
use super::error::{Result, date_or_never, kind_name};
use super::header::{Header, Kind};
use super::keys::Keys;
use super::keystore::{Keystore, Seat};
use super::locked::{Locked, Rollback};
use super::place::{Access, MountLock, Place};
use super::state::State;
use super::unlocked::Volume;
use super::uuid;
use crate::crypto::secret::Secret;
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

/// Says whether an unlocked header is of what lies at the volume's place.
pub type Belongs<'a> = &'a dyn Fn(&Volume) -> Result<bool>;

/// A volume that is about to be mounted.
pub struct Mountable {
    /// The unlocked volume: for the file system.
    pub opened: Opened,
    /// Keeps other mounts out for as long as it lives.
    pub lock: MountLock,
    /// Knows and notes in the keystore how new an image was.
    pub witness: Witness,
    /// Header copies that were put right. To be told to the person.
    pub repaired: Vec<CopyReport>,
    /// What else the person should know: "header copies could not be repaired: ...".
    pub warnings: Vec<String>,
}

impl Mountable {
    /// Unlocks with the keystore, takes the mount lock, repairs the header's copies and remembers what was seen.
    /// `belongs` says whether a header is of what lies there: no copy is repaired before that.
    pub fn open(
        path: &Path,
        keystore: &Keystore,
        options: MountOptions,
        belongs: Belongs<'_>,
    ) -> Result<Self> {
        let locked = Locked::open(path)?;
        let lock = locked.place().lock(options.access)?;
        let volume = locked.unlock_proven(keystore, options.rollback, belongs)?;
        Self::of(volume, lock, Some(keystore), options.access, belongs)
    }

    /// As [`Mountable::open`], of a volume that was unlocked by hand, and its mount lock. It needs no keystore.
    pub fn of(
        mut volume: Volume,
        lock: MountLock,
        keystore: Option<&Keystore>,
        access: Access,
        belongs: Belongs<'_>,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let mut repaired = Vec::new();
        if let Some(keystore) = keystore {
            warnings.extend(notes(&volume, keystore));
        }
        if access == Access::ReadWrite {
            volume.must_be_writable()?;
            let bad = !volume.copies().iter().all(CopyReport::is_good);
            if bad && !belongs(&volume)? {
                warnings.push(
                    "header copies were not repaired: the header opens nothing here".to_owned(),
                );
            } else {
                volume.end_is_proven(); // an image that was cut does not open, so it would not belong
                match volume.repair_copies() {
                    Ok(done) => repaired = done,
                    Err(e) => warnings.push(format!("header copies could not be repaired: {e}")),
                }
            }
        } else {
            let bad = volume.copies().iter().filter(|copy| !copy.is_good());
            warnings.extend(
                bad.map(|copy| format!("header copy {copy}; a mount for writing repairs it")),
            );
        }
        warnings.extend(volume.header().attention());
        let seen = keystore.map(|keystore| volume.seen(keystore));
        if let Some(keystore) = keystore
            && let Err(error) = volume.remember(keystore)
        {
            warnings.push(format!("the keystore could not be updated: {error}"));
        }
        let opened = volume.into_opened()?;
        Ok(Self {
            witness: Witness::new(&opened, keystore, seen.flatten().unwrap_or_default()),
            opened,
            lock,
            repaired,
            warnings,
        })
    }
}

/// What the keystore knows about the volume that the person should know too.
fn notes(volume: &Volume, keystore: &Keystore) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(original) = volume.seat(keystore).copy_of() {
        notes.push(format!(
            "this is a copy of the volume at {}; what is changed in one of them does not show in the other",
            crate::printable::printable(original)
        ));
    }
    for slot in volume.lacks(keystore) {
        notes.push(format!(
            "this header does not have the {} {} (made {}) that this computer has seen: if it is still wanted, add \
             another one with cryptfs key add",
            kind_name(slot.kind),
            uuid::short(&slot.id),
            date_or_never(slot.created)
        ));
    }
    notes
}

/// What this computer has seen of an image, so that an older one in its place is noticed.
pub struct Witness {
    seat: Option<Seat>,
    session: Secret<32>,
    state: State,
}

impl Witness {
    /// By what the keystore remembers.
    pub fn of(opened: &Opened, keystore: &Keystore) -> Self {
        let seat = keystore.seat(&opened.header.uuid, &opened.place);
        let state = keystore.state(&seat, opened.keys.session());
        Self::new(opened, Some(keystore), state.unwrap_or_default())
    }

    fn new(opened: &Opened, keystore: Option<&Keystore>, state: State) -> Self {
        let session = opened.keys.session().expose();
        Self {
            seat: keystore.map(|keystore| keystore.seat(&opened.header.uuid, &opened.place)),
            session: Secret::fill_with(|bytes| bytes.copy_from_slice(session)),
            state,
        }
    }

    /// The newest generation that was seen; 0: none.
    pub fn generation(&self) -> u64 {
        self.state.generation
    }

    /// Notes the generation that the image has now: an older one too, as it was accepted.
    pub fn saw(&mut self, generation: u64, keystore: &Keystore) -> Result<()> {
        let Some(seat) = &self.seat else {
            return Ok(());
        };
        // Another command may have noted a newer header meanwhile.
        if let Some(now) = keystore.state(seat, &self.session) {
            self.state = now;
        }
        if self.state.generation == generation {
            return Ok(());
        }
        self.state.generation = generation;
        keystore.save_state(seat, &self.session, &self.state)
    }
}

impl Opened {
    /// A directory or an image.
    pub fn kind(&self) -> Kind {
        self.header.kind
    }
}
