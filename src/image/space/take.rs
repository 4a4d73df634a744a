//! Where new pages are taken.
use super::super::layout::SEGMENT;
use super::Space;
use std::ops::Range;

/// A segment of nodes with this many free pages is used again.
const HALF: u16 = 128;
/// A segment with this many free pages is good for data. For fewer pages than these it does not matter whether they lie in one
/// piece: rather than where nothing was written before they go where something was, for which what lies below has space.
pub(super) const ROOMY: u16 = 32;

/// The cursor of content that comes in a few pages.
const FEW: usize = 2;

/// What pages are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nodes of the tree: may use the reserve.
    Nodes,
    /// Content.
    Data,
}

impl Space {
    /// Takes up to `most` consecutive pages.
    pub fn take(&mut self, purpose: Purpose, most: u64) -> Option<Range<u64>> {
        let most = match purpose {
            Purpose::Nodes => most.min(self.available),
            Purpose::Data => most.min(self.room()),
        };
        if most == 0 {
            return None;
        }
        let which = match purpose {
            Purpose::Data if most < u64::from(ROOMY) => FEW,
            purpose => purpose as usize,
        };
        let here = self.next_free(self.cursors[which]);
        let first = match here.filter(|page| *page < self.cushion_start()) {
            Some(page) => page,
            None => {
                let segment = match self.warm_segment(which) {
                    Some(segment) => segment,
                    None => self.choose(which)?,
                };
                if purpose == Purpose::Nodes {
                    self.previous = self.cursors[which] / SEGMENT;
                }
                self.next_free(segment * SEGMENT)?
            }
        };
        let limit = (first + most).min(self.segment_end(first));
        let mut end = first;
        while end < limit && !self.busy.get(end) {
            self.busy.set(end, true);
            self.mark_used(end);
            end += 1;
        }
        self.free[(first / SEGMENT) as usize] -= (end - first) as u16;
        self.available -= end - first;
        // Stays in the segment even at its end, so that the search above looks there and then goes on.
        self.cursors[which] = end.min(self.segment_end(first) - 1);
        Some(first..end)
    }

    /// The next free page of the same segment.
    fn next_free(&self, from: u64) -> Option<u64> {
        let segment = (from / SEGMENT) as usize;
        if self.free.get(segment).is_none_or(|free| *free == 0) {
            return None;
        }
        self.busy.first_clear(from..self.segment_end(from))
    }

    fn segment_end(&self, page: u64) -> u64 {
        ((page / SEGMENT + 1) * SEGMENT).min(self.pages)
    }

    /// Where the other cursors are.
    fn others(&self, which: usize) -> [u64; 2] {
        let at = |step: usize| self.cursors[(which + step) % self.cursors.len()] / SEGMENT;
        [at(1), at(2)]
    }

    /// For a few pages: a segment that has been written and has room again.
    fn warm_segment(&mut self, which: usize) -> Option<u64> {
        while which == FEW
            && let Some(segment) = self.warm.pop_first()
        {
            let good =
                segment < self.cushion_start() / SEGMENT && self.free[segment as usize] >= ROOMY;
            if good && !self.others(which).contains(&segment) {
                return Some(segment);
            }
        }
        None
    }

    /// The best segment after the present one: empty, else roomy, else any; the cushion when there is no other.
    fn choose(&self, which: usize) -> Option<u64> {
        let count = self.free.len() as u64;
        let present = self.cursors[which] / SEGMENT;
        let others = self.others(which);
        let cushion = self.cushion_start() / SEGMENT;
        let search = |least: u16, segments: Range<u64>| {
            let order = (1..=count).map(|step| (present + step) % count);
            order
                .filter(|segment| !others.contains(segment) && segments.contains(segment))
                .find(|segment| self.free[*segment as usize] >= least)
        };
        let shared = |segments: Range<u64>| {
            let good = |other: &u64| segments.contains(other) && self.free[*other as usize] > 0;
            others.into_iter().find(good)
        };
        let back = Some(self.previous).filter(|segment| {
            let other = *segment != present && !others.contains(segment) && *segment < cushion;
            which == Purpose::Nodes as usize && other && self.free[*segment as usize] >= HALF
        });
        back.or_else(|| search(SEGMENT as u16, 0..cushion))
            .or_else(|| search(ROOMY, 0..cushion))
            .or_else(|| search(1, 0..cushion))
            .or_else(|| shared(0..cushion))
            .or_else(|| search(1, cushion..count))
            .or_else(|| shared(cushion..count))
    }
}
