//! A file's content, up to the last byte that can be had.
use super::*;

/// Where a chunk has damage in it, it is read in halves down to this: the boundaries of a directory volume's units (every
/// 4064 bytes, from 64 bytes before the file's first) and of an image's pages are multiples of it, so that not a byte too
/// many is given up.
const GRAIN: usize = 32;

/// A file that is being copied.
struct Open<'a> {
    node: NodeId,
    handle: Handle,
    to: &'a File,
}

impl Run<'_> {
    pub(super) fn file(
        &mut self,
        entry: &Entry,
        handle: Handle,
        to: &File,
    ) -> Result<Vec<Range<u64>>, Error> {
        let size = entry.attr.size;
        to.set_len(size)?;
        let node = entry.node;
        let file = Open { node, handle, to };
        let mut missing = Vec::new();
        let mut at = 0;
        while at < size {
            let data = match self.from.lseek(node, handle, at, Whence::Data) {
                Ok(data) => data.clamp(at, size),
                Err(Error::NoSuchAddress) => size,
                Err(_) => at, // a file system that cannot tell: all of it is data
            };
            let end = match self.from.lseek(node, handle, data, Whence::Hole) {
                Ok(hole) if hole > data => hole.min(size),
                _ => size,
            };
            self.progress.done(data - at);
            self.range(&file, data..end, &mut missing)?;
            at = end;
        }
        Ok(missing)
    }

    fn range(
        &mut self,
        file: &Open<'_>,
        range: Range<u64>,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + CHUNK as u64);
            self.piece(file, at..end, missing)?;
            self.progress.done(end - at);
            at = end;
        }
        Ok(())
    }

    /// Reads a piece, or its halves, down to the last bytes that can be had.
    fn piece(
        &mut self,
        file: &Open<'_>,
        range: Range<u64>,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<(), Error> {
        let length = (range.end - range.start) as usize; // at most CHUNK
        match self.from.read(
            file.node,
            file.handle,
            range.start,
            &mut self.buffer[..length],
        ) {
            Ok(read) => {
                file.to.write_all_at(&self.buffer[..read], range.start)?;
                if read < length {
                    lose(missing, range.start + read as u64..range.end);
                }
                Ok(())
            }
            Err(_) if length <= GRAIN => {
                lose(missing, range);
                Ok(())
            }
            Err(_) => {
                let middle = range.start + (length / 2).next_multiple_of(GRAIN) as u64;
                self.piece(file, range.start..middle, missing)?;
                self.piece(file, middle..range.end, missing)
            }
        }
    }
}

/// Neighbouring ranges become one.
fn lose(missing: &mut Vec<Range<u64>>, range: Range<u64>) {
    match missing.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => missing.push(range),
    }
}
