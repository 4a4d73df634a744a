//! What the model is run on, and the words in which it answers.
use super::ops::Op;
use cryptfs::fs::{Attr, Kind};
use std::collections::BTreeMap;

/// What an operation gave.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Answer {
    Done,
    Bytes(Vec<u8>),
    Count(u64),
    Names(Vec<(Vec<u8>, Kind)>),
    Attr(Attr),
}

/// An answer, or its errno.
pub type Outcome = Result<Answer, i32>;

/// Non-zero blocks of a file, by offset: two files with the same bytes have the same, holes or not.
pub type Data = BTreeMap<u64, Vec<u8>>;

/// Everything that can be seen of a node.
#[derive(Clone, Debug)]
pub struct Item {
    pub attr: Attr,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub data: Option<Data>,
}

/// Everything that can be seen, by path; open files as "#0".
pub type Snapshot = BTreeMap<Vec<u8>, Item>;

/// Something that operations can be run on.
pub trait Subject {
    /// Runs one operation.
    fn apply(&mut self, op: &Op) -> Outcome;
    /// Looks at everything; `Err` says where looking failed.
    fn snapshot(&mut self) -> Result<Snapshot, String>;
}

/// Granule of [`Data`].
pub const BLOCK: u64 = 4096;

/// Adds what was read at an offset that is a multiple of [`BLOCK`].
pub fn add_data(data: &mut Data, offset: u64, bytes: &[u8]) {
    for (index, block) in bytes.chunks(BLOCK as usize).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            let end = block
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            data.insert(offset + index as u64 * BLOCK, block[..end].to_vec());
        }
    }
}

/// Files longer than this are read where they have data.
pub const READ_WHOLE: u64 = 1 << 20;
