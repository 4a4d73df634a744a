//! Files that are open for writing, and what the kernel believes of them.
//!
//! With its write-back cache the kernel keeps the time of modification itself. It sends it when it changed, after the
//! pages. But two writes within one tick of its clock have one time: where the first was sent in between, the pages of the
//! second follow alone, up to half a minute later, and move the backing file's time. A program would see that time as soon
//! as the kernel forgets the file: a change where nothing changed. The same goes for O_TRUNC, fallocate and copy_file_range.
//! So at the last close the time is set to what the kernel has; it cannot forget an open file.
use std::collections::HashMap;

use parking_lot::Mutex;

use crate::fs::{NodeId, Time};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashMap<NodeId, Writer>>);

#[derive(Debug, Default)]
struct Writer {
    /// How often it is open. A shared mapping keeps its file open.
    count: u32,
    /// The time of modification that the kernel has, or has not told yet.
    mtime: Option<Time>,
    /// Pages came since, or another modification.
    written: bool,
}

impl Writers {
    /// Opened once more; `mtime`: what the kernel got for a new file.
    pub(super) fn open(&self, node: NodeId, mtime: Option<Time>) {
        let mut nodes = self.0.lock();
        let writer = nodes.entry(node).or_default();
        writer.count += 1;
        writer.mtime = writer.mtime.or(mtime);
    }

    /// Closed once. After the last time: the time of modification to set, if pages came after the kernel told it.
    pub(super) fn close(&self, node: NodeId) -> Option<Time> {
        let mut nodes = self.0.lock();
        let writer = nodes.get_mut(&node)?;
        writer.count -= 1;
        if writer.count > 0 {
            return None;
        }
        let writer = nodes.remove(&node)?;
        writer.mtime.filter(|_| writer.written)
    }

    /// Those that were never closed, as after an unmount, each with the time to set.
    pub(super) fn close_all(&self) -> Vec<(NodeId, Time)> {
        let nodes = std::mem::take(&mut *self.0.lock());
        let written = nodes.into_iter().filter(|(_, writer)| writer.written);
        written
            .filter_map(|(node, writer)| Some((node, writer.mtime?)))
            .collect()
    }

    /// A modification comes. True if the kernel's time is not known: [`Writers::learn`] it before they are written.
    pub(super) fn write(&self, node: NodeId) -> bool {
        let mut nodes = self.0.lock();
        let Some(writer) = nodes.get_mut(&node) else {
            return false;
        };
        writer.written = true;
        writer.mtime.is_none()
    }

    /// The time that the kernel must have, as it has not told another.
    pub(super) fn learn(&self, node: NodeId, mtime: Time) {
        if let Some(writer) = self.0.lock().get_mut(&node) {
            writer.mtime.get_or_insert(mtime);
        }
    }

    /// The time that the kernel has, after all pages so far.
    pub(super) fn told(&self, node: NodeId, mtime: Time) {
        if let Some(writer) = self.0.lock().get_mut(&node) {
            writer.mtime = Some(mtime);
            writer.written = false;
        }
    }

    /// Whether it is open.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.0.lock().contains_key(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: Time = Time { sec: 1, nsec: 0 };
    const LATER: Time = Time { sec: 2, nsec: 0 };

    #[test]
    fn the_last_close_counts() {
        let writers = Writers::default();
        writers.open(7, Some(CREATED));
        writers.open(7, None);
        assert!(!writers.write(7), "known since it was made");
        assert_eq!(writers.close(7), None);
        assert!(writers.has(7) && !writers.has(8));
        assert_eq!(writers.close(7), Some(CREATED));
        assert_eq!(writers.close(7), None);
        assert!(!writers.has(7));
    }

    #[test]
    fn a_time_told_after_the_pages_stands() {
        let writers = Writers::default();
        writers.open(7, None);
        assert!(writers.write(7), "not known yet");
        writers.learn(7, CREATED);
        writers.told(7, LATER);
        assert_eq!(writers.close(7), None);
    }

    #[test]
    fn pages_after_the_time_was_told_do_not_move_it() {
        let writers = Writers::default();
        writers.open(7, Some(CREATED));
        writers.told(7, LATER);
        assert!(!writers.write(7));
        writers.learn(7, CREATED);
        assert_eq!(writers.close_all(), [(7, LATER)]);
        assert!(!writers.has(7));
    }
}
