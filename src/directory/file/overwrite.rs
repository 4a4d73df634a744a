//! Writing inside the file: neither size nor header change, so writers of different units work side by side.
use super::range::RangeLock;
use super::*;

impl State {
    /// True if a write of `length` bytes at `offset` changes units and nothing else.
    pub(super) fn overwrites(&self, offset: u64, length: usize) -> bool {
        self.writable && self.content.is_some() && offset + length as u64 <= self.size
    }

    /// Writes all of `data`, inside the file.
    pub(super) fn overwrite(
        &self,
        store: &Store,
        ranges: &RangeLock,
        mut offset: u64,
        mut data: &[u8],
    ) -> Result<()> {
        while !data.is_empty() {
            let (first, within) = layout::locate(offset);
            let (part, rest) = data.split_at(data.len().min(BATCH as usize * PAYLOAD - within));
            let (last, _) = layout::locate(offset + part.len() as u64 - 1);
            let _held = ranges.exclusive(first..last + 1);
            PAGES.with_borrow_mut(|pages| {
                let pages = &mut pages[..(last - first + 1) as usize * UNIT]; // at most BATCH units
                self.load_edges(first, within, part.len(), pages)?;
                self.patch_pages(first, within, part, pages)?;
                self.forget_edge(first..last + 1);
                store
                    .backing
                    .write(self.fd.as_fd(), pages, first * UNIT as u64)
                    .inspect_err(|_| self.take_back(store, first, pages))?;
                Ok::<_, Error>(())
            })?;
            offset += part.len() as u64;
            data = rest;
        }
        Ok(())
    }

    /// Reads the pages of the first and the last unit, where they are not written whole.
    fn load_edges(&self, first: u64, within: usize, length: usize, pages: &mut [u8]) -> Result<()> {
        let tail = (within + length) % PAYLOAD;
        let (head_partial, tail_partial) = (within > 0, tail > 0);
        let count = pages.len() / UNIT;
        let mut load = |units: Range<usize>| -> Result<()> {
            let wanted = &mut pages[units.start * UNIT..units.end * UNIT];
            let got = backing::read(
                self.fd.as_fd(),
                wanted,
                (first + units.start as u64) * UNIT as u64,
            )?;
            wanted[got..].fill(0);
            Ok(())
        };
        match (head_partial, tail_partial) {
            (false, false) => Ok(()),
            _ if count <= 2 => load(0..count),
            (head, tail) => {
                if head {
                    load(0..1)?;
                }
                if tail { load(count - 1..count) } else { Ok(()) }
            }
        }
    }

    /// Seals `data` into pages that hold what they do not cover.
    fn patch_pages(
        &self,
        first: u64,
        mut within: usize,
        mut data: &[u8],
        pages: &mut [u8],
    ) -> Result<()> {
        for (index, page) in (first..).zip(pages.as_chunks_mut::<UNIT>().0) {
            let (part, rest) = data.split_at(data.len().min(PAYLOAD - within));
            self.patch_page(index, within, part, page)?;
            data = rest;
            within = 0;
        }
        Ok(())
    }

    fn patch_page(
        &self,
        index: u64,
        within: usize,
        part: &[u8],
        page: &mut [u8; UNIT],
    ) -> Result<()> {
        let content = self.content()?;
        if part.len() == PAYLOAD {
            let head = Head {
                id: content.id,
                epoch: content.epoch,
                valid: PAYLOAD,
            };
            unit::seal(&content.keys, index, &head, part, page);
            return Ok(());
        }
        let old = unit::verify(&content.keys, content.id, content.epoch, index, page)?;
        self.check_hole(old)?;
        let valid = if index == layout::units(self.size) - 1 {
            layout::last_valid(self.size)
        } else {
            old.max(within + part.len())
        };
        let whole_blocks =
            within.is_multiple_of(unit::BLOCK) && part.len().is_multiple_of(unit::BLOCK);
        if old > 0 && whole_blocks && within <= old && valid == old.max(within + part.len()) {
            let head = Head {
                id: content.id,
                epoch: content.epoch,
                valid,
            };
            unit::patch(&content.keys, index, &head, within, part, page);
            return Ok(());
        }
        let mut payload = [0; PAYLOAD];
        self.open_page(index, page, 0, &mut payload)?;
        payload[within..within + part.len()].copy_from_slice(part);
        self.seal_payload(index, valid, &mut payload, page)
    }

    fn forget_edge(&self, units: Range<u64>) {
        let mut edge = self.edge.lock();
        if units.contains(&edge.unit) {
            edge.unit = NO_UNIT;
        }
    }
}
