//! Writing: new pages for what is written, then the pointers to them.
use super::{BATCH, INLINE_MAX, check_end, extents, page_of, paged};
use crate::codec::InodeRecord;
use crate::fs::{Error, NodeId, Result};
use crate::image::core::Core;
use crate::image::ground::is_full;
use crate::image::inode::{self, CAPABILITY, INLINE};
use crate::image::items::Items;
use crate::image::key;
use crate::image::layout::PAGE;
use crate::image::pointer::{Kind, Pointer};
use crate::image::space::Purpose;
use crate::image::store::{Change, Gate};
use zeroize::Zeroizing;

impl Core {
    /// Writes all of `data` or fails.
    pub fn write(&self, ino: NodeId, offset: u64, data: &[u8], kill: bool) -> Result<()> {
        let node = self.nodes.get(ino)?;
        self.store.writable()?;
        if data.is_empty() {
            return self.store.inode(ino)?.file().map(drop);
        }
        let end = check_end(offset, data.len() as u64)?;
        if are_whole_pages(offset, data) {
            // Nothing of what is there is needed, and neither size nor kind of the file changes: readers and others who
            // do the same need not wait.
            let _shared = node.content.read();
            let inode = self.store.inode(ino)?.file()?;
            if paged(&inode) && end <= inode.size {
                return self.in_batches(offset, data, |at, part| {
                    self.replace_batch(ino, at, part, kill)
                });
            }
        }
        let _alone = node.content.write();
        self.finish_cut(ino, &self.store.inode(ino)?.file()?, end)?;
        self.in_batches(offset, data, |at, part| {
            self.write_batch(ino, at, part, kill)
        })
    }

    /// Writes batch by batch. Where there is no room, what was removed lately may still be with the image.
    fn in_batches(
        &self,
        offset: u64,
        data: &[u8],
        write: impl Fn(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        batches(offset, data).try_for_each(|(at, part)| match write(at, part) {
            Err(error) if is_full(&error) => {
                self.store.reclaim(&|| false)?;
                write(at, part)
            }
            written => written,
        })
    }

    /// Writes whole pages inside a file that has pages. The caller shares the content's lock.
    fn replace_batch(&self, ino: NodeId, offset: u64, data: &[u8], kill: bool) -> Result<()> {
        let pages = (data.len() / PAGE) as u64;
        let gate = self.store.begin(Some(pages))?;
        let mut written = Written::new(self, &gate);
        written.put(data)?;
        let end = offset + data.len() as u64;
        written.finish(|change, new| {
            let delta = change.replace_pointers(ino, page_of(offset), new)?;
            change.written(ino, kill, |inode| inode.extend(delta, end))
        })
    }

    /// Writes one batch. The caller holds the content's lock alone.
    pub(super) fn write_batch(
        &self,
        ino: NodeId,
        offset: u64,
        data: &[u8],
        kill: bool,
    ) -> Result<()> {
        let gate = self
            .store
            .begin(Some(data.len() as u64 / PAGE as u64 + 4))?;
        let inode = self.store.inode(ino)?.file()?;
        let end = offset + data.len() as u64;
        if !paged(&inode) && end <= INLINE_MAX {
            return gate.change(|change| change.write_inline(ino, offset, data, kill));
        }
        let inode = self.make_paged(&gate, ino, inode)?;
        let (first, last) = (page_of(offset), page_of(end - 1));
        let mut written = Written::new(self, &gate);
        for (page, part) in parts(offset, data) {
            match part.len() % PAGE {
                0 => written.put(part)?,
                _ => {
                    let inside = offset.saturating_sub(page * PAGE as u64) as usize;
                    let mut plain = self.old_page(ino, &inode, page)?;
                    plain[inside..inside + part.len()].copy_from_slice(part);
                    written.put(&plain[..])?;
                }
            }
        }
        debug_assert_eq!(written.pointers.len() as u64, last - first + 1);
        written.finish(|change, new| {
            let delta = change.put_pointers(ino, first, new)?;
            change.written(ino, kill, |inode| inode.extend(delta, end))
        })
    }

    /// What a page of a file holds now.
    pub(super) fn old_page(
        &self,
        ino: NodeId,
        inode: &InodeRecord,
        page: u64,
    ) -> Result<Zeroizing<[u8; PAGE]>> {
        let mut plain = Zeroizing::new([0; PAGE]);
        let start = page * PAGE as u64;
        if start < inode.size {
            let pointers = extents::pointers(&self.store, ino, page, page)?;
            if let Some(Some(at)) = pointers.first() {
                self.store.ground.pages.read(at, &mut plain)?;
            }
        }
        Ok(plain)
    }

    /// Moves the content of a small file to a page, so that it can grow; the inode as it is then.
    pub(super) fn make_paged(
        &self,
        gate: &Gate<'_>,
        ino: NodeId,
        inode: InodeRecord,
    ) -> Result<InodeRecord> {
        if paged(&inode) {
            return Ok(inode);
        }
        let content = Zeroizing::new(self.inline(ino, &inode)?);
        let mut written = Written::new(self, gate);
        if content.iter().any(|byte| *byte != 0) {
            let mut plain = Zeroizing::new([0; PAGE]);
            plain[..content.len()].copy_from_slice(&content);
            written.put(&plain[..])?;
        }
        written.finish(|change, pointers| {
            let delta = change.put_pointers(ino, 0, pointers)?;
            change.remove_chunks(&key::inline(ino))?;
            change.edit(ino, |inode| {
                inode.set(INLINE, false);
                inode.pages = inode.pages.saturating_add_signed(delta);
                inode.clone()
            })
        })
    }

    /// Writes a page of content to another place; nobody sees a difference.
    pub(in crate::image) fn move_page(&self, ino: NodeId, page: u64, at: &Pointer) -> Result<()> {
        let mut plain = Zeroizing::new([0; PAGE]);
        self.store.ground.pages.read(at, &mut plain)?;
        let gate = self.store.begin(None)?;
        let mut written = Written::new(self, &gate);
        written.purpose = Purpose::Nodes;
        written.put(&plain[..])?;
        written.finish(|change, pointers| change.put_pointers(ino, page, pointers).map(drop))
    }

    /// Writes one page of a file anew, its size as it is.
    pub(super) fn rewrite_page(
        &self,
        gate: &Gate<'_>,
        ino: NodeId,
        page: u64,
        plain: &[u8; PAGE],
    ) -> Result<()> {
        let mut written = Written::new(self, gate);
        written.purpose = Purpose::Nodes; // cutting a file works on a full volume too
        written.put(plain)?;
        written.finish(|change, pointers| {
            let delta = change.put_pointers(ino, page, pointers)?;
            change.edit(ino, |inode| {
                inode.pages = inode.pages.saturating_add_signed(delta);
            })
        })
    }
}

impl Change<'_> {
    fn write_inline(&mut self, ino: u64, offset: u64, data: &[u8], kill: bool) -> Result<()> {
        let inode = self.inode(ino)?.file()?;
        let place = key::inline(ino);
        let mut content = Zeroizing::new(match inode.size {
            0 => Vec::new(),
            _ => self.chunks(&place)?.unwrap_or_default(),
        });
        let (start, end) = (offset as usize, offset as usize + data.len());
        let size = content.len().max(inode.size as usize).max(end);
        content.resize(size, 0);
        content[start..end].copy_from_slice(data);
        self.put_chunks(&place, &content)?;
        self.written(ino, kill, |inode| inode.size = size as u64)
    }

    /// What a change of content does to the inode, after `edit`.
    pub(super) fn written(
        &mut self,
        ino: u64,
        kill: bool,
        edit: impl FnOnce(&mut InodeRecord),
    ) -> Result<()> {
        let mut inode = self.edit(ino, |inode| {
            edit(inode);
            if kill {
                inode.kill_privileges();
            }
            inode.modified(inode::now());
            inode.clone()
        })?;
        if inode.has(CAPABILITY) {
            self.drop_capability(ino, &mut inode)?;
            self.put_inode(ino, &inode)?;
        }
        Ok(())
    }
}

/// Pages that were written and that nothing refers to yet: given back if nothing ever does.
struct Written<'a> {
    core: &'a Core,
    gate: &'a Gate<'a>,
    purpose: Purpose,
    pointers: Vec<Option<Pointer>>,
}

impl<'a> Written<'a> {
    fn new(core: &'a Core, gate: &'a Gate<'a>) -> Self {
        Self {
            core,
            gate,
            purpose: Purpose::Data,
            pointers: Vec::new(),
        }
    }

    /// Seals whole pages and writes them to free places.
    fn put(&mut self, plain: &[u8]) -> Result<()> {
        let ground = &self.core.store.ground;
        let generation = self.gate.generation();
        let mut rest = plain;
        while !rest.is_empty() {
            let wanted = (rest.len() / PAGE) as u64;
            let taken = ground.space.lock().take(self.purpose, wanted);
            let run = taken.ok_or(Error::NoSpace)?;
            let (now, later) = rest.split_at((run.end - run.start) as usize * PAGE);
            let mut cipher = self.core.buffer(now.len());
            let mut pointers = Vec::with_capacity(now.len() / PAGE);
            let sealed = &mut cipher[..now.len()];
            let done = ground
                .pages
                .seal(
                    Kind::Data,
                    run.start,
                    generation,
                    now,
                    sealed,
                    &mut pointers,
                )
                .and_then(|()| ground.pages.device.write(run.start, sealed));
            self.core.give_buffer(cipher);
            if let Err(error) = done {
                let mut space = ground.space.lock();
                run.for_each(|page| space.give_back(page));
                return Err(error);
            }
            self.pointers.extend(pointers.into_iter().map(Some));
            rest = later;
        }
        Ok(())
    }

    /// Puts the pointers into the tree.
    fn finish<T>(
        mut self,
        put: impl FnOnce(&mut Change<'_>, &[Option<Pointer>]) -> Result<T>,
    ) -> Result<T> {
        let done = self.gate.change(|change| put(change, &self.pointers))?;
        self.pointers.clear();
        Ok(done)
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        let mut space = self.core.store.ground.space.lock();
        for at in self.pointers.iter().flatten() {
            space.give_back(at.page);
        }
    }
}

fn are_whole_pages(offset: u64, data: &[u8]) -> bool {
    offset.is_multiple_of(PAGE as u64) && data.len().is_multiple_of(PAGE)
}

/// What is written at a time, and where: each but the first begins with a page.
fn batches(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (offset, data);
    std::iter::from_fn(move || {
        let room = BATCH * PAGE as u64 - at % PAGE as u64;
        let (now, later) = rest.split_at(rest.len().min(room as usize));
        let batch = (at, now);
        (at, rest) = (at + now.len() as u64, later);
        (!now.is_empty()).then_some(batch)
    })
}

/// A range cut at its first and last page: the partial pages, and the whole ones between them in one piece.
fn parts(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let head = match (offset % PAGE as u64) as usize {
        0 => 0,
        inside => (PAGE - inside).min(data.len()),
    };
    let (head, rest) = data.split_at(head);
    let (body, tail) = rest.split_at(rest.len() / PAGE * PAGE);
    let body_at = offset + head.len() as u64;
    let tail_at = body_at + body.len() as u64;
    [(offset, head), (body_at, body), (tail_at, tail)]
        .into_iter()
        .filter(|(_, part)| !part.is_empty())
        .map(|(at, part)| (page_of(at), part))
}
