//! What the kernel believes of times of modification and of change (mtime, ctime).
//!
//! With its write-back cache the kernel keeps both itself. It sends it when it changed, after the
//! pages. But two writes within one tick of its clock have one time: where the first was sent in between, the pages of the
//! second follow alone, up to half a minute later, and move the backing file's time. A program would see that time as soon
//! as the kernel forgets the file: a change where nothing changed. The same goes for fallocate and copy_file_range. So
//! where the kernel told no time after the last pages, the file gets the time that the kernel has: once it forgets the file, or
//! once many others were changed since.
use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::fs::{Attr, NodeId, Time};

/// Files that are remembered.
const MOST: usize = 4096;

/// The times of a file that the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) mtime: Time,
    pub(super) ctime: Time,
}

impl Times {
    /// Those among a file's attributes.
    pub(super) fn of(attr: &Attr) -> Self {
        let Attr { mtime, ctime, .. } = *attr;
        Self { mtime, ctime }
    }
}

/// The times that the kernel has, of files that were changed since it told them.
#[derive(Debug, Default)]
pub(super) struct Mtimes(Mutex<Changed>);

#[derive(Debug, Default)]
struct Changed {
    /// Each with its place in the order.
    times: HashMap<NodeId, (Times, u64)>,
    /// The oldest first.
    order: BTreeMap<u64, NodeId>,
    next: u64,
}

impl Changed {
    fn remove(&mut self, node: NodeId) -> Option<Times> {
        let (times, place) = self.times.remove(&node)?;
        self.order.remove(&place);
        Some(times)
    }
}

impl Mtimes {
    /// The file is about to be changed; `known` gives the times that it has had until now. Returns one that gives way: set its
    /// times.
    #[must_use]
    pub(super) fn changes(
        &self,
        node: NodeId,
        known: impl FnOnce() -> Option<Times>,
    ) -> Option<(NodeId, Times)> {
        if self.of(node).is_some() {
            return None;
        }
        let times = known()?;
        let mut changed = self.0.lock();
        if changed.times.contains_key(&node) {
            return None; // another thread was faster
        }
        let place = changed.next;
        changed.next += 1;
        changed.times.insert(node, (times, place));
        changed.order.insert(place, node);
        if changed.order.len() <= MOST {
            return None;
        }
        let (_, oldest) = changed.order.pop_first()?;
        Some((oldest, changed.remove(oldest)?))
    }

    /// The kernel told the times, after all pages so far.
    pub(super) fn told(&self, node: NodeId) {
        self.0.lock().remove(node);
    }

    /// The kernel told the time of change alone.
    pub(super) fn told_ctime(&self, node: NodeId, ctime: Time) {
        if let Some((times, _)) = self.0.lock().times.get_mut(&node) {
            times.ctime = ctime;
        }
    }

    /// The times that the kernel has, if they may not be the file's.
    pub(super) fn of(&self, node: NodeId) -> Option<Times> {
        self.0.lock().times.get(&node).map(|(times, _)| *times)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(NodeId, Times)> {
        let changed = self.0.lock();
        let times = changed.times.iter();
        times.map(|(node, (times, _))| (*node, *times)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Times = at(1);
    const LATER: Times = at(2);

    const fn at(sec: i64) -> Times {
        let time = Time { sec, nsec: 0 };
        Times {
            mtime: time,
            ctime: time,
        }
    }

    #[test]
    fn the_time_before_the_first_change_counts_until_another_is_told() {
        let mtimes = Mtimes::default();
        assert_eq!(mtimes.changes(7, || Some(BEFORE)), None);
        assert_eq!(mtimes.changes(7, || Some(LATER)), None);
        assert_eq!(mtimes.changes(8, || Some(LATER)), None);
        assert_eq!((mtimes.of(7), mtimes.of(8)), (Some(BEFORE), Some(LATER)));
        mtimes.told(7);
        assert_eq!((mtimes.of(7), mtimes.all()), (None, vec![(8, LATER)]));
        assert_eq!(mtimes.changes(7, || Some(LATER)), None);
        assert_eq!(mtimes.of(7), Some(LATER));
    }

    #[test]
    fn a_ctime_that_is_told_alone_counts_for_itself() {
        let mtimes = Mtimes::default();
        assert_eq!(mtimes.changes(7, || Some(BEFORE)), None);
        mtimes.told_ctime(7, LATER.ctime);
        let times = mtimes.of(7).map(|times| (times.mtime, times.ctime));
        assert_eq!(times, Some((BEFORE.mtime, LATER.ctime)));
        mtimes.told_ctime(8, LATER.ctime);
        assert_eq!(mtimes.of(8), None);
    }

    #[test]
    fn the_oldest_gives_way() {
        let mtimes = Mtimes::default();
        let most = MOST as u64;
        for node in 0..most {
            assert_eq!(mtimes.changes(node, || Some(BEFORE)), None);
        }
        let given = [0, 1].map(|more| mtimes.changes(most + more, || Some(LATER)));
        assert_eq!(given, [Some((0, BEFORE)), Some((1, BEFORE))]);
        mtimes.told(2);
        assert_eq!(mtimes.changes(most + 2, || Some(LATER)), None);
        assert_eq!(mtimes.all().len(), MOST);
    }

    #[test]
    fn a_file_that_is_changed_often_does_not_give_way_to_itself() {
        let mtimes = Mtimes::default();
        for _ in 0..2 * MOST {
            assert_eq!(mtimes.changes(7, || Some(BEFORE)), None);
            assert_eq!(mtimes.of(7), Some(BEFORE));
            mtimes.told(7);
        }
    }
}
