//! What a backing file holds: whose units, how much of them, and their plaintext.
use crate::directory::backing;
use crate::directory::file::hint::{self, Step};
use crate::directory::layout::{self, Header};
use crate::directory::unit::{self, FileId, Head, PAYLOAD, UNIT};
use crate::fs::{Damage, Progress};
use crate::volume::keys::{Epoch, FileKeys, Keys};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// Units read at once.
const BATCH: u64 = 256;

/// A file, known by at least one unit of its own.
pub struct Identity {
    id: FileId,
    epoch: Epoch,
    keys: FileKeys,
    /// What unit 0 says, where it is intact.
    pub header: Option<Header>,
    /// What the last unit says of where it was, the file's own name first.
    pub steps: Vec<Step>,
    /// Plaintext bytes that it had, as far as can be told.
    pub size: u64,
    /// Whole units that are there.
    units: u64,
}

impl Identity {
    /// By the first unit that authenticates; `None` where none does.
    pub fn of(keys: &Keys, fd: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let length = backing::stat(backing::Object::Open(fd))?.stx_size;
        let units = length / UNIT as u64;
        for index in backing::data(fd, units, UNIT as u64)?.into_iter().flatten() {
            let page = read_page(fd, index);
            let Some((head, keys)) = page.and_then(|page| own(keys, index, &page)) else {
                continue;
            };
            let mut identity = Self {
                id: head.id,
                epoch: head.epoch,
                keys,
                header: None,
                steps: Vec::new(),
                size: 0,
                units,
            };
            let mut payload = [0; PAYLOAD];
            if identity
                .open(fd, 0, &mut payload)
                .is_ok_and(|valid| valid > 0)
            {
                identity.header = Header::parse(&payload).ok();
            }
            identity.measure(fd, length)?;
            return Ok(Some(identity));
        }
        Ok(None)
    }

    /// A name for a file that lost its own.
    pub fn name(&self) -> String {
        hex(&self.id.0)
    }

    /// Size and hint, by the last unit. Where the file does not end as cryptfs ends one, it was cut, and unit 0 says how long
    /// it was when it was last closed.
    fn measure(&mut self, fd: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        let claimed = layout::claimed_size(length);
        let closed = self.header.map_or(0, |header| header.length);
        let last = self.units.saturating_sub(1);
        let mut payload = [0; PAYLOAD];
        self.size = match self.open(fd, last, &mut payload) {
            Ok(0) if self.is_sparse() => claimed,
            Ok(0) => self.written(fd)?.max(closed).min(claimed),
            Ok(valid) => {
                self.steps = hint::read(&payload, valid);
                let proven = layout::start(last + 1).saturating_sub((PAYLOAD - valid) as u64);
                match proven == claimed {
                    true if !length.is_multiple_of(UNIT as u64) => claimed,
                    _ => proven.max(closed),
                }
            }
            Err(_) => claimed.max(closed),
        };
        Ok(())
    }

    /// The end of what was written, where pages at the end never were.
    fn written(&self, fd: BorrowedFd<'_>) -> io::Result<u64> {
        let mut payload = [0; PAYLOAD];
        for index in backing::data(fd, self.units, UNIT as u64)?
            .into_iter()
            .rev()
            .flat_map(Iterator::rev)
        {
            match self.open(fd, index, &mut payload) {
                Ok(0) => {}
                Ok(valid) => {
                    return Ok(layout::start(index + 1).saturating_sub((PAYLOAD - valid) as u64));
                }
                Err(_) => return Ok(layout::start(index + 1)),
            }
        }
        Ok(0)
    }

    fn is_sparse(&self) -> bool {
        self.header.is_some_and(|header| header.sparse)
    }

    fn open(
        &self,
        fd: BorrowedFd<'_>,
        index: u64,
        payload: &mut [u8; PAYLOAD],
    ) -> Result<usize, Damage> {
        let page = read_page(fd, index).ok_or(Damage::Missing)?;
        // The hint lies behind the bytes in use: all of the payload is wanted.
        let valid = unit::verify(&self.keys, self.id, self.epoch, index, &page)?;
        if valid > 0 {
            unit::decrypt(&self.keys, index, &page, payload);
        }
        Ok(valid)
    }

    /// Writes the plaintext to `to`. The ranges that are lost, which are zeros there.
    pub fn copy(
        &self,
        fd: BorrowedFd<'_>,
        to: &File,
        buffers: &mut Buffers,
        progress: &dyn Progress,
    ) -> io::Result<Vec<Range<u64>>> {
        to.set_len(self.size)?;
        let mut lost = Vec::new();
        let mut at = 0;
        for extent in backing::data(fd, self.units, UNIT as u64)? {
            self.absent(at..extent.start, &mut lost, progress);
            at = extent.end;
            for first in extent.clone().step_by(BATCH as usize) {
                let batch = first..extent.end.min(first + BATCH);
                self.batch(fd, batch, to, buffers, &mut lost)?;
                progress.done((extent.end.min(first + BATCH) - first) * UNIT as u64);
            }
        }
        self.absent(at..self.units, &mut lost, progress);
        // Past what is there: the file was cut.
        lose(&mut lost, layout::start(self.units)..self.size);
        Ok(lost)
    }

    /// Pages that the backing store does not hold: holes, if the file says that it has some.
    fn absent(&self, units: Range<u64>, lost: &mut Vec<Range<u64>>, progress: &dyn Progress) {
        if !self.is_sparse() && !units.is_empty() {
            lose(
                lost,
                layout::start(units.start)..layout::start(units.end).min(self.size),
            );
        }
        progress.done((units.end - units.start) * UNIT as u64);
    }

    fn batch(
        &self,
        fd: BorrowedFd<'_>,
        units: Range<u64>,
        to: &File,
        buffers: &mut Buffers,
        lost: &mut Vec<Range<u64>>,
    ) -> io::Result<()> {
        let count = (units.end - units.start) as usize; // at most BATCH
        let pages = &mut buffers.pages[..count * UNIT];
        let whole = backing::read(fd, pages, units.start * UNIT as u64)
            .is_ok_and(|read| read == count * UNIT);
        let from = layout::start(units.start);
        for (index, page) in units.clone().zip(pages.as_chunks_mut::<UNIT>().0) {
            let skip = if index == 0 { layout::HEADER } else { 0 };
            let range = layout::start(index)..layout::start(index + 1).min(self.size);
            if range.is_empty() {
                continue;
            }
            let out = &mut buffers.plain[(range.start - from) as usize..][..PAYLOAD - skip];
            // A disk that cannot read one page of a batch may still read the others.
            let readable = whole || read_page(fd, index).map(|again| *page = again).is_some();
            let opened = unit::open(&self.keys, self.id, self.epoch, index, page, skip, out);
            let good = matches!(opened, Ok(valid) if valid > 0 || self.is_sparse());
            if !readable || !good {
                out.fill(0);
                // Another file's unit, or a page of zeros, would only give noise.
                let damaged = matches!(opened, Err(Damage::Tag | Damage::Malformed));
                if readable && damaged && buffers.unverified {
                    let mut payload = [0; PAYLOAD];
                    unit::decrypt(&self.keys, index, page, &mut payload);
                    out.copy_from_slice(&payload[skip..]);
                }
                lose(lost, range);
            }
        }
        let length = layout::start(units.end).min(self.size).saturating_sub(from) as usize;
        to.write_all_at(&buffers.plain[..length], from)
    }
}

/// What a thread reads into and decrypts to.
pub struct Buffers {
    /// Where a unit does not authenticate, take what it decrypts to (a flipped bit costs 16 bytes) and not zeros. It is
    /// reported as lost all the same.
    unverified: bool,
    pages: Vec<u8>,
    plain: Vec<u8>,
}

impl Buffers {
    /// For one thread.
    pub fn new(unverified: bool) -> Self {
        Self {
            unverified,
            pages: vec![0; BATCH as usize * UNIT],
            plain: vec![0; BATCH as usize * PAYLOAD],
        }
    }
}

/// Bytes as hexadecimal digits: how what has no name is called.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The keys of the file that this page is an authentic unit of.
fn own(keys: &Keys, index: u64, page: &[u8; UNIT]) -> Option<(Head, FileKeys)> {
    let head = Head::parse(page).ok()??;
    let keys = keys.file(head.epoch, &head.id.0)?;
    let valid = unit::verify(&keys, head.id, head.epoch, index, page).ok()?;
    (valid > 0).then_some((head, keys))
}

fn read_page(fd: BorrowedFd<'_>, index: u64) -> Option<[u8; UNIT]> {
    let mut page = [0; UNIT];
    let read = backing::read(fd.as_fd(), &mut page, index * UNIT as u64).ok()?;
    (read == UNIT).then_some(page)
}

/// Neighbouring ranges become one.
fn lose(lost: &mut Vec<Range<u64>>, range: Range<u64>) {
    if range.start >= range.end {
        return;
    }
    match lost.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => lost.push(range),
    }
}
