//! Which pages are free.
//!
//! Two maps. *used*: what the tree refers to; written into the tree with each commit. *busy*: what must not be given out:
//! used pages, and pages freed so lately that a superblock which must stay good still refers to them ([`KEPT`]).
//!
//! Nodes and data fill segments of their own, so that what is written together lies together and freed segments can be
//! given back whole. Nodes, which every commit writes anew, go to and fro between two segments while those have room: what
//! lies below need not find space for each commit. The last pages, the reserve, are for nodes only: removing files writes
//! nodes before it frees pages.
//! The *cushion*, the last segments, is the same for the disk below a sparse image: see [`Space::cushion`].
use super::bits::{self, Bits};
use super::layout::{self, KEPT, SEGMENT};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// Pages in one item of the map.
pub const CHUNK: u64 = 8192;
/// Bytes of one item of the map.
pub const CHUNK_BYTES: usize = 1024;
/// Pages that are given back together, when the last of them is free.
const BLOCK: u64 = bits::WORD;
/// A segment of nodes with this many free pages is used again.
const HALF: u16 = 128;
/// A segment with this many free pages is good for data.
const ROOMY: u16 = 32;

/// What pages are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nodes of the tree: may use the reserve.
    Nodes,
    /// Content.
    Data,
}

/// The maps.
pub struct Space {
    pages: u64,
    used: Bits,
    busy: Bits,
    /// Pages of each segment that are not busy.
    free: Vec<u16>,
    available: u64,
    in_use: u64,
    changed: BTreeSet<u64>,
    /// Freed since the last commit.
    freed: Vec<Range<u64>>,
    /// Freed before, by the generation that no longer refers to them.
    pending: VecDeque<(u64, Vec<Range<u64>>)>,
    waiting: u64,
    cursors: [u64; 2],
    /// The segment that nodes were taken from before.
    previous: u64,
    /// Pages from here on are not given out.
    limit: u64,
    /// The disk below has given the cushion away: nothing grows before it is back.
    flat: bool,
}

impl Space {
    /// The map of an image of so many pages in which only the fixed places are used.
    pub fn new(pages: u64) -> Self {
        let mut space = Self {
            pages,
            used: Bits::new(pages),
            busy: Bits::new(pages),
            free: Vec::new(),
            available: 0,
            in_use: 0,
            changed: BTreeSet::new(),
            freed: Vec::new(),
            pending: VecDeque::new(),
            waiting: 0,
            cursors: [layout::SLOTS + layout::RING, SEGMENT],
            previous: 0,
            limit: u64::MAX,
            flat: false,
        };
        for range in layout::fixed(pages) {
            range.for_each(|page| space.mark_used(page));
        }
        space.busy = space.used.clone();
        space.count();
        space
    }

    /// The map of an image whose stored map is `chunks`; an entry that lies outside is ignored.
    pub fn load<'a>(pages: u64, chunks: impl Iterator<Item = (u64, &'a [u8])>) -> Self {
        let mut space = Self::new(pages);
        for (index, bytes) in chunks {
            let bytes = &bytes[..bytes.len().min(CHUNK_BYTES)];
            space.used.add(index.saturating_mul(CHUNK), bytes);
        }
        space.used.clip(pages);
        space.busy = space.used.clone();
        space.changed.clear();
        space.count();
        space
    }

    fn count(&mut self) {
        let segments = self.pages.div_ceil(SEGMENT);
        let free = |segment: u64| {
            let end = ((segment + 1) * SEGMENT).min(self.pages);
            let size = end - segment * SEGMENT;
            (size - self.busy.count(segment * SEGMENT..end)) as u16
        };
        self.free = (0..segments).map(free).collect();
        self.available = self.free.iter().map(|free| u64::from(*free)).sum();
        self.in_use = self.used.count(0..self.pages);
    }

    /// The image's size.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Pages in use.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Pages that can be taken now, the reserve included.
    pub fn available(&self) -> u64 {
        self.available
    }

    /// Pages that the next commits set free.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Pages kept for nodes: those that a commit may need to write the map, and some.
    pub fn reserve(&self) -> u64 {
        (self.pages / 256).clamp(192, 1 << 15)
    }

    /// Pages that can be taken now for what grows the tree.
    pub fn room(&self) -> u64 {
        match self.flat {
            true => 0,
            false => self.available.saturating_sub(self.reserve()),
        }
    }

    /// First page of the cushion: whole segments at the end that hold at least the reserve, taken only when no others
    /// have room. A sparse image has them of the disk below beforehand. When that disk is full and a commit finds no place,
    /// it gives the cushion back, and what is written instead sets more free.
    pub fn cushion_start(&self) -> u64 {
        self.pages.saturating_sub(self.reserve()) / SEGMENT * SEGMENT
    }

    /// What is free of it.
    pub fn cushion(&self) -> Vec<Range<u64>> {
        let pages = self.cushion_start()..self.pages;
        let free = pages.filter(|page| !self.busy.get(*page));
        merged(free.map(|page| page..page + 1).collect())
    }

    /// Whether the disk below has the cushion back.
    pub fn flat(&self) -> bool {
        self.flat
    }

    /// Says so.
    pub fn set_flat(&mut self, flat: bool) {
        self.flat = flat;
    }

    /// Pages that the map's changes may cost the next commit.
    pub fn map_cost(&self) -> u64 {
        self.changed.len() as u64 + 16
    }

    /// True if the stored map says that this page is used.
    pub fn is_used(&self, page: u64) -> bool {
        page < self.pages && self.used.get(page)
    }

    /// All used pages.
    pub fn used(&self) -> Vec<Range<u64>> {
        let pages = (0..self.pages).filter(|page| self.used.get(*page));
        merged(pages.map(|page| page..page + 1).collect())
    }

    /// Takes up to `most` consecutive pages.
    pub fn take(&mut self, purpose: Purpose, most: u64) -> Option<Range<u64>> {
        let most = match purpose {
            Purpose::Nodes => most.min(self.available),
            Purpose::Data => most.min(self.room()),
        };
        if most == 0 {
            return None;
        }
        let which = purpose as usize;
        let here = self.next_free(self.cursors[which]);
        let first = match here.filter(|page| *page < self.cushion_start()) {
            Some(page) => page,
            None => {
                let segment = self.choose(purpose)?;
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

    /// The best segment after the present one: empty, else roomy, else any; the cushion when there is no other.
    fn choose(&self, purpose: Purpose) -> Option<u64> {
        let (which, count) = (purpose as usize, self.free.len() as u64);
        let present = self.cursors[which] / SEGMENT;
        let other = self.cursors[1 - which] / SEGMENT;
        let cushion = self.cushion_start() / SEGMENT;
        let search = |least: u16, segments: Range<u64>| {
            let order = (1..=count).map(|step| (present + step) % count);
            order
                .filter(|segment| *segment != other && segments.contains(segment))
                .find(|segment| self.free[*segment as usize] >= least)
        };
        let shared = |segments: Range<u64>| {
            (segments.contains(&other) && self.free[other as usize] > 0).then_some(other)
        };
        let back = Some(self.previous).filter(|segment| {
            let other = *segment != present && *segment != other && *segment < cushion;
            purpose == Purpose::Nodes && other && self.free[*segment as usize] >= HALF
        });
        back.or_else(|| search(SEGMENT as u16, 0..cushion))
            .or_else(|| search(ROOMY, 0..cushion))
            .or_else(|| search(1, 0..cushion))
            .or_else(|| shared(0..cushion))
            .or_else(|| search(1, cushion..count))
            .or_else(|| shared(cushion..count))
    }

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

    fn mark_used(&mut self, page: u64) {
        if !self.used.get(page) {
            self.used.set(page, true);
            self.in_use += 1;
            self.changed.insert(page / CHUNK);
        }
    }

    /// False if it was not marked as used, or lies outside: what refers to it is wrong, and nothing comes of it.
    fn mark_unused(&mut self, page: u64) -> bool {
        let used = self.is_used(page);
        if used {
            self.used.set(page, false);
            self.in_use -= 1;
            self.changed.insert(page / CHUNK);
        }
        used
    }

    /// The parts of the map that changed since they were asked for.
    pub fn take_changed(&mut self) -> Vec<(u64, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .iter()
            .map(|index| (*index, self.chunk(*index)))
            .collect()
    }

    /// Parts of the map that could not be written have to be written later.
    pub fn put_changed(&mut self, changed: impl Iterator<Item = u64>) {
        self.changed.extend(changed);
    }

    fn chunk(&self, index: u64) -> Vec<u8> {
        self.used.bytes(index * CHUNK, CHUNK_BYTES)
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

    fn unbusy(&mut self, page: u64) {
        if page >= self.limit {
            return;
        }
        self.busy.set(page, false);
        self.free[(page / SEGMENT) as usize] += 1;
        self.available += 1;
    }

    /// For repair: the map that the tree needs. True if it was another one.
    pub fn correct(&mut self, page: u64, used: bool) -> bool {
        match (self.used.get(page), used) {
            (false, true) => {
                self.mark_used(page);
                if !self.busy.get(page) {
                    self.busy.set(page, true);
                    self.free[(page / SEGMENT) as usize] -= 1;
                    self.available -= 1;
                }
                true
            }
            (true, false) => {
                self.free(page);
                true
            }
            _ => false,
        }
    }

    /// Another size. What lies beyond a smaller one was freed before; the last header copy moves.
    pub fn resize(&mut self, pages: u64) {
        let old = self.pages - layout::HEADER..self.pages;
        for page in old.clone() {
            self.mark_unused(page);
            self.busy.set(page, false);
        }
        let chunks = self.pages.min(pages) / CHUNK..=self.pages.max(pages).div_ceil(CHUNK);
        self.used.resize(pages);
        self.busy.resize(pages);
        self.pages = pages;
        for range in layout::fixed(pages) {
            for page in range {
                self.mark_used(page);
                self.busy.set(page, true);
            }
        }
        self.changed.extend(chunks);
        self.cursors = [layout::SLOTS + layout::RING, SEGMENT];
        self.previous = 0;
        self.limit = u64::MAX;
        self.count();
    }

    /// Pages from `limit` on are not given out any more; those in use stay until they are freed.
    pub fn forbid(&mut self, limit: u64) {
        self.limit = limit;
        for page in limit..self.pages {
            if !self.busy.get(page) {
                self.busy.set(page, true);
                self.free[(page / SEGMENT) as usize] -= 1;
                self.available -= 1;
            }
        }
    }

    /// Takes back [`Space::forbid`].
    pub fn allow(&mut self) {
        let limit = std::mem::replace(&mut self.limit, u64::MAX);
        let resting: Vec<_> = self
            .freed
            .iter()
            .chain(self.pending.iter().flat_map(|(_, f)| f))
            .cloned()
            .collect();
        for page in limit..self.pages {
            let rests = self.used.get(page) || resting.iter().any(|range| range.contains(&page));
            if !rests && self.busy.get(page) {
                self.unbusy(page);
            }
        }
    }
}

/// Pages that are free again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Whole blocks, worth a call to give them back.
    pub blocks: Vec<Range<u64>>,
    /// What is not.
    pub rest: Vec<Range<u64>>,
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_page_rests_for_two_commits() {
        let mut space = Space::new(4096);
        let free = space.available();
        let run = space.take(Purpose::Data, 20).unwrap();
        space.seal(1);
        run.clone().for_each(|page| space.free(page));
        assert_eq!((space.waiting(), space.available()), (20, free - 20));
        space.seal(2);
        assert_eq!(space.release(2), Released::default());
        let released = space.release(3);
        assert!(released.blocks.len() == 1 && released.rest.is_empty());
        assert!(released.blocks[0].start <= run.start && released.blocks[0].end >= run.end);
        space.unhold(released);
        assert_eq!((space.waiting(), space.available()), (0, free));
    }

    #[test]
    fn a_block_is_given_back_with_its_last_page() {
        let mut space = Space::new(4096);
        let run = space.take(Purpose::Data, 128).unwrap();
        assert_eq!(run, 256..384);
        let mut release = |pages: &mut dyn Iterator<Item = u64>, generation| {
            pages.for_each(|page| space.free(page));
            space.seal(generation);
            let released = space.release(generation + KEPT);
            let block = released.blocks.first().cloned();
            space.unhold(released);
            block
        };
        assert_eq!(release(&mut (266..310), 1), None);
        assert_eq!(release(&mut (256..266).chain(310..330), 2), Some(256..320));
        assert_eq!(release(&mut (330..384), 3), Some(320..384));
    }

    #[test]
    fn every_page_is_given_out_once_and_the_reserve_last() {
        let mut space = Space::new(2048);
        let mut seen: BTreeSet<u64> = layout::fixed(2048).into_iter().flatten().collect();
        for (purpose, left) in [(Purpose::Data, space.reserve()), (Purpose::Nodes, 0)] {
            while let Some(run) = space.take(purpose, 7) {
                assert!(run.clone().all(|page| seen.insert(page)));
            }
            assert_eq!(space.available(), left);
        }
        assert_eq!(seen.len(), 2048);
    }

    #[test]
    fn the_map_is_read_as_it_was_written() {
        let mut space = Space::new(10_000);
        for _ in 0..9 {
            space.take(Purpose::Data, 200);
            space.take(Purpose::Nodes, 1);
        }
        let chunks = space.take_changed();
        let again = Space::load(10_000, chunks.iter().map(|(i, bytes)| (*i, &bytes[..])));
        assert_eq!(
            (again.available(), again.in_use()),
            (space.available(), space.in_use())
        );
        assert_eq!(again.free, space.free);
    }
}
