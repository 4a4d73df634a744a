//! What becomes of pages that are not needed any more.
use super::super::bits;
use super::super::layout::{KEPT, SEGMENT};
use super::{Purpose, Space};
use std::ops::Range;

/// Pages that are given back together, when the last of them is free.
const BLOCK: u64 = bits::WORD;

/// Pages that are free again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Whole blocks, worth a call to give them back.
    pub blocks: Vec<Range<u64>>,
    /// What is not.
    pub rest: Vec<Range<u64>>,
}

impl Space {
    /// A page that no commit has referred to is not needed any more.
    pub fn give_back(&mut self, page: u64) {
        if self.mark_unused(page) {
            self.unbusy(page);
        }
    }

    /// A page that the last commit refers to is not needed any more.
    pub fn free(&mut self, page: u64) {
        if !self.mark_unused(page) {
            return;
        }
        self.waiting += 1;
        match self.freed.last_mut() {
            Some(last) if last.end == page => last.end += 1,
            _ => self.freed.push(page..page + 1),
        }
    }

    /// What was freed belongs to the generation that is being written.
    pub fn seal(&mut self, generation: u64) {
        let freed = std::mem::take(&mut self.freed);
        if !freed.is_empty() {
            self.pending.push_back((generation, freed));
        }
    }

    /// This generation is durable: what no superblock to be kept refers to any more. It stays busy until
    /// [`Space::unhold`].
    pub fn release(&mut self, durable: u64) -> Released {
        let mut ranges = Vec::new();
        while let Some((generation, _)) = self.pending.front() {
            if generation + (KEPT - 1) > durable {
                break;
            }
            ranges.extend(self.pending.pop_front().into_iter().flat_map(|(_, f)| f));
        }
        let mut parts = Vec::new();
        for range in merged(ranges) {
            self.waiting -= range.end - range.start;
            let starts = (range.start / BLOCK * BLOCK..range.end).step_by(BLOCK as usize);
            parts.extend(starts.map(|at| at.max(range.start)..(at + BLOCK).min(range.end)));
        }
        let mut released = Released::default();
        for parts in parts.chunk_by(|one, next| one.start / BLOCK == next.start / BLOCK) {
            match self.hold_block(parts) {
                Some(block) => released.blocks.push(block),
                None => released.rest.extend_from_slice(parts),
            }
        }
        released.blocks = merged(released.blocks);
        released
    }

    /// The whole block, if these parts of it were its last busy ones, and nodes do not come to it next. It is held with them.
    fn hold_block(&mut self, parts: &[Range<u64>]) -> Option<Range<u64>> {
        let start = parts.first()?.start / BLOCK * BLOCK;
        let segment = start / SEGMENT;
        let nodes = [
            self.cursors[Purpose::Nodes as usize] / SEGMENT,
            self.previous,
        ];
        if start + BLOCK > self.pages || nodes.contains(&segment) || !self.busy.has_only(parts) {
            return None;
        }
        for page in start..start + BLOCK {
            if !self.busy.get(page) {
                self.busy.set(page, true);
                self.free[segment as usize] -= 1;
                self.available -= 1;
            }
        }
        Some(start..start + BLOCK)
    }

    /// These pages may be taken again.
    pub fn unhold(&mut self, released: Released) {
        let pages = released.blocks.into_iter().chain(released.rest).flatten();
        pages.for_each(|page| self.unbusy(page));
    }

    pub(super) fn unbusy(&mut self, page: u64) {
        if page >= self.limit {
            return;
        }
        self.busy.set(page, false);
        self.free[(page / SEGMENT) as usize] += 1;
        self.available += 1;
    }
}

/// Ranges without gaps between them are one.
pub(super) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    merged
}
