//! Reading: whole units come in by one system call and are opened straight into the caller's buffer.
use super::*;

impl File {
    /// Reads at `offset`; fewer bytes than asked only at the end of the file. Damage anywhere in the range is an error: a
    /// short answer would read as the end of the file.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let state = self.state.read();
        let length = state.size.saturating_sub(offset).min(buf.len() as u64) as usize; // at most buf.len()
        let mut done = 0;
        while done < length {
            done += state.read_batch(&self.ranges, offset + done as u64, &mut buf[done..length])?;
        }
        Ok(length)
    }
}

impl State {
    /// Reads as much of `buf` as one batch of units holds.
    fn read_batch(&self, ranges: &RangeLock, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (first, within) = layout::locate(offset);
        let (last, _) = layout::locate(offset + buf.len() as u64 - 1);
        let count = (last - first + 1).min(BATCH);
        let _held = ranges.shared(first..first + count);
        if first == last {
            let edge = self.edge.lock();
            if edge.unit == first {
                buf.copy_from_slice(&edge.payload[within..within + buf.len()]);
                return Ok(buf.len());
            }
        }
        PAGES.with_borrow_mut(|pages| {
            let pages = &mut pages[..count as usize * UNIT];
            let got = backing::read(self.fd.as_fd(), pages, first * UNIT as u64)?;
            pages[got..].fill(0);
            self.open_pages(first, pages, within, buf)
        })
    }

    /// Opens units into `buf`, the first from payload offset `within`; returns the bytes written.
    fn open_pages(
        &self,
        first: u64,
        pages: &[u8],
        mut within: usize,
        buf: &mut [u8],
    ) -> Result<usize> {
        let mut done = 0;
        for (index, page) in (first..).zip(pages.as_chunks::<UNIT>().0) {
            let length = (PAYLOAD - within).min(buf.len() - done);
            self.open_page(index, page, within, &mut buf[done..done + length])?;
            done += length;
            within = 0;
        }
        Ok(done)
    }
}
