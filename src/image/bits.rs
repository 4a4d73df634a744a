//! A set of pages of an image.
use std::ops::Range;

/// Pages that share a word.
pub const WORD: u64 = 64;

/// A bit for each page.
#[derive(Clone)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// No page.
    pub fn new(pages: u64) -> Self {
        Self(vec![0; pages.div_ceil(64) as usize])
    }

    /// Whether a page of the image is in it.
    pub fn get(&self, page: u64) -> bool {
        self.0[(page / 64) as usize] >> (page % 64) & 1 == 1
    }

    /// The first page of a range that is not in it.
    pub fn first_clear(&self, range: Range<u64>) -> Option<u64> {
        let mut page = range.start;
        while page < range.end {
            let rest = !self.0[(page / 64) as usize] >> (page % 64);
            match rest {
                0 => page = (page / 64 + 1) * 64,
                _ => {
                    let found = page + u64::from(rest.trailing_zeros());
                    return (found < range.end).then_some(found);
                }
            }
        }
        None
    }

    /// Puts a page of the image in or takes it out.
    pub fn set(&mut self, page: u64, value: bool) {
        let word = &mut self.0[(page / 64) as usize];
        *word = *word & !(1 << (page % 64)) | u64::from(value) << (page % 64);
    }

    /// Pages of a range that are in it.
    pub fn count(&self, range: Range<u64>) -> u64 {
        if range.start.is_multiple_of(64) && range.end.is_multiple_of(64) {
            let words = &self.0[(range.start / 64) as usize..(range.end / 64) as usize];
            return words.iter().map(|word| u64::from(word.count_ones())).sum();
        }
        range.filter(|page| self.get(*page)).count() as u64
    }

    /// Puts pages in, as [`Bits::bytes`] gave them, from a page on that begins a word. What lies outside is ignored.
    pub fn add(&mut self, first: u64, bytes: &[u8]) {
        let first = usize::try_from(first / WORD).unwrap_or(usize::MAX);
        let words = self.0.iter_mut().skip(first).zip(bytes.chunks_exact(8));
        for (word, bytes) in words {
            *word |= u64::from_le_bytes(std::array::from_fn(|i| bytes[i]));
        }
    }

    /// Pages from one on that begins a word, as so many bytes: the first page is the lowest bit.
    pub fn bytes(&self, first: u64, count: usize) -> Vec<u8> {
        let words = self.0.iter().skip((first / WORD) as usize);
        let mut bytes: Vec<u8> = words
            .take(count / 8)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.resize(count, 0);
        bytes
    }

    /// Whether any page that shares a word with this one is in it.
    pub fn has_any(&self, page: u64) -> bool {
        self.0[(page / WORD) as usize] != 0
    }

    /// Takes out what lies beyond the end.
    pub fn clip(&mut self, pages: u64) {
        self.0.truncate(pages.div_ceil(64) as usize);
        if let (Some(last), 1..) = (self.0.last_mut(), pages % 64) {
            *last &= (1 << (pages % 64)) - 1;
        }
    }

    /// As many pages as that.
    pub fn resize(&mut self, pages: u64) {
        self.clip(pages);
        self.0.resize(pages.div_ceil(64) as usize, 0);
    }
}
