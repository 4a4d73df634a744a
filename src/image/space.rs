//! Which pages are free.
//!
//! Two maps. *used*: what the tree refers to; written into the tree with each commit. *busy*: what must not be given out:
//! used pages, and pages freed so lately that a superblock which must stay good still refers to them ([`KEPT`]).
//!
//! Nodes and data fill segments of their own, so that what is written together lies together and freed segments can be
//! given back whole. The last pages, the reserve, are for nodes only: removing files writes nodes before it frees pages.
//! The *cushion*, the last segments, is the same for the disk below a sparse image: see [`Space::cushion`].
use super::layout::{self, KEPT, SEGMENT};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// Pages in one item of the map.
pub const CHUNK: u64 = 8192;
/// Bytes of one item of the map.
pub const CHUNK_BYTES: usize = 1024;
/// The fewest pages that are worth a call to give them back.
const WORTH_PUNCHING: u64 = 16;
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
            let words = bytes.as_chunks().0.iter().take(CHUNK_BYTES / 8);
            let first = usize::try_from(index.saturating_mul(CHUNK / 64));
            let to = first.ok().and_then(|first| space.used.0.get_mut(first..));
            for (to, word) in to.unwrap_or_default().iter_mut().zip(words) {
                *to |= u64::from_le_bytes(*word);
            }
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
                let segment = self.choose(which)?;
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
        (from..self.segment_end(from)).find(|page| !self.busy.get(*page))
    }

    fn segment_end(&self, page: u64) -> u64 {
        ((page / SEGMENT + 1) * SEGMENT).min(self.pages)
    }

    /// The best segment after the present one: empty, else roomy, else any; the cushion when there is no other.
    fn choose(&self, which: usize) -> Option<u64> {
        let count = self.free.len() as u64;
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
        search(SEGMENT as u16, 0..cushion)
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
        let first = (index * CHUNK / 64) as usize;
        let words = self.used.0.iter().skip(first).take(CHUNK_BYTES / 8);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(CHUNK_BYTES, 0);
        bytes
    }

    /// What was freed belongs to the generation that is being written.
    pub fn seal(&mut self, generation: u64) {
        let freed = std::mem::take(&mut self.freed);
        if !freed.is_empty() {
            self.pending.push_back((generation, freed));
        }
    }

    /// This generation is durable: the ranges that no superblock to be kept refers to any more. They stay busy until
    /// [`Space::unhold`]; those worth it are widened to the free pages around them, to be given back with them.
    pub fn release(&mut self, durable: u64) -> Vec<Range<u64>> {
        let mut ranges = Vec::new();
        while let Some((generation, _)) = self.pending.front() {
            if generation + (KEPT - 1) > durable {
                break;
            }
            ranges.extend(
                self.pending
                    .pop_front()
                    .map_or(Vec::new(), |(_, freed)| freed),
            );
        }
        self.waiting -= ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>();
        let ranges = merged(ranges);
        ranges.into_iter().map(|range| self.widen(range)).collect()
    }

    fn widen(&mut self, range: Range<u64>) -> Range<u64> {
        let (low, high) = (
            range.start / SEGMENT * SEGMENT,
            self.segment_end(range.end - 1),
        );
        let start = (low..range.start)
            .rev()
            .take_while(|page| !self.busy.get(*page))
            .last();
        let end = (range.end..high)
            .take_while(|page| !self.busy.get(*page))
            .last();
        let wide = start.unwrap_or(range.start)..end.map_or(range.end, |last| last + 1);
        if !worth_punching(&wide) {
            return range;
        }
        for page in (wide.start..range.start).chain(range.end..wide.end) {
            self.busy.set(page, true);
            self.free[(page / SEGMENT) as usize] -= 1;
            self.available -= 1;
        }
        wide
    }

    /// These pages may be taken again.
    pub fn unhold(&mut self, ranges: &[Range<u64>]) {
        ranges
            .iter()
            .cloned()
            .flatten()
            .for_each(|page| self.unbusy(page));
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

/// True if it is worth a system call.
pub fn worth_punching(range: &Range<u64>) -> bool {
    range.end.saturating_sub(range.start) >= WORTH_PUNCHING
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

/// A bit for each page.
#[derive(Clone)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// No page.
    pub fn new(pages: u64) -> Self {
        Self(vec![0; pages.div_ceil(64) as usize])
    }

    /// Whether a page of the image is in it.
    pub fn get(&self, page: u64) -> bool {
        self.0[(page / 64) as usize] >> (page % 64) & 1 == 1
    }

    /// Puts a page of the image in or takes it out.
    pub fn set(&mut self, page: u64, value: bool) {
        let word = &mut self.0[(page / 64) as usize];
        *word = *word & !(1 << (page % 64)) | u64::from(value) << (page % 64);
    }

    fn count(&self, range: Range<u64>) -> u64 {
        if range.start.is_multiple_of(64) && range.end.is_multiple_of(64) {
            let words = &self.0[(range.start / 64) as usize..(range.end / 64) as usize];
            return words.iter().map(|word| u64::from(word.count_ones())).sum();
        }
        range.filter(|page| self.get(*page)).count() as u64
    }

    /// Clears what lies beyond the end.
    fn clip(&mut self, pages: u64) {
        self.0.truncate(pages.div_ceil(64) as usize);
        if let (Some(last), 1..) = (self.0.last_mut(), pages % 64) {
            *last &= (1 << (pages % 64)) - 1;
        }
    }

    fn resize(&mut self, pages: u64) {
        self.clip(pages);
        self.0.resize(pages.div_ceil(64) as usize, 0);
    }
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
        assert!(space.release(2).is_empty());
        let ranges = space.release(3);
        assert!(ranges.len() == 1 && ranges[0].start <= run.start && ranges[0].end >= run.end);
        space.unhold(&ranges);
        assert_eq!((space.waiting(), space.available()), (0, free));
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
