//! Writing: every unit touched is sealed whole, and one system call writes them all.
use super::*;

impl File {
    /// Writes all of `data` at `offset`.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= layout::MAX_SIZE)
            .ok_or(Error::FileTooLarge)?;
        if data.is_empty() {
            return Ok(());
        }
        {
            let state = self.state.read();
            if state.overwrites(offset, data.len()) && !state.replaces(offset, data.len()) {
                return state.overwrite(&self.store, &self.ranges, offset, data);
            }
        }
        let mut state = self.state.write();
        if state.replaces(offset, data.len()) {
            return state.replace(&self.store, data);
        }
        state.begin(&self.store)?;
        if offset > state.size {
            state.prepare_gap(&self.store, offset)?;
        }
        if end > state.size {
            state.claim(&self.store, end)?;
        }
        let mut done = 0;
        while offset + (done as u64) < end {
            done += state.write_batch(&self.store, offset + done as u64, &data[done..])?;
        }
        Ok(())
    }
}

impl State {
    /// Writes as much of `data` as one batch of units holds; returns the bytes written.
    fn write_batch(&mut self, store: &Store, offset: u64, data: &[u8]) -> Result<usize> {
        let (first, within) = layout::locate(offset);
        let length = data.len().min(BATCH as usize * PAYLOAD - within);
        let (last, _) = layout::locate(offset + length as u64 - 1);
        let size = self.size.max(offset + length as u64);
        let count = (last - first + 1) as usize; // at most BATCH
        let edge = PAGES.with_borrow_mut(|pages| {
            let pages = &mut pages[..count * UNIT];
            let edge = self.seal_pages(store, first, within, &data[..length], size, pages)?;
            // Whatever becomes of the write, what is cached may no longer be what is stored.
            self.edge.get_mut().unit = NO_UNIT;
            store
                .backing
                .write(self.fd.as_fd(), pages, first * UNIT as u64)
                .inspect_err(|_| {
                    self.cut_back(store);
                    self.take_back(store, first, pages);
                })?;
            Ok::<_, Error>(edge)
        })?;
        if let Some(edge) = edge {
            *self.edge.get_mut() = edge;
        }
        self.size = size;
        self.length = self.length.max((last + 1) * UNIT as u64);
        Ok(length)
    }

    /// After a write that failed half-way (a full disk): units past the end must not come back when the file grows.
    pub(super) fn cut_back(&mut self, store: &Store) {
        let length = layout::backing_length(self.size);
        match store.backing.truncate(self.fd.as_fd(), length) {
            Ok(()) => self.length = length,
            Err(_) => store.mark_unsettled(),
        }
    }

    /// After a write that failed half-way: a unit of which only the front came, where there was a hole before, becomes a
    /// hole again. (Where the file system's blocks are smaller than a unit its space may end inside one.)
    pub(super) fn take_back(&self, store: &Store, first: u64, pages: &[u8]) {
        let inside = first..layout::units(self.size);
        for (index, page) in inside.zip(pages.as_chunks::<UNIT>().0) {
            let (fd, offset) = (self.fd.as_fd(), index * UNIT as u64);
            let mut there = [0; UNIT];
            let came = match backing::read(fd, &mut there, offset) {
                Ok(_) => there.iter().zip(page).take_while(|(a, b)| a == b).count(),
                Err(_) => 0,
            };
            // Sealed bytes end in that many zeros by chance never: an old unit is not taken for a hole.
            let only_front =
                (1..=UNIT - 64).contains(&came) && there[came..].iter().all(|b| *b == 0);
            if only_front && store.backing.punch(fd, offset, UNIT as u64).is_err() {
                store.mark_unsettled();
            }
        }
    }

    /// Seals `data` into the pages of the units from `first`, at payload offset `within`. Returns the last unit, if it is
    /// partly filled or was partly written.
    fn seal_pages(
        &mut self,
        store: &Store,
        first: u64,
        mut within: usize,
        data: &[u8],
        size: u64,
        pages: &mut [u8],
    ) -> Result<Option<Edge>> {
        let final_unit = layout::units(size) - 1;
        let mut done = 0;
        let mut edge = None;
        for (index, page) in (first..).zip(pages.chunks_exact_mut(UNIT)) {
            let length = (PAYLOAD - within).min(data.len() - done);
            let part = &data[done..done + length];
            if length == PAYLOAD {
                let content = self.content()?;
                let head = Head {
                    id: content.id,
                    epoch: content.epoch,
                    valid: PAYLOAD,
                };
                unit::seal(&content.keys, index, &head, part, page);
            } else {
                let mut payload = Box::new([0; PAYLOAD]);
                let whole = within <= if index == 0 { layout::HEADER } else { 0 }
                    && index >= layout::units(self.size);
                let old = if whole {
                    0
                } else {
                    self.load_unit(index, &mut payload)?
                };
                payload[within..within + length].copy_from_slice(part);
                let valid = if index == final_unit {
                    layout::last_valid(size)
                } else {
                    old.max(within + length)
                };
                self.seal_unit(store, index, valid, size, &mut payload, page)?;
                edge = Some(Edge {
                    unit: index,
                    valid,
                    payload,
                });
            }
            done += length;
            within = 0;
        }
        Ok(edge.filter(|edge| edge.unit == first + pages.len() as u64 / UNIT as u64 - 1))
    }

    /// Before a write that starts past the end: the units that it skips will be holes.
    pub(super) fn prepare_gap(&mut self, store: &Store, offset: u64) -> Result<()> {
        let (target, _) = layout::locate(offset);
        if target > layout::units(self.size) || (self.size == 0 && target > 0) {
            self.make_sparse(store)?;
        }
        Ok(())
    }

    /// Before a sparse file grows to `size`: its length must say so. Where its end may be a hole, a last unit that a crash
    /// kept away does not tell how much of it was in use.
    pub(super) fn claim(&mut self, store: &Store, size: u64) -> Result<()> {
        if !self.is_hole() {
            return Ok(());
        }
        let length = layout::backing_length(size);
        store.backing.truncate(self.fd.as_fd(), length)?;
        self.length = length;
        Ok(())
    }

    /// Says in unit 0, durably, that pages of zeros inside are holes: before there is the first one.
    pub(super) fn make_sparse(&mut self, store: &Store) -> Result<()> {
        self.begin(store)?;
        if self.is_hole() {
            return Ok(());
        }
        self.rewrite_header(store, |header| header.sparse = true)
            .inspect_err(|_| self.forget_sparse())?;
        Ok(store.backing.sync(self.fd.as_fd(), true)?)
    }

    fn forget_sparse(&mut self) {
        if let Some(content) = &mut self.content {
            content.header.sparse = false;
        }
    }
}
