//! Where data lies (SEEK_DATA, SEEK_HOLE), told in blocks of 4096 bytes.
//!
//! Units hold 4064 bytes each, so that the data on the disk begins and ends between the blocks that programs write. What they
//! are told begins and ends at blocks: the edge of a unit that holds nothing but zeros counts as a hole, which is true (unit 0
//! is always there, for the header), and any other edge counts as data up to the block's, which is true as well.
use super::*;
use crate::fs::Whence;

/// Programs expect data to begin and end at multiples of this.
const BLOCK: u64 = 4096;
/// How far before a place a unit may lie and still be told to reach it.
const REACH: u64 = 2;

impl File {
    /// The next data or hole at or after `offset`.
    pub fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        let state = self.state.read();
        if offset >= state.size {
            return Err(Error::NoSuchAddress);
        }
        let _held = self.ranges.shared(0..NO_UNIT); // the units at the edges are read
        match whence {
            Whence::Data if !state.is_hole() => Ok(offset),
            Whence::Hole if !state.is_hole() => Ok(state.size),
            Whence::Data => state.next_data(offset)?.ok_or(Error::NoSuchAddress),
            Whence::Hole => state.next_hole(offset),
        }
    }
}

impl State {
    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        let mut unit = layout::locate(offset).0.saturating_sub(REACH);
        while let Some(units) = self.stored(unit)? {
            let told = self.told(&units);
            if told.start.max(offset) < told.end {
                return Ok(Some(told.start.max(offset)));
            }
            unit = units.end;
        }
        Ok(None)
    }

    fn next_hole(&self, mut offset: u64) -> Result<u64> {
        let mut unit = layout::locate(offset).0.saturating_sub(REACH);
        while let Some(units) = self.stored(unit)? {
            let told = self.told(&units);
            if !told.is_empty() {
                if told.start > offset {
                    break;
                }
                offset = offset.max(told.end);
            }
            unit = units.end;
        }
        Ok(offset.min(self.size))
    }

    /// The next units at or after `unit` that the backing store holds.
    fn stored(&self, unit: u64) -> Result<Option<Range<u64>>> {
        let end = layout::units(self.size);
        Ok(backing::next_data(self.fd.as_fd(), unit, end, UNIT as u64)?)
    }

    /// What programs are told of units that are stored.
    fn told(&self, units: &Range<u64>) -> Range<u64> {
        let (start, end) = (
            layout::start(units.start),
            layout::start(units.end).min(self.size),
        );
        let (down, up) = (start / BLOCK * BLOCK, (start / BLOCK + 1) * BLOCK);
        let begin = match self.is_zero(start..up.min(end)) {
            true => up,
            false => down,
        };
        let (down, up) = (end / BLOCK * BLOCK, end.next_multiple_of(BLOCK));
        let stop = match self.is_zero(down.max(start)..end) {
            true => down,
            false => up,
        };
        begin..stop.min(self.size).max(begin)
    }

    /// True if a range holds nothing but zeros. A unit that cannot be read holds something.
    fn is_zero(&self, range: Range<u64>) -> bool {
        let mut payload = [0; PAYLOAD];
        let mut at = range.start;
        while at < range.end {
            let (unit, from) = layout::locate(at);
            let end = layout::start(unit + 1).min(range.end);
            let part = from..from + (end - at) as usize; // at most PAYLOAD
            let loaded = self.load_unit(unit, &mut payload);
            if loaded.is_err() || payload[part].iter().any(|byte| *byte != 0) {
                return false;
            }
            at = end;
        }
        true
    }
}
