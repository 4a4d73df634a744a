//! Length and holes: truncate, punch, zero and reserve.
use super::*;
use crate::fs::Allocate;

impl File {
    /// Sets the size; what is added reads as zeros.
    pub fn truncate(&self, size: u64) -> Result<()> {
        if size > layout::MAX_SIZE {
            return Err(Error::FileTooLarge);
        }
        let mut state = self.state.write();
        if size < state.size || (size == 0 && state.length > 0) {
            state.shrink(&self.store, size)?;
        } else if size > state.size {
            state.grow(&self.store, size)?;
        } else {
            // Nothing to cut, but the times move (`: > stamp`).
            self.store
                .backing
                .truncate(state.fd.as_fd(), state.length)?;
        }
        // Also where the length is right already: truncation to the same size moves mtime.
        state.length = layout::backing_length(size);
        Ok(self
            .store
            .backing
            .truncate(state.fd.as_fd(), state.length)?)
    }

    /// fallocate(2).
    pub fn allocate(&self, how: Allocate, offset: u64, length: u64) -> Result<()> {
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= layout::MAX_SIZE)
            .ok_or(Error::FileTooLarge)?;
        let mut state = self.state.write();
        let keep_size = match how {
            Allocate::Reserve { keep_size } | Allocate::Zero { keep_size } => keep_size,
            Allocate::Punch => true,
        };
        if !matches!(how, Allocate::Reserve { .. }) {
            let end = end.min(state.size);
            if offset < end {
                state.clear(&self.store, offset, end)?;
            }
        }
        if !keep_size && end > state.size {
            state.grow(&self.store, end)?;
            state.settle_slack(&self.store)?;
        }
        if matches!(how, Allocate::Reserve { .. }) && length > 0 {
            let (first, last) = (layout::locate(offset).0, layout::locate(end - 1).0);
            self.store.backing.reserve(
                state.fd.as_fd(),
                first * UNIT as u64,
                (last - first + 1) * UNIT as u64,
            )?;
        }
        Ok(())
    }
}

impl State {
    /// Cuts to `size`. The backing file is cut at the unit's end first, so that no head of an old unit stays in the slack;
    /// then it claims the new size; then the unit itself is shortened.
    pub(super) fn shrink(&mut self, store: &Store, size: u64) -> Result<()> {
        if size == 0 {
            store.backing.truncate(self.fd.as_fd(), 0)?;
            (self.size, self.length, self.content) = (0, 0, None);
            self.edge.get_mut().unit = NO_UNIT;
            return Ok(());
        }
        let (last, valid) = (layout::units(size) - 1, layout::last_valid(size));
        let mut payload = [0; PAYLOAD];
        let old = self.load_unit(last, &mut payload)?;
        if (1..valid).contains(&old) && !self.is_hole() {
            // A short unit that becomes the last one would say that the file ends sooner: it gets its zeros first.
            self.store_unit(store, last, valid, &mut payload)?;
            store.backing.sync(self.fd.as_fd(), true)?;
        }
        self.edge.get_mut().unit = NO_UNIT;
        // Within one unit there is no old unit to cut off, and a length without slack would claim more than there was.
        let within = last + 1 == layout::units(self.size);
        let lengths = [(last + 1) * UNIT as u64, layout::backing_length(size)];
        for length in lengths.into_iter().skip(usize::from(within)) {
            store.backing.truncate(self.fd.as_fd(), length)?;
            self.length = length;
        }
        self.size = size;
        if old == valid && valid == PAYLOAD {
            return Ok(());
        }
        self.store_unit(store, last, valid, &mut payload)
    }

    /// Grows to `size`. The last unit is always written whole.
    pub(super) fn grow(&mut self, store: &Store, size: u64) -> Result<()> {
        self.begin(store)?;
        let last = layout::units(size) - 1;
        if last > layout::units(self.size) || (self.size == 0 && last > 0) {
            self.make_sparse(store)?;
        }
        let mut payload = [0; PAYLOAD];
        if last < layout::units(self.size) {
            self.load_unit(last, &mut payload)?;
        }
        let before = self.size;
        self.claim(store, size)?;
        self.size = size;
        self.store_unit(store, last, layout::last_valid(size), &mut payload)
            .inspect_err(|_| {
                self.size = before; // never a size whose last unit was refused
                self.cut_back(store);
            })
    }

    /// Makes a range inside the file read as zeros; whole units become holes.
    fn clear(&mut self, store: &Store, offset: u64, end: u64) -> Result<()> {
        let ((first, from), (last, to)) = (layout::locate(offset), layout::locate(end - 1));
        let final_unit = layout::units(self.size) - 1;
        // Unit 0 keeps its header and the last unit its end: both are cleared in place.
        let hole = (if from == 0 && first > 0 {
            first
        } else {
            first + 1
        })..(if to + 1 == PAYLOAD && last < final_unit {
            last + 1
        } else {
            last
        });
        if !hole.is_empty() {
            self.make_sparse(store)?;
        }
        if !hole.contains(&first) {
            self.clear_in_unit(
                store,
                first,
                from,
                if first == last { to + 1 } else { PAYLOAD },
            )?;
        }
        if last != first && !hole.contains(&last) {
            self.clear_in_unit(store, last, 0, to + 1)?;
        }
        if !hole.is_empty() {
            self.edge.get_mut().unit = NO_UNIT;
            store.backing.punch(
                self.fd.as_fd(),
                hole.start * UNIT as u64,
                (hole.end - hole.start) * UNIT as u64,
            )?;
        }
        Ok(())
    }

    fn clear_in_unit(&mut self, store: &Store, index: u64, from: usize, to: usize) -> Result<()> {
        let mut payload = [0; PAYLOAD];
        let old = self.load_unit(index, &mut payload)?;
        payload[from..to].fill(0);
        // Not shortened, though it may end in zeros now: it may be the last one that is durable, and say where the file ends.
        if old > 0 {
            self.store_unit(store, index, old, &mut payload)
        } else {
            Ok(())
        }
    }
}
