//! Bytes of a file with holes: what was never written costs nothing and reads as zeros.
use std::collections::BTreeMap;

const BLOCK: u64 = 4096;

/// A sparse array of bytes.
#[derive(Default)]
pub struct Content {
    size: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

/// One step through a range: block number, where in the block, how many bytes.
fn steps(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + length;
    std::iter::from_fn(move || {
        if at == end {
            return None;
        }
        let inside = at % BLOCK;
        let count = (BLOCK - inside).min(end - at);
        let step = (at / BLOCK, inside as usize, count as usize);
        at += count;
        Some(step)
    })
}

impl Content {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// 512-byte blocks in use.
    pub fn sectors(&self) -> u64 {
        self.blocks.len() as u64 * (BLOCK / 512)
    }

    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let length = self.size.saturating_sub(offset).min(buf.len() as u64);
        let mut done = 0;
        for (block, inside, count) in steps(offset, length) {
            let out = &mut buf[done..done + count];
            match self.blocks.get(&block) {
                Some(bytes) => out.copy_from_slice(&bytes[inside..inside + count]),
                None => out.fill(0),
            }
            done += count;
        }
        done
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        for (block, inside, count) in steps(offset, data.len() as u64) {
            let bytes = self
                .blocks
                .entry(block)
                .or_insert_with(|| vec![0; BLOCK as usize].into_boxed_slice());
            bytes[inside..inside + count].copy_from_slice(&data[done..done + count]);
            done += count;
        }
        self.grow(offset + data.len() as u64);
    }

    /// Makes the file at least this long.
    pub fn grow(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    pub fn truncate(&mut self, size: u64) {
        if size < self.size {
            self.punch(size, self.size - size);
            self.blocks.split_off(&size.div_ceil(BLOCK));
        }
        self.size = size;
    }

    /// The range reads as zeros; whole blocks of it are given back.
    pub fn punch(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(self.stored());
        if end <= offset {
            return;
        }
        let whole = offset.div_ceil(BLOCK)..end / BLOCK;
        if !whole.is_empty() {
            let mut tail = self.blocks.split_off(&whole.start);
            self.blocks.append(&mut tail.split_off(&whole.end));
        }
        for edge in [offset / BLOCK, end / BLOCK] {
            let Some(bytes) = self.blocks.get_mut(&edge) else {
                continue;
            };
            let start = offset.saturating_sub(edge * BLOCK).min(BLOCK) as usize;
            let stop = end.saturating_sub(edge * BLOCK).min(BLOCK) as usize;
            bytes[start..stop].fill(0);
        }
    }

    /// The end of the last stored block: nothing beyond needs punching.
    fn stored(&self) -> u64 {
        self.blocks
            .last_key_value()
            .map_or(0, |(last, _)| (last + 1) * BLOCK)
    }

    /// The first byte at or after `offset` that is stored; `None` if the rest is a hole.
    pub fn data(&self, offset: u64) -> Option<u64> {
        let (block, _) = self.blocks.range(offset / BLOCK..).next()?;
        Some(offset.max(block * BLOCK)).filter(|at| *at < self.size)
    }

    /// The first byte at or after `offset` that is not stored, at the latest the end.
    pub fn hole(&self, offset: u64) -> u64 {
        let mut block = offset / BLOCK;
        while self.blocks.contains_key(&block) {
            block += 1;
        }
        offset.max(block * BLOCK).min(self.size)
    }
}

#[test]
fn content_is_an_array_with_holes() {
    let mut content = Content::default();
    content.write(4090, b"twelve bytes");
    assert_eq!((content.size(), content.sectors()), (4102, 16));
    content.truncate(4092);
    content.grow(9000);
    let mut buf = [1; 12];
    assert_eq!(content.read(4090, &mut buf), 12);
    assert_eq!(&buf, b"tw\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(content.data(5000), None);
    assert_eq!(content.hole(0), 4096);
    content.write(8192, &[7; 5000]);
    content.punch(100, 9000);
    assert_eq!(content.data(101), Some(101), "an edge block stays");
    assert_eq!(content.read(9099, &mut buf), 12);
    assert_eq!(buf, [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
    content.punch(0, u64::MAX / 2);
    assert_eq!((content.size(), content.sectors()), (13192, 0));
}
