//! Checking a file's units without anybody asking for the data.
use super::*;

impl File {
    /// Opens a file whose length was changed outside of cryptfs, and records the length that it has now.
    pub fn accept_length(store: Arc<Store>, fd: OwnedFd, parent: [u8; 12]) -> Result<Self> {
        let mut state = State::unloaded(fd, true, parent);
        state.load_with(&store, true)?;
        let file = Self::with_state(store, state);
        file.settle()?;
        Ok(file)
    }

    /// Records the length in the header, where it is not recorded yet. `open` gives a descriptor for writing;
    /// `hint` says where the file is.
    pub fn record_length(
        &self,
        open: impl FnOnce() -> Result<OwnedFd>,
        hint: Vec<u8>,
    ) -> Result<()> {
        if !self.state.read().header_stale() {
            return Ok(());
        }
        self.make_writable(open, hint)?;
        self.settle()
    }

    /// Authenticates every unit; `report` hears of damaged ones, as ranges of plaintext.
    pub fn verify(&self, report: &mut dyn FnMut(Range<u64>, Damage)) -> Result<()> {
        let state = self.state.read();
        let _held = self.ranges.shared(0..NO_UNIT);
        let units = layout::units(state.size);
        let mut pages = vec![0; BATCH as usize * UNIT];
        for first in (0..units).step_by(BATCH as usize) {
            let pages = &mut pages[..(units - first).min(BATCH) as usize * UNIT];
            let got = backing::read(state.fd.as_fd(), pages, first * UNIT as u64)?;
            pages[got..].fill(0);
            for (index, page) in (first..).zip(pages.as_chunks::<UNIT>().0) {
                let content = state.content()?;
                let checked = unit::verify(&content.keys, content.id, content.epoch, index, page);
                match checked
                    .map_err(Error::from)
                    .and_then(|valid| state.check_hole(valid))
                {
                    Err(Error::Damaged(damage)) => report(
                        layout::start(index)..layout::start(index + 1).min(state.size),
                        damage,
                    ),
                    opened => drop(opened?),
                }
            }
        }
        Ok(())
    }
}
