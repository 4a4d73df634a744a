//! Which pages are free.
//!
//! Two maps. *used*: what the tree refers to; written into the tree with each commit. *busy*: what must not be given out:
//! used pages, and pages freed so lately that a superblock which must stay good still refers to them ([`layout::KEPT`]).
//!
//! Nodes and data fill segments of their own, so that what is written together lies together and freed segments can be
//! given back whole. Nodes, which every commit writes anew, go to and fro between two segments while those have room: what
//! lies below need not find space for each commit; and content that comes in a few pages goes where there was some before. The
//! last pages, the reserve, are for nodes only: removing files writes
//! nodes before it frees pages.
//! The *cushion*, the last segments, is the same for the disk below a sparse image: see [`Space::cushion`].
mod release;
mod take;
#[cfg(test)]
mod tests;

pub use take::Purpose;

use super::bits::Bits;
use super::layout::{self, SEGMENT};
use release::merged;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use take::ROOMY;

/// Pages in one item of the map.
pub const CHUNK: u64 = 8192;
/// Bytes of one item of the map.
pub const CHUNK_BYTES: usize = 1024;

/// Where pages are taken first.
const START: [u64; 3] = [layout::SLOTS + layout::RING, SEGMENT, SEGMENT];

/// The maps.
pub struct Space {
    pages: u64,
    log: u64,
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
    /// Where nodes, content, and content in a few pages are taken next.
    cursors: [u64; 3],
    /// The segment that nodes were taken from before.
    previous: u64,
    /// Segments that have been written and have room again.
    warm: BTreeSet<u64>,
    /// Blocks that became free: what lies below may have them back.
    emptied: BTreeSet<u64>,
    /// Pages from here on are not given out.
    limit: u64,
    /// The disk below has given the cushion away: nothing grows before it is back.
    flat: bool,
}

impl Space {
    /// The map of an image of so many pages, with a log of so many, in which only the fixed places are used.
    pub fn new(pages: u64, log: u64) -> Self {
        let mut space = Self {
            pages,
            log,
            used: Bits::new(pages),
            busy: Bits::new(pages),
            free: Vec::new(),
            available: 0,
            in_use: 0,
            changed: BTreeSet::new(),
            freed: Vec::new(),
            pending: VecDeque::new(),
            waiting: 0,
            cursors: START,
            previous: 0,
            warm: BTreeSet::new(),
            emptied: BTreeSet::new(),
            limit: u64::MAX,
            flat: false,
        };
        for range in space.fixed() {
            range.for_each(|page| space.mark_used(page));
        }
        space.busy = space.used.clone();
        space.count();
        space
    }

    /// The map of an image whose stored map is `chunks`; an entry that lies outside is ignored.
    pub fn load<'a>(pages: u64, log: u64, chunks: impl Iterator<Item = (u64, &'a [u8])>) -> Self {
        let mut space = Self::new(pages, log);
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
        let in_part =
            |segment: &u64| (ROOMY..SEGMENT as u16).contains(&self.free[*segment as usize]);
        self.warm = (0..segments).filter(in_part).collect();
        self.available = self.free.iter().map(|free| u64::from(*free)).sum();
        self.in_use = self.used.count(0..self.pages);
    }

    /// The image's size.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Pages of the log.
    pub fn log(&self) -> u64 {
        self.log
    }

    /// Pages that are not the tree's.
    pub fn fixed(&self) -> [Range<u64>; 5] {
        layout::fixed(self.pages, self.log)
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
        for range in self.fixed() {
            for page in range {
                self.mark_used(page);
                self.busy.set(page, true);
            }
        }
        self.changed.extend(chunks);
        self.cursors = START;
        self.emptied.clear();
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
