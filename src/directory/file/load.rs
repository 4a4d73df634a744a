//! Opening: what the backing file says of itself, and what is believed.
//!
//! After a clean end the length recorded in unit 0 must be the one that the backing length claims: anything else was cut or
//! grown outside of cryptfs (but see `is_unrecorded`). After a crash the last unit's `valid` decides (rule 4), pages of zeros at the end were never
//! written (rule 5), and the smaller of two sizes is right: an append moves the data first, a cut moves the length first.
use super::*;

impl State {
    /// Reads header and size. Returns true where the backing length claimed another size.
    pub(super) fn load(&mut self, store: &Store) -> Result<bool> {
        self.load_with(store, false)
    }

    /// The same; `accept`: whatever length is there.
    pub(super) fn load_with(&mut self, store: &Store, accept: bool) -> Result<bool> {
        self.length = backing::stat(backing::Object::Open(self.fd.as_fd()))?.stx_size;
        let claimed = layout::claimed_size(self.length);
        if self.length == 0 {
            return Ok(false);
        }
        let mut page = [0; UNIT];
        backing::read(self.fd.as_fd(), &mut page, 0)?;
        let Some(head) = Head::parse(&page)? else {
            return self.load_unwritten(store);
        };
        let keys = store
            .keys
            .file(head.epoch, &head.id.0)
            .ok_or(Damage::Epoch)?;
        let mut payload = Box::new([0; PAYLOAD]);
        let valid = unit::open(&keys, head.id, head.epoch, 0, &page, 0, &mut payload[..])?;
        let header = Header::parse(&payload[..])?;
        self.content = Some(Content {
            id: head.id,
            epoch: head.epoch,
            keys,
            header,
        });
        *self.edge.get_mut() = Edge {
            unit: 0,
            valid,
            payload,
        };
        self.size = claimed;
        if !accept && !store.lenient(header.session) {
            let proven = header.length == claimed
                && (layout::units(claimed) > 1
                    || valid.saturating_sub(layout::HEADER) as u64 == claimed);
            return if proven
                || (!store.session.exact && self.is_unrecorded(claimed, header.length)?)
            {
                Ok(false)
            } else {
                Err(Damage::Length.into())
            };
        }
        let (size, whole) = self.proven_size()?;
        self.size = size;
        let mismatch = size != claimed;
        // What a last unit holds behind the end must not come back when the file grows.
        if (mismatch || !whole) && !store.read_only {
            self.repair(store)?;
        }
        Ok(mismatch)
    }

    /// Returns true if the header records another length than the file has, but the last unit itself says that the file
    /// ends here. Repairs by earlier versions of cryptfs left such files: after a crash they accepted the length, did not
    /// record it, and then declared the volume clean.
    ///
    /// A file that somebody cut at the end of a unit does not pass: its last unit is full, and the file shorter than
    /// recorded. A cut at a unit that is not full passes, which is why this is asked only where it must be.
    fn is_unrecorded(&self, claimed: u64, recorded: u64) -> Result<bool> {
        let Some((index, page)) = self.last_written()? else {
            return Ok(false);
        };
        let content = self.content()?;
        let checked = unit::verify(&content.keys, content.id, content.epoch, index, &page);
        let valid = checked.unwrap_or(0);
        let ends_here = index + 1 == layout::units(claimed) && valid == layout::last_valid(claimed);
        Ok(ends_here && (recorded < claimed || valid < PAYLOAD))
    }

    /// Unit 0 is a page of zeros: if a crash may have left that, and only if nothing else was written either, the file is
    /// empty.
    fn load_unwritten(&mut self, store: &Store) -> Result<bool> {
        if !store.doubts() || self.last_written()?.is_some() {
            return Err(Damage::Missing.into());
        }
        let claimed = layout::claimed_size(self.length);
        if !store.read_only {
            self.with_writable(|state| {
                store.backing.truncate(state.fd.as_fd(), 0)?;
                state.length = 0;
                Ok(())
            })?;
        }
        Ok(claimed != 0)
    }

    /// The last unit that is not a page of zeros, with its page.
    fn last_written(&self) -> Result<Option<(u64, [u8; UNIT])>> {
        let end = self.length / UNIT as u64;
        let data = backing::data(self.fd.as_fd(), end, UNIT as u64)?;
        for range in std::iter::once(end.saturating_sub(1)..end).chain(data.into_iter().rev()) {
            for index in range.rev() {
                let mut page = [0; UNIT];
                backing::read(self.fd.as_fd(), &mut page, index * UNIT as u64)?;
                if page.iter().any(|b| *b != 0) {
                    return Ok(Some((index, page)));
                }
            }
        }
        Ok(None)
    }

    /// The size after a crash, and whether the last unit says the same: the smaller of what it and the backing length say. A last
    /// unit that does not authenticate proves nothing: reading it will be an error, at that place.
    fn proven_size(&self) -> Result<(u64, bool)> {
        let claimed = layout::claimed_size(self.length);
        let Some((index, page)) = self.last_written()? else {
            return Ok((claimed, true));
        };
        let content = self.content()?;
        let valid = match unit::verify(&content.keys, content.id, content.epoch, index, &page) {
            Ok(valid) => valid,
            Err(_) => return Ok((claimed, true)),
        };
        let proven = (index * PAYLOAD as u64 + valid as u64).saturating_sub(layout::HEADER as u64);
        // The end of a sparse file may be a hole or a short unit: a cut into one, or growth, whose last unit did not come any
        // more. Its length is moved first (`claim`, `shrink`), so that it was asked for.
        let size = if self.is_hole() {
            claimed
        } else {
            proven.min(claimed)
        };
        Ok((size, proven == size))
    }

    /// Makes backing length and last unit agree with the size that was proven.
    fn repair(&mut self, store: &Store) -> Result<()> {
        self.with_writable(|state| {
            let size = state.size;
            state.size = layout::claimed_size(state.length).max(size);
            state.shrink(store, size)?;
            state.settle_slack(store)?;
            if state.header_stale() {
                state.rewrite_header(store, |_| {})?;
            }
            Ok(())
        })
    }

    /// Runs `change` with a descriptor for writing, whatever the file was opened for.
    fn with_writable(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.writable {
            return change(self);
        }
        let path = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&self.fd));
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let writable = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        let reading = std::mem::replace(&mut self.fd, writable);
        let result = change(self);
        self.fd = reading;
        result
    }
}
