//! Reading: neighbouring pages of the image by one call each, decrypted straight into the caller's buffer.
use super::{BATCH, extents, page_of, paged};
use crate::codec::InodeRecord;
use crate::fs::{Damage, Error, NodeId, Result, Whence};
use crate::image::core::Core;
use crate::image::items::Items;
use crate::image::key;
use crate::image::layout::PAGE;
use crate::image::pointer::Pointer;
use zeroize::Zeroizing;

impl Core {
    /// Reads; fewer bytes than asked only at the end of the file.
    pub fn read(&self, ino: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.nodes.get(ino)?;
        let shared = {
            let _shared = node.content.read();
            self.read_now(ino, offset, buf)
        };
        let (inode, count) = match shared {
            // Or the page was replaced after its pointer was looked up, and its place taken again.
            Err(Error::Damaged(Damage::Tag)) => {
                let _alone = node.content.write();
                self.read_now(ino, offset, buf)?
            }
            read => read?,
        };
        self.accessed(ino, &inode);
        Ok(count)
    }

    fn read_now(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<(InodeRecord, usize)> {
        let inode = self.store.inode(ino)?.file()?;
        let count = inode.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        self.read_in(ino, &inode, offset, &mut buf[..count])?;
        Ok((inode, count))
    }

    /// Reads what lies inside the file. The caller holds the content's lock.
    pub(super) fn read_in(
        &self,
        ino: NodeId,
        inode: &InodeRecord,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        if !paged(inode) {
            let all = Zeroizing::new(self.inline(ino, inode)?);
            let from = all.get(offset as usize..).unwrap_or_default();
            let count = from.len().min(buf.len());
            buf[..count].copy_from_slice(&from[..count]);
            buf[count..].fill(0);
            return Ok(());
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let room = BATCH * PAGE as u64 - at % PAGE as u64;
            let (now, later) = rest.split_at_mut(rest.len().min(room as usize));
            self.read_batch(ino, at, now)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn read_batch(&self, ino: NodeId, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (first, last) = (page_of(offset), page_of(offset + buf.len() as u64 - 1));
        let pointers = extents::pointers(&self.store, ino, first, last)?;
        let mut cipher = self.buffer(pointers.len() * PAGE);
        let mut index = 0;
        while index < pointers.len() {
            let run = run(&pointers[index..]);
            if let Some(at) = &pointers[index] {
                self.store
                    .ground
                    .pages
                    .device
                    .read(at.page, &mut cipher[..run * PAGE])?;
            }
            for step in 0..run {
                let page = first + (index + step) as u64;
                let sealed = &cipher[step * PAGE..(step + 1) * PAGE];
                self.open_part(pointers[index + step].as_ref(), sealed, page, (offset, buf))?;
            }
            index += run;
        }
        self.give_buffer(cipher);
        Ok(())
    }

    /// Opens a page into that part of a buffer, which begins at an offset of the file, where it belongs.
    fn open_part(
        &self,
        at: Option<&Pointer>,
        sealed: &[u8],
        page: u64,
        (offset, buf): (u64, &mut [u8]),
    ) -> Result<()> {
        let start = page * PAGE as u64;
        let skip = offset.saturating_sub(start) as usize;
        let place = start.saturating_sub(offset) as usize;
        let count = (PAGE - skip).min(buf.len() - place);
        let out = &mut buf[place..place + count];
        match at {
            None => out.fill(0),
            Some(at) if count == PAGE => self.store.ground.pages.open(at, sealed, out)?,
            Some(at) => {
                let mut plain = Zeroizing::new([0; PAGE]);
                self.store.ground.pages.open(at, sealed, &mut plain[..])?;
                out.copy_from_slice(&plain[skip..skip + count]);
            }
        }
        Ok(())
    }

    /// The next data or hole at or after `offset`.
    pub fn seek(&self, ino: NodeId, offset: u64, whence: Whence) -> Result<u64> {
        let node = self.nodes.get(ino)?;
        let _shared = node.content.read();
        let inode = self.store.inode(ino)?.file()?;
        if offset >= inode.size {
            return Err(Error::NoSuchAddress);
        }
        if !paged(&inode) {
            return Ok(match whence {
                Whence::Data => offset,
                Whence::Hole => inode.size,
            });
        }
        let found = match whence {
            Whence::Data => self.next_data(ino, page_of(offset))?,
            Whence::Hole => Some(self.next_hole(ino, page_of(offset))?),
        };
        let found = found.map(|page| offset.max(page.saturating_mul(PAGE as u64)));
        match (found.filter(|at| *at < inode.size), whence) {
            (Some(at), _) => Ok(at),
            (None, Whence::Hole) => Ok(inode.size),
            (None, Whence::Data) => Err(Error::NoSuchAddress),
        }
    }

    fn next_data(&self, ino: NodeId, first: u64) -> Result<Option<u64>> {
        let mut found = None;
        let from = key::extent(ino, first / extents::GROUP);
        self.store
            .each(&key::extents(ino), &from, &mut |key, value| {
                found = extents::pages(key, value)?
                    .filter(|(page, at)| *page >= first && at.is_some())
                    .map(|(page, _)| page)
                    .next();
                Ok(found.is_some())
            })?;
        Ok(found)
    }

    fn next_hole(&self, ino: NodeId, first: u64) -> Result<u64> {
        let mut next = first;
        let from = key::extent(ino, first / extents::GROUP);
        self.store
            .each(&key::extents(ino), &from, &mut |key, value| {
                for (page, at) in extents::pages(key, value)? {
                    if page > next || page == next && at.is_none() {
                        return Ok(true);
                    }
                    next += u64::from(page == next);
                }
                Ok(false)
            })?;
        Ok(next)
    }
}

/// How many of the pointers lie in neighbouring pages, or are holes.
fn run(pointers: &[Option<Pointer>]) -> usize {
    let follows = |(step, at): &(usize, &Option<Pointer>)| match (pointers[0], at) {
        (Some(first), Some(at)) => at.page == first.page + *step as u64,
        (first, at) => first.is_none() && at.is_none(),
    };
    pointers.iter().enumerate().take_while(follows).count()
}
