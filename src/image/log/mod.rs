//! The log: what changed since the last superblock. An fsync adds a record to it instead of writing every node between the
//! changed items and the root, and flushes once instead of twice.
//!
//! ```text
//!    0  tag          16   of the 4080 bytes that follow: index = the page, head = the superblock's generation (8), 4, and the
//!                         first 7 bytes of its tag
//!   16  ciphertext 4080   one XTS data unit, tweak = the page's number in its scope, of
//!         0  previous    16   tag of the log's page before this one; of the superblock in the first
//!        16  generation   8   of the record
//!        24  next inode   8   number of the next new inode
//!        32  length       2   bytes of items
//!        34  goes on      1   1: the record goes on in the next page; else 0
//!        35  zero         5
//!        40  items            see `record`; zeros up to the end
//! ```
//!
//! The log of a superblock begins where that superblock says, goes round in an area of its own, and takes no more than half of
//! it: so it is whole until the next superblock is durable. Each record is the next generation. It counts if all
//! its pages and those before it are there. Who writes one has flushed the one before; so of the last record alone it
//! is not known whether the content that it refers to is durable, and it counts if every page of that content is
//! there ([`mod@replay`]).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`record`] | what changed, as bytes |
//! | [`touched`] | what changed, while it does |
//! | `replay` | bringing a tree up to date |
pub mod record;
mod replay;
pub mod touched;

pub use replay::replay;

use super::layout::{self, PAGE};
use super::pages::Pages;
use super::superblock::{Superblock, TAG};
use crate::crypto::digest;
use crate::fs::{Damage, Result};
use record::{BODY, Record};

/// The log of a superblock, as far as it goes.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Generation and tag of the superblock.
    superblock: (u64, [u8; TAG]),
    /// Pages of the area; 0: the image has none.
    area: u64,
    /// Where in the area the log begins.
    start: u64,
    /// Pages that it has.
    used: u64,
    /// The tag of the last.
    previous: [u8; TAG],
    /// The newest generation of which any page is there: that of the last record, or of one that was not finished, or, after
    /// damage, of one that does not count because records before it are missing.
    newest: u64,
    broken: bool,
}

impl Log {
    /// The empty log of a superblock with this tag.
    pub fn new(superblock: &Superblock, tag: [u8; TAG]) -> Self {
        Self {
            superblock: (superblock.generation, tag),
            newest: superblock.generation,
            area: superblock.log,
            start: superblock.log_start,
            previous: tag,
            ..Self::default()
        }
    }

    /// That of an image without any superblock yet.
    pub fn before_all(area: u64) -> Self {
        Self {
            area,
            ..Self::default()
        }
    }

    /// Pages of the area, and where in it the log of the next superblock begins.
    pub fn next(&self) -> (u64, u64) {
        match self.area {
            0 => (0, 0),
            area => (area, (self.start + self.used) % area),
        }
    }

    /// The newest generation of which there is anything.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether there is more than the superblock.
    pub fn is_begun(&self) -> bool {
        self.newest > self.superblock.0
    }

    /// Whether a record is missing that was durable: there are pages of one after it.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes of items for which there is room in the next record, about. One that takes more than a sixteenth of the area is not
    /// worth it: the commit that comes some seconds later costs as much.
    pub fn room(&self) -> usize {
        let pages = (self.area / 16).min(self.area / 2 - self.used);
        pages as usize * (BODY - record::START)
    }

    /// Adds a record; false, and nothing written, if there is no room. Does not flush.
    pub fn append(&mut self, pages: &Pages, record: &Record) -> Result<bool> {
        let mut bodies = record.encode();
        let count = bodies.len() as u64;
        if self.used + count > self.area / 2 {
            return Ok(false);
        }
        let mut after = self.clone();
        let mut sealed = vec![0; bodies.len() * PAGE];
        for (body, sealed) in bodies.iter_mut().zip(sealed.chunks_exact_mut(PAGE)) {
            body.chain(&after.previous);
            let page = after.place(after.used);
            let keys = pages.keys(pages.volume_keys().current(), page)?;
            let (tag, cipher) = sealed.split_at_mut(TAG);
            keys.xts.encrypt(page, body.bytes(), cipher);
            after.previous = keys.tag.tag(page, &self.head(), cipher);
            tag.copy_from_slice(&after.previous);
            after.used += 1;
        }
        let first = self.place(self.used);
        let before_end = (layout::LOG + self.area - first).min(count) as usize;
        let (one, other) = sealed.split_at(before_end * PAGE);
        pages.device.write(first, one)?;
        if !other.is_empty() {
            pages.device.write(layout::LOG, other)?;
        }
        *self = after;
        Ok(true)
    }

    /// The log of a superblock with this tag, and the records in it. One that has been begun counts as full: it is not known what
    /// else of it may still be there, and it is not gone on with.
    pub fn read(
        pages: &Pages,
        superblock: &Superblock,
        tag: [u8; TAG],
    ) -> Result<(Self, Vec<Record>)> {
        let (mut log, mut records) = (Self::new(superblock, tag), Vec::new());
        while let Some(record) = log.read_record(pages)? {
            log.newest += 1;
            if record.generation != log.newest {
                return Err(Damage::Malformed.into());
            }
            records.push(record);
        }
        let last = log.newest;
        for place in log.used..log.area / 2 {
            if let Some(body) = log.open(pages, place)? {
                log.newest = log.newest.max(body.generation());
            }
        }
        log.broken = log.newest > last + 1;
        if log.is_begun() {
            log.used = log.area / 2;
        }
        Ok((log, records))
    }

    /// The next record, if all of it is there.
    fn read_record(&mut self, pages: &Pages) -> Result<Option<Record>> {
        let mut after = self.clone();
        let mut bodies = Vec::new();
        loop {
            if after.used >= self.area / 2 {
                return Ok(None);
            }
            match after.open(pages, after.used)? {
                Some(body) if body.previous() == after.previous => {
                    after.previous = body.tag;
                    after.used += 1;
                    let goes_on = body.goes_on();
                    bodies.push(body);
                    if !goes_on {
                        break;
                    }
                }
                _ => return Ok(None),
            }
        }
        *self = after;
        Record::decode(&bodies).map(Some)
    }

    /// A page of the log, if it is one of this superblock's.
    fn open(&self, pages: &Pages, place: u64) -> Result<Option<record::Body>> {
        let page = self.place(place);
        let mut sealed = [0; PAGE];
        pages.device.read(page, &mut sealed)?;
        let (tag, cipher) = sealed.split_at(TAG);
        for epoch in pages.volume_keys().epochs() {
            let keys = pages.keys(epoch, page)?;
            if digest::equal(tag, &keys.tag.tag(page, &self.head(), cipher)) {
                let mut plain = [0; BODY];
                keys.xts.decrypt(page, cipher, &mut plain);
                return record::Body::parse(plain, tag).map(Some);
            }
        }
        Ok(None)
    }

    fn place(&self, at: u64) -> u64 {
        layout::LOG + (self.start + at) % self.area
    }

    fn head(&self) -> [u8; 16] {
        let mut head = [0; 16];
        let (generation, tag) = &self.superblock;
        head[..8].copy_from_slice(&generation.to_le_bytes());
        head[8] = 4;
        head[9..].copy_from_slice(&tag[..7]);
        head
    }
}
