//! What becomes of pages that are not needed any more.
use super::super::bits;
use super::super::layout::{KEPT, SEGMENT};
use super::take::ROOMY;
use super::{Purpose, Space};
use std::ops::Range;

/// Pages that are given back together, when the last of them is free.
const BLOCK: u64 = bits::WORD;
/// Blocks that are held at a time: nobody can take them meanwhile.
const PORTION: usize = 16;

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

    /// This generation is durable: pages that no superblock to be kept refers to any more may be taken again.
    pub fn release(&mut self, durable: u64) {
        while let Some((generation, _)) = self.pending.front() {
            if generation + (KEPT - 1) > durable {
                break;
            }
            for range in self.pending.pop_front().into_iter().flat_map(|(_, f)| f) {
                self.waiting -= range.end - range.start;
                range.for_each(|page| self.unbusy(page));
            }
        }
    }

    /// A page may be taken again.
    pub(super) fn unbusy(&mut self, page: u64) {
        self.clear_busy(page);
        if !self.busy.has_any(page) {
            self.emptied.insert(page / BLOCK);
        }
    }

    fn clear_busy(&mut self, page: u64) {
        if page >= self.limit {
            return;
        }
        let segment = page / SEGMENT;
        self.busy.set(page, false);
        self.free[segment as usize] += 1;
        self.available += 1;
        if self.free[segment as usize] == ROOMY {
            self.warm.insert(segment);
        }
    }

    /// Some blocks that became free, and still are: they are held until [`Space::unhold`], to be given back to what lies below.
    /// Not those that nodes come to next, nor the cushion.
    pub fn hold_emptied(&mut self) -> Vec<Range<u64>> {
        let nodes = [
            self.cursors[Purpose::Nodes as usize] / SEGMENT,
            self.previous,
        ];
        let is_theirs = |block: &&u64| nodes.contains(&(**block * BLOCK / SEGMENT));
        let mut held = Vec::new();
        while held.len() < PORTION
            && let Some(block) = self.emptied.iter().find(|block| !is_theirs(block)).copied()
        {
            self.emptied.remove(&block);
            let pages = block * BLOCK..(block + 1) * BLOCK;
            if pages.end <= self.cushion_start() && !self.busy.has_any(pages.start) {
                pages.clone().for_each(|page| self.busy.set(page, true));
                self.free[(pages.start / SEGMENT) as usize] -= BLOCK as u16;
                self.available -= BLOCK;
                held.push(pages);
            }
        }
        merged(held)
    }

    /// Nothing can be given back.
    pub fn forget_emptied(&mut self) {
        self.emptied.clear();
    }

    /// These may be taken again.
    pub fn unhold(&mut self, blocks: Vec<Range<u64>>) {
        for page in blocks.into_iter().flatten() {
            self.clear_busy(page);
            let segment = page / SEGMENT;
            if u64::from(self.free[segment as usize]) == SEGMENT {
                self.warm.remove(&segment); // what lies below has nothing there any more
            }
        }
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
