//! Which of the keystore's files are for a volume at one place.
//!
//! A volume and its copies (a backup disk, a clone) have one UUID and one volume master key, and change separately from
//! the moment they were copied. What was seen of one of them must not count against the other, so each place has files
//! of its own: the first place `<uuid>`, every other one `<uuid>@<hash of its path>`.
//!
//! A volume that was moved cannot be told for certain from a copy whose original is unplugged. Both take the files
//! `<uuid>` over, and what the earlier place needs to go on, its state and its keyfile, is put aside under the earlier
//! path: should the original come back, it finds them there.
use super::*;
use crate::volume::place::{COPIES, Place};

/// The keystore's files for a volume at one place.
#[derive(Clone, Debug)]
pub struct Seat {
    volume: Uuid,
    stem: String,
    copy_of: Option<PathBuf>,
    displaced: Option<PathBuf>,
}

impl Seat {
    /// The volume.
    pub fn volume(&self) -> &Uuid {
        &self.volume
    }

    /// Another place that holds the same volume at this moment: this one is a copy of it.
    pub fn copy_of(&self) -> Option<&Path> {
        self.copy_of.as_deref()
    }

    pub(super) fn stem(&self) -> &str {
        &self.stem
    }
}

impl Keystore {
    /// Finds which files are for this volume at this place.
    pub fn seat(&self, volume: &Uuid, place: &Place) -> Seat {
        let first = uuid::text(volume);
        let seat = |stem: String, copy_of, displaced| Seat {
            volume: *volume,
            stem,
            copy_of,
            displaced,
        };
        let Some(hint) = self.path_of(&first) else {
            return seat(first, None, None);
        };
        if place.is_at(&hint) {
            return seat(first, None, None);
        }
        let own = stem_at(volume, place.path());
        let original = holds(&hint, volume).then_some(hint.clone());
        if original.is_some() || self.path_of(&own).is_some() {
            return seat(own, original, None);
        }
        seat(first, None, Some(hint))
    }

    /// Every place where a volume was seen; the first one first.
    pub fn places(&self, volume: &Uuid) -> Vec<PathBuf> {
        let stems = self.stems(volume);
        let mut places: Vec<PathBuf> = Vec::new();
        for path in stems.iter().filter_map(|stem| self.path_of(stem)) {
            if !places.contains(&path) {
                places.push(path);
            }
        }
        places
    }

    /// The places of a volume that hold it at this moment. Where none does, the one where it was last seen.
    pub fn present(&self, volume: &Uuid) -> Vec<PathBuf> {
        let mut places = self.places(volume);
        let hint = places.first().cloned();
        places.retain(|path| holds(path, volume));
        match places.is_empty() {
            true => hint.into_iter().collect(),
            false => places,
        }
    }

    /// Another place where the volume was seen, one that still holds it before others. What the keystore keeps may be
    /// all that opens it there.
    pub fn elsewhere(&self, volume: &Uuid, place: &Place) -> Option<PathBuf> {
        let mut others = self.places(volume);
        others.retain(|path| !place.is_at(path));
        let there = others.iter().position(|path| holds(path, volume));
        let index = there.unwrap_or(0);
        (index < others.len()).then(|| others.swap_remove(index))
    }

    /// Destroys what is kept for this place alone: nothing, if these are the files of the first place.
    pub(crate) fn destroy_seat(&self, seat: &Seat) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        if seat.stem != uuid::text(&seat.volume) {
            self.shred(&seat.stem, &mut gone)?;
        }
        Ok(gone)
    }

    /// The beginnings of the names of a volume's files, the first place's first.
    pub(super) fn stems(&self, volume: &Uuid) -> Vec<String> {
        let first = uuid::text(volume);
        let mut stems = vec![first.clone()];
        let Ok(entries) = Dir::read_from(&self.dir) else {
            return stems;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_str().unwrap_or_default();
            let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
            let other = stem
                .strip_prefix(&first)
                .is_some_and(|rest| rest.starts_with('@'));
            if other && !stems.iter().any(|known| known == stem) {
                stems.push(stem.to_owned());
            }
        }
        stems[1..].sort_unstable();
        stems
    }

    /// Keeps the state and the keyfile of the place whose files another place takes over.
    pub(super) fn put_aside(&self, seat: &Seat) -> Result<()> {
        let Some(hint) = &seat.displaced else {
            return Ok(());
        };
        let aside = stem_at(&seat.volume, hint);
        for (kind, limit) in [("key", 1 << 16), ("state", MAX_STATE), ("path", 4096)] {
            match durable::read(&self.dir, &name(&seat.stem, kind), limit)
                .map(zeroize::Zeroizing::new)
            {
                Ok(bytes) => self.put(&aside, kind, &bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(&self.path)(error)),
            }
        }
        Ok(())
    }
}

fn stem_at(volume: &Uuid, path: &Path) -> String {
    let sum = digest::sha256(&[b"cryptfs/v1/place\0", path.as_os_str().as_bytes()]);
    let hash: String = sum[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}@{hash}", uuid::text(volume))
}

/// Whether an undamaged header of this volume is at this path.
pub(super) fn holds(path: &Path, volume: &Uuid) -> bool {
    let Ok(place) = Place::open(path) else {
        return false;
    };
    (0..COPIES).any(|index| {
        let header = place.read_copy(index).map(|bytes| Header::decode(&bytes));
        matches!(header, Ok(Ok(header)) if header.uuid == *volume)
    })
}
