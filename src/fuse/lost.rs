//! Written data that the kernel could not hand over.
//!
//! With its writeback cache the kernel acknowledges a write(2) before the daemon sees it. If the daemon then refuses the
//! page (a full disk, a failing medium), the kernel drops it and reports that to the next fsync(2) or close(2) of the file. A
//! program that was killed, or that wrote through a mapping, never calls either. So each refused page is remembered here until it is
//! written after all, cut off, or its file is gone; what is left at the end of the session is lost, and unmounting says so.
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::fs::{Error, NodeId};
use crate::sys::log;

/// Ranges that are remembered of a file; more are joined into one.
const RANGES: usize = 64;

/// The pages that were refused, by file.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Whether there are any: asked before each write.
    any: AtomicBool,
    files: Mutex<BTreeMap<NodeId, Vec<Range<u64>>>>,
}

impl Lost {
    /// The kernel's page was refused.
    pub(super) fn refused(&self, node: NodeId, bytes: Range<u64>, error: &Error) {
        let mut files = self.files.lock();
        self.any.store(true, Relaxed);
        let ranges = files.entry(node).or_insert_with(|| {
            log::error(format_args!(
                "data that was written to node {node} could not be stored: {error}"
            ));
            Vec::new()
        });
        match ranges.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ => ranges.push(bytes),
        }
        if ranges.len() > RANGES {
            *ranges = joined(ranges).into_iter().collect();
        }
    }

    /// These bytes are stored now, or do not belong to the file any more.
    pub(super) fn settled(&self, node: NodeId, bytes: &Range<u64>) {
        if !self.any.load(Relaxed) {
            return;
        }
        let mut files = self.files.lock();
        if let Some(ranges) = files.get_mut(&node) {
            *ranges = ranges.iter().flat_map(|one| without(one, bytes)).collect();
            if ranges.is_empty() {
                files.remove(&node);
            }
        }
    }

    /// The file is gone.
    pub(super) fn gone(&self, node: NodeId) {
        self.settled(node, &(0..u64::MAX));
    }

    /// Whether pages of this file were refused.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.any.load(Relaxed) && self.files.lock().contains_key(&node)
    }

    /// The files of which something is lost.
    pub(super) fn files(&self) -> Vec<NodeId> {
        self.files.lock().keys().copied().collect()
    }
}

/// One range from the first to the last.
fn joined(ranges: &[Range<u64>]) -> Option<Range<u64>> {
    let start = ranges.iter().map(|range| range.start).min()?;
    let end = ranges.iter().map(|range| range.end).max()?;
    Some(start..end)
}

/// What is left of a range without these bytes.
fn without(one: &Range<u64>, bytes: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let before = one.start..one.end.min(bytes.start);
    let after = one.start.max(bytes.end)..one.end;
    [before, after]
        .into_iter()
        .filter(|range| !range.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_after_all_is_not_lost() {
        let lost = Lost::default();
        lost.settled(7, &(0..10));
        lost.refused(7, 100..200, &Error::NoSpace);
        lost.refused(7, 200..300, &Error::NoSpace);
        lost.settled(7, &(150..250));
        assert_eq!(lost.files(), [7]);
        lost.settled(7, &(0..150));
        lost.settled(8, &(0..u64::MAX));
        assert!(lost.has(7));
        lost.settled(7, &(250..300));
        assert!(lost.files().is_empty());
    }

    #[test]
    fn many_ranges_are_remembered_as_one() {
        let lost = Lost::default();
        for place in 0..200 {
            lost.refused(7, 10 * place..10 * place + 1, &Error::NoSpace);
        }
        lost.settled(7, &(0..1985));
        assert!(lost.has(7));
        lost.settled(7, &(1985..1992));
        assert!(!lost.has(7));
    }
}
