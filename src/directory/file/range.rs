//! Locks on ranges of units, so that requests for different parts of one file run side by side.
use parking_lot::{Condvar, Mutex};
use std::ops::Range;

/// The ranges that are held.
#[derive(Default)]
pub(super) struct RangeLock {
    held: Mutex<Vec<Held>>,
    freed: Condvar,
}

#[derive(Clone, PartialEq, Eq)]
struct Held {
    units: Range<u64>,
    shared: bool,
}

/// Gives the range back when it is dropped.
pub(super) struct Guard<'a> {
    lock: &'a RangeLock,
    held: Held,
}

impl RangeLock {
    /// Waits until nobody changes any of `units`, and keeps it so.
    pub(super) fn shared(&self, units: Range<u64>) -> Guard<'_> {
        self.acquire(Held {
            units,
            shared: true,
        })
    }

    /// Waits until nobody reads or changes any of `units`, and keeps it so.
    pub(super) fn exclusive(&self, units: Range<u64>) -> Guard<'_> {
        self.acquire(Held {
            units,
            shared: false,
        })
    }

    fn acquire(&self, want: Held) -> Guard<'_> {
        let mut held = self.held.lock();
        while held.iter().any(|other| other.conflicts(&want)) {
            self.freed.wait(&mut held);
        }
        held.push(want.clone());
        Guard {
            lock: self,
            held: want,
        }
    }
}

impl Held {
    fn conflicts(&self, other: &Self) -> bool {
        let overlap = self.units.start < other.units.end && other.units.start < self.units.end;
        overlap && !(self.shared && other.shared)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut held = self.lock.held.lock();
        if let Some(at) = held.iter().position(|other| *other == self.held) {
            held.swap_remove(at);
        }
        drop(held);
        self.lock.freed.notify_all();
    }
}
