//! Finding what a directory volume still holds without believing its tree.
//!
//! Three witnesses say where a file belongs: its backing name, which opens only in the directory that it was given in; its
//! first unit, which has the id of the directory that it was made in; and its last unit, whose hint has its name and those
//! of the directories above. A directory's id stands in its backing name. Names that open are believed first; what lies in a
//! `lost+found` of the backing file system, under a number, is put back by what it says of itself.
//!
//! | module | does |
//! | --- | --- |
//! | [`source`] | the backing store, only ever read |
//! | [`walk`] | every entry there is |
//! | [`content`] | whose units a backing file holds, and its plaintext |
//! | [`evidence`] | which directory is which, and what it was called |
//! | [`plan`] | where everything goes |
pub mod content;
mod evidence;
pub mod plan;
pub mod source;
pub mod walk;

pub use plan::{Placed, Plan};
pub use source::Source;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Calls for each index below `count`, on as many threads as there are cores. `each` gets what `start` made for its thread.
pub(super) fn parallel<S>(
    count: usize,
    start: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, usize) + Sync,
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                let mut state = start();
                loop {
                    match next.fetch_add(1, Relaxed) {
                        index if index < count => each(&mut state, index),
                        _ => break,
                    }
                }
            });
        }
    });
}
