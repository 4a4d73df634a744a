//! Replacing all of a small file by one write: it gets a new file id.
//!
//! Someone who can change the backing store may copy one backing file over another. Both then have one file id, and single
//! units of one fit into the other. A file that is written as a whole leaves that state: cut to nothing it loses its id
//! anyway, and a file of one unit gets a new one here, where a single page write does it. Larger files keep their id when
//! they are overwritten in place, for between the first and the last of their units a power cut could leave two ids.
use super::*;

impl State {
    /// True if a write of `length` bytes at `offset` replaces all of a file of one unit, which still has one afterwards.
    pub(super) fn replaces(&self, offset: u64, length: usize) -> bool {
        let (size, length) = (self.size, length as u64);
        let all = offset == 0 && length >= size && layout::units(length) == 1;
        all && size > 0 && self.writable && self.content.is_some()
    }

    /// Writes `data` as all of the file, under a new id.
    pub(super) fn replace(&mut self, store: &Store, data: &[u8]) -> Result<()> {
        let old = self.content.take();
        let replaced = self.write_anew(store, data);
        if replaced.is_err() {
            self.content = old;
        }
        replaced
    }

    fn write_anew(&mut self, store: &Store, data: &[u8]) -> Result<()> {
        self.begin(store)?;
        let (valid, size) = (layout::HEADER + data.len(), data.len() as u64);
        let (mut payload, mut page) = ([0; PAYLOAD], [0; UNIT]);
        payload[layout::HEADER..valid].copy_from_slice(data);
        self.seal_unit(store, 0, valid, size, &mut payload, &mut page)?;
        self.edge.get_mut().unit = NO_UNIT;
        store.backing.write(self.fd.as_fd(), &page, 0)?;
        self.size = size;
        self.length = self.length.max(UNIT as u64);
        Ok(())
    }
}
