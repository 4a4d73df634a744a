//! Length and holes: truncate, punch, zero, reserve; and copying ranges.
use super::{BATCH, INLINE_MAX, PAGE, check_end, page_of, paged};
use crate::codec::InodeRecord;
use crate::fs::{Allocate, Error, NodeId, Result};
use crate::image::core::Core;
use crate::image::inode::INLINE;
use crate::image::items::Items;
use crate::image::key;
use crate::image::store::Gate;
use zeroize::Zeroizing;

/// Groups of pages dropped in one change.
const STEP: usize = 512;
/// Bytes copied by one call.
const COPY: u64 = 16 << 20;

impl Core {
    /// Sets the size; what is added reads as zeros.
    pub fn truncate(&self, ino: NodeId, size: u64) -> Result<()> {
        check_end(size, 0)?;
        let node = self.nodes.get(ino)?;
        let _alone = node.content.write();
        let before = self.store.inode(ino)?.file()?;
        // Setting the size needs room only where it grows; cutting may use the reserve.
        self.finish_cut(ino, &before, size)?;
        let before_size = before.size;
        let growth = (size > before_size).then_some(2);
        let gate = self.store.begin(growth)?;
        self.set_size(&gate, ino, before, size)?;
        gate.change(|change| change.written(ino, false, |_| {}))?;
        drop(gate);
        match size < before_size {
            true => self.reap_cut(ino),
            false => Ok(()),
        }
    }

    /// Sets the size alone. What lies beyond the end of a file that was cut is dropped by [`Core::reap_cut`].
    fn set_size(&self, gate: &Gate<'_>, ino: NodeId, inode: InodeRecord, size: u64) -> Result<()> {
        if !paged(&inode) && size <= INLINE_MAX {
            return self.resize_inline(gate, ino, &inode, size);
        }
        let inode = self.make_paged(gate, ino, inode)?;
        if size < inode.size && !size.is_multiple_of(PAGE as u64) {
            self.zero_in_page(
                gate,
                ino,
                &inode,
                size,
                PAGE - (size % PAGE as u64) as usize,
            )?;
        }
        gate.change(|change| {
            if size < inode.size {
                change.put(&key::orphan(ino), &[])?;
            }
            change.edit(ino, |inode| inode.size = size)
        })
    }

    fn resize_inline(
        &self,
        gate: &Gate<'_>,
        ino: NodeId,
        inode: &InodeRecord,
        size: u64,
    ) -> Result<()> {
        let mut content = Zeroizing::new(self.inline(ino, inode)?);
        gate.change(|change| {
            content.resize(size as usize, 0);
            match size {
                0 => drop(change.remove_chunks(&key::inline(ino))?),
                _ => change.put_chunks(&key::inline(ino), &content)?,
            }
            change.edit(ino, |inode| inode.size = size)
        })
    }

    /// Before a file grows to `end`: what was left beyond its end when a cut failed half-way must not come back.
    pub(super) fn finish_cut(&self, ino: NodeId, inode: &InodeRecord, end: u64) -> Result<()> {
        let grows = paged(inode) && inode.nlink > 0 && end > inode.size;
        match grows && self.store.get(&key::orphan(ino))?.is_some() {
            true => self.reap_cut(ino),
            false => Ok(()),
        }
    }

    /// Drops the pages beyond the end of a file that was cut, step by step. The caller holds the content's lock.
    fn reap_cut(&self, ino: NodeId) -> Result<()> {
        loop {
            let done = self.store.change(None, |change| {
                let mut inode = change.inode(ino)?;
                if paged(&inode) && !change.cut_some(ino, inode.size, STEP)? {
                    return Ok(false);
                }
                if inode.nlink > 0 {
                    change.remove(&key::orphan(ino))?;
                }
                if inode.size == 0 && paged(&inode) {
                    inode = change.inode(ino)?;
                    inode.set(INLINE, true);
                    change.put_inode(ino, &inode)?;
                }
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Zeroes bytes within one page.
    fn zero_in_page(
        &self,
        gate: &Gate<'_>,
        ino: NodeId,
        inode: &InodeRecord,
        offset: u64,
        length: usize,
    ) -> Result<()> {
        let (page, inside) = (page_of(offset), (offset % PAGE as u64) as usize);
        let mut plain = self.old_page(ino, inode, page)?;
        if plain[inside..inside + length].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        plain[inside..inside + length].fill(0);
        self.rewrite_page(gate, ino, page, &plain)
    }

    /// fallocate(2). Space is not kept for the range: pages move whenever they are written. It is asked for, so that a
    /// full volume says so now.
    pub fn allocate(&self, ino: NodeId, how: Allocate, offset: u64, length: u64) -> Result<()> {
        if length == 0 {
            return Err(Error::Invalid);
        }
        let end = check_end(offset, length)?;
        let node = self.nodes.get(ino)?;
        let _alone = node.content.write();
        let inode = self.store.inode(ino)?.file()?;
        self.finish_cut(ino, &inode, end)?;
        let grow = match how {
            Allocate::Reserve { keep_size } | Allocate::Zero { keep_size } => !keep_size,
            Allocate::Punch => false,
        };
        if matches!(how, Allocate::Reserve { .. }) {
            drop(self.store.begin(Some(length / PAGE as u64 + 2))?);
        } else {
            self.clear(ino, offset, end.min(inode.size))?;
        }
        let gate = self.store.begin(grow.then_some(2))?;
        if grow && end > inode.size {
            self.set_size(&gate, ino, self.store.inode(ino)?, end)?;
        }
        gate.change(|change| change.written(ino, false, |_| {}))
    }

    /// Makes a range inside the file read as zeros; whole pages become holes.
    fn clear(&self, ino: NodeId, offset: u64, end: u64) -> Result<()> {
        if offset >= end {
            return Ok(());
        }
        let inode = self.store.inode(ino)?;
        let gate = self.store.begin(None)?;
        if !paged(&inode) {
            let mut content = Zeroizing::new(self.inline(ino, &inode)?);
            content[offset as usize..end as usize].fill(0);
            return gate.change(|change| change.put_chunks(&key::inline(ino), &content));
        }
        let size = PAGE as u64;
        // The last page of a file is whole: what lies beyond the end is zeros already.
        let whole_end = if end == inode.size {
            end.div_ceil(size)
        } else {
            end / size
        };
        let whole = offset.div_ceil(size)..whole_end;
        let head_end = (whole.start * size).min(end);
        if offset < head_end {
            self.zero_in_page(&gate, ino, &inode, offset, (head_end - offset) as usize)?;
        }
        let tail = (whole.end * size).max(head_end);
        if tail < end {
            self.zero_in_page(&gate, ino, &inode, tail, (end - tail) as usize)?;
        }
        drop(gate);
        let mut next = Some(whole.start).filter(|_| !whole.is_empty());
        while let Some(first) = next {
            next = self.store.change(None, |change| {
                change.clear_some(ino, first, whole.end, STEP)
            })?;
        }
        Ok(())
    }

    /// Copies a range between two files, or within one; returns the bytes copied.
    pub fn copy(&self, from: (NodeId, u64), to: (NodeId, u64), length: u64) -> Result<u64> {
        let size = self.store.inode(from.0)?.file()?.size;
        self.store.inode(to.0)?.file()?;
        let count = size.saturating_sub(from.1).min(length);
        if count == 0 {
            return Ok(0);
        }
        if from.0 == to.0 && from.1 < to.1 + count && to.1 < from.1 + count {
            return Err(Error::Invalid);
        }
        check_end(to.1, count)?;
        let mut done = 0;
        let mut buf = Zeroizing::new(vec![0; (BATCH * PAGE as u64).min(count) as usize]);
        while done < count.min(COPY) {
            let step = (buf.len() as u64).min(count - done) as usize;
            let read = self.read(from.0, from.1 + done, &mut buf[..step])?;
            if read == 0 {
                break;
            }
            self.write(to.0, to.1 + done, &buf[..read], false)?;
            done += read as u64;
        }
        Ok(done)
    }
}
