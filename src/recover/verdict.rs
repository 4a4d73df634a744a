//! What became of each entry that is copied out.
use super::scan::Placed;
use super::target::is_left_out;
use crate::fs::Kind;
use std::ops::Range;
use std::path::PathBuf;

/// What became of a file, directory or other entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is there.
    Whole,
    /// An earlier salvage had copied all of it.
    Earlier,
    /// These bytes could not be read; they are zeros in the copy.
    Ranges(Vec<Range<u64>>),
    /// The content is there; these attributes are not.
    Attributes(Vec<String>),
    /// Nothing of it could be copied.
    Lost(String),
}

impl Outcome {
    /// Of something that was copied but for these bytes and attributes.
    pub(crate) fn of(ranges: Vec<Range<u64>>, attributes: Vec<String>) -> Self {
        match (ranges.is_empty(), attributes.is_empty()) {
            (true, true) => Self::Whole,
            (true, false) => Self::Attributes(attributes),
            (false, _) => Self::Ranges(ranges),
        }
    }

    /// Whether something was left out on purpose, which an option would restore.
    pub fn is_left_out(&self) -> bool {
        match self {
            Self::Attributes(which) => which.iter().any(|what| is_left_out(what)),
            Self::Lost(why) => is_left_out(why),
            Self::Whole | Self::Earlier | Self::Ranges(_) => false,
        }
    }

    /// Something is missing. Such a copy gets its times only once the journal has it: cut short in between, it would be
    /// whole to a salvage that goes on.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Self::Ranges(_) | Self::Attributes(_))
    }
}

/// An entry and what became of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its path in the destination, which is that in the volume where the place is known.
    pub path: PathBuf,
    /// What it is; `None` where not even that could be read.
    pub kind: Option<Kind>,
    /// What became of it.
    pub outcome: Outcome,
    /// How its name and place are known.
    pub placed: Placed,
}

/// All verdicts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Summary {
    pub whole: u64,
    pub ranges: u64,
    pub attributes: u64,
    pub lost: u64,
    pub lost_bytes: u64,
    /// Put back by what their content says.
    pub names_from_content: u64,
    pub names_lost: u64,
    /// Entries of which something was left out on purpose.
    pub left_out: u64,
}

impl Summary {
    /// Nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.ranges == 0 && self.attributes == 0 && self.lost == 0 && self.names_lost == 0
    }

    /// One more.
    pub fn count(&mut self, verdict: &Verdict) {
        match verdict.placed {
            Placed::Name => {}
            Placed::Content => self.names_from_content += 1,
            Placed::Lost => self.names_lost += 1,
        }
        self.left_out += u64::from(verdict.outcome.is_left_out());
        match &verdict.outcome {
            Outcome::Whole | Outcome::Earlier => self.whole += 1,
            Outcome::Attributes(_) => self.attributes += 1,
            Outcome::Lost(_) => self.lost += 1,
            Outcome::Ranges(ranges) => {
                self.ranges += 1;
                self.lost_bytes += ranges.iter().map(|r| r.end - r.start).sum::<u64>();
            }
        }
    }
}
