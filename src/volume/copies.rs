//! The copies of a header: read all, judge each, put the right ones back.
use super::error::{Error, Result};
use super::header::{Header, HeaderError, Image};
use super::keys::Uuid;
use super::place::{COPIES, Place};
use super::uuid;
use std::fmt;
use std::io;

/// What was found where a header copy belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Undamaged. Whether it is authentic shows when the volume is unlocked.
    Good {
        /// Its sequence number.
        sequence: u64,
    },
    /// Undamaged, older than another copy.
    Old {
        /// Its sequence number.
        sequence: u64,
    },
    /// Undamaged and made by someone without the key, or other content under the newest number.
    Forged,
    /// Nothing there.
    Missing,
    /// Undamaged, and of another volume than most of the other copies.
    Foreign(Uuid),
    /// Damaged or not understood.
    Bad(HeaderError),
    /// Could not be read.
    Unreadable(String),
}

/// A header copy and what was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// Where.
    pub name: String,
    /// What.
    pub state: CopyState,
}

impl CopyReport {
    /// True if nothing has to be repaired.
    pub fn is_good(&self) -> bool {
        matches!(self.state, CopyState::Good { .. })
    }
}

impl fmt::Display for CopyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.state)
    }
}

impl fmt::Display for CopyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { .. } => write!(f, "good"),
            Self::Old { sequence } => write!(f, "older (number {sequence})"),
            Self::Forged => write!(f, "not authentic"),
            Self::Missing => write!(f, "missing"),
            Self::Foreign(id) => write!(f, "of another volume ({})", uuid::text(id)),
            Self::Bad(why) => write!(f, "{why}"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

/// A header that could be the volume's, and where it was found.
pub(crate) struct Candidate {
    pub(crate) header: Header,
    pub(crate) image: Box<Image>,
    /// In how many places it was found.
    pub(crate) copies: usize,
}

/// A header copy from outside the volume: the keystore's, or a kit's.
pub struct Spare {
    /// Where it came from, for messages.
    pub name: String,
    /// The bytes, whatever they are.
    pub bytes: Vec<u8>,
}

/// Everything that was found.
pub(crate) struct Found {
    /// One for each copy in the volume, in order; then one for each spare.
    pub(crate) reports: Vec<CopyReport>,
    /// Distinct headers, newest first; on the volume's own before spares. Where the volume's own copies are of different
    /// volumes, those of the volume that most are of come first.
    pub(crate) candidates: Vec<Candidate>,
}

/// Reads the volume's copies, and takes `spares` into account. A spare of another volume is refused: believed, it would
/// be written over the volume's own header.
pub(crate) fn find(place: &Place, spares: &[Spare]) -> Result<Found> {
    let mut found = Found {
        reports: Vec::new(),
        candidates: Vec::new(),
    };
    let own = std::array::from_fn(|i| found.add(place.copy_name(i), place.read_copy(i)));
    let here = found.judge_volumes(own);
    for spare in spares {
        let saved = found.add(&spare.name, Ok(spare.bytes.clone()));
        if let (Some(here), Some(saved)) = (here, saved)
            && !own.contains(&Some(saved))
        {
            return Err(Error::OtherVolume { saved, here });
        }
    }
    if let Some(newer) = found.unsupported() {
        return Err(Error::Unsupported(newer));
    }
    found.candidates.sort_by_key(|c| {
        (
            here.is_some_and(|here| here != c.header.uuid),
            std::cmp::Reverse(c.header.sequence),
        )
    });
    let newest = found.candidates.first().map_or(0, |c| c.header.sequence);
    for report in &mut found.reports {
        if let CopyState::Good { sequence } = report.state
            && sequence < newest
        {
            report.state = CopyState::Old { sequence };
        }
    }
    match found.candidates.is_empty() {
        true => Err(found.nothing(place)),
        false => Ok(found),
    }
}

impl Found {
    /// Judges a copy; gives the volume that an undamaged one is of.
    fn add(&mut self, name: &str, bytes: io::Result<Vec<u8>>) -> Option<Uuid> {
        let mut volume = None;
        let state = match bytes {
            Err(e) if e.kind() == io::ErrorKind::NotFound => CopyState::Missing,
            Err(e) => CopyState::Unreadable(e.to_string()),
            Ok(bytes) => match Header::decode(&bytes) {
                Err(why) => CopyState::Bad(why),
                Ok(header) => {
                    let sequence = header.sequence;
                    volume = Some(header.uuid);
                    self.add_candidate(header, bytes);
                    CopyState::Good { sequence }
                }
            },
        };
        self.reports.push(CopyReport {
            name: name.to_owned(),
            state,
        });
        volume
    }

    /// Marks the copies of another volume than most of the volume's own copies are of, or than the first one is of where
    /// they are even. That is an order in which to try them and no proof: until one of the volumes was proven to be what
    /// lies here, nothing is written (see [`super::Volume::is_contested`]).
    fn judge_volumes(&mut self, own: [Option<Uuid>; COPIES]) -> Option<Uuid> {
        let votes = |id: &Uuid| own.iter().filter(|vote| **vote == Some(*id)).count();
        // Of several equals `max_by_key` takes the last.
        let here = own.into_iter().flatten().rev().max_by_key(votes)?;
        for (report, volume) in self.reports.iter_mut().zip(own) {
            if let Some(other) = volume.filter(|id| *id != here) {
                report.state = CopyState::Foreign(other);
            }
        }
        Some(here)
    }

    fn add_candidate(&mut self, header: Header, bytes: Vec<u8>) {
        let Ok(image) = Box::<Image>::try_from(bytes.into_boxed_slice()) else {
            return; // a header that decodes has its length
        };
        match self.candidates.iter_mut().find(|c| c.image == image) {
            Some(known) => known.copies += 1,
            None => self.candidates.push(Candidate {
                header,
                image,
                copies: 1,
            }),
        }
    }

    /// A copy that a newer cryptfs wrote must not be repaired with an older one.
    fn unsupported(&self) -> Option<HeaderError> {
        self.reports.iter().find_map(|report| match &report.state {
            CopyState::Bad(why) if why.is_unsupported() => Some(why.clone()),
            _ => None,
        })
    }

    fn nothing(&self, place: &Place) -> Error {
        let path = place.path().to_owned();
        let alien = |r: &CopyReport| {
            matches!(
                r.state,
                CopyState::Missing | CopyState::Bad(HeaderError::Magic)
            )
        };
        // A directory has the names of copies, if only damaged ones, or it never was a volume.
        let missing = |r: &CopyReport| r.state == CopyState::Missing;
        let directory = place.kind() == super::header::Kind::Directory;
        if self
            .reports
            .iter()
            .all(|r| if directory { missing(r) } else { alien(r) })
        {
            return Error::NotAVolume(path);
        }
        Error::HeaderLost {
            path,
            copies: self.reports.clone(),
        }
    }
}

/// Writes a header to all copies: backups first, then the primary. Nothing has changed if the first write fails; once one
/// stands the change stands, and what could not be written is said.
pub(crate) fn write_all(place: &Place, image: &Image) -> Result<()> {
    write_where(place, image, &|_| true)
}

/// As [`write_all`], but for copies whose place may hold something else.
pub(crate) fn write_where(place: &Place, image: &Image, may: &dyn Fn(usize) -> bool) -> Result<()> {
    let mut written = 0;
    let mut failed = None;
    for index in (1..COPIES).chain([0]).filter(|index| may(*index)) {
        match place.write_copy(index, image) {
            Ok(()) => written += 1,
            Err(source) => {
                let copy = place.copy_name(index);
                failed.get_or_insert((copy, source));
            }
        }
    }
    match failed {
        None => Ok(()),
        Some((_, source)) if written == 0 => Err(Error::io(place.path())(source)),
        Some((copy, source)) => Err(Error::PartlyWritten {
            written,
            wanted: COPIES,
            copy,
            source,
        }),
    }
}
