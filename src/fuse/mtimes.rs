//! What the kernel believes of times of modification.
//!
//! With its write-back cache the kernel keeps the time of modification itself. It sends it when it changed, after the
//! pages. But two writes within one tick of its clock have one time: where the first was sent in between, the pages of the
//! second follow alone, up to half a minute later, and move the backing file's time. A program would see that time as soon
//! as the kernel forgets the file: a change where nothing changed. The same goes for fallocate and copy_file_range. So
//! where the kernel told no time after the last pages, the file gets the time that the kernel has once it forgets it.
use std::collections::HashMap;

use parking_lot::Mutex;

use crate::fs::{NodeId, Time};

/// The times that the kernel has, of files that were changed since it told them.
#[derive(Debug, Default)]
pub(super) struct Mtimes(Mutex<HashMap<NodeId, Time>>);

impl Mtimes {
    /// A file was made: the kernel has its time.
    pub(super) fn made(&self, node: NodeId, mtime: Time) {
        self.0.lock().insert(node, mtime);
    }

    /// The file is about to be changed; `known` gives the time that it has had until now.
    pub(super) fn changes(&self, node: NodeId, known: impl FnOnce() -> Option<Time>) {
        if self.0.lock().contains_key(&node) {
            return;
        }
        if let Some(mtime) = known() {
            self.0.lock().entry(node).or_insert(mtime);
        }
    }

    /// The kernel told the time, after all pages so far.
    pub(super) fn told(&self, node: NodeId) {
        self.0.lock().remove(&node);
    }

    /// The time that the kernel has, if it is not the file's.
    pub(super) fn of(&self, node: NodeId) -> Option<Time> {
        self.0.lock().get(&node).copied()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(NodeId, Time)> {
        let times = self.0.lock();
        times.iter().map(|(node, mtime)| (*node, *mtime)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: Time = Time { sec: 1, nsec: 0 };
    const LATER: Time = Time { sec: 2, nsec: 0 };

    #[test]
    fn the_time_before_the_first_change_counts_until_another_is_told() {
        let mtimes = Mtimes::default();
        mtimes.made(7, CREATED);
        mtimes.changes(7, || Some(LATER));
        mtimes.changes(8, || Some(LATER));
        assert_eq!((mtimes.of(7), mtimes.of(8)), (Some(CREATED), Some(LATER)));
        mtimes.told(7);
        assert_eq!((mtimes.of(7), mtimes.all()), (None, vec![(8, LATER)]));
        mtimes.changes(7, || Some(LATER));
        assert_eq!(mtimes.of(7), Some(LATER));
    }
}
