//! The content of one open regular file. One [`File`] serves all handles of a node.
//!
//! Locks, in this order: `state` guards size, length and header: whatever changes one of them has it alone. `ranges` keeps
//! readers and writers of one unit apart, and writers away while the file is made durable (a page that is rewritten on
//! its way to the disk can be torn).
pub mod hint;
mod load;
mod overwrite;
mod range;
mod read;
mod replace;
mod seek;
mod space;
mod verify;
mod write;

use super::backing;
use super::layout::{self, Header};
use super::store::Store;
use super::unit::{self, FileId, Head, PAYLOAD, UNIT};
use crate::fs::{Damage, Error, Result, SetTime};
use crate::volume::keys::{Epoch, FileKeys};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use range::RangeLock;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

/// Units that one system call moves at most: the pages stay in the processor's cache between that and the cipher.
const BATCH: u64 = 32;

/// An open regular file.
pub struct File {
    store: Arc<Store>,
    state: RwLock<State>,
    ranges: RangeLock,
}

struct State {
    fd: OwnedFd,
    writable: bool,
    /// Plaintext bytes.
    size: u64,
    /// The backing file's length.
    length: u64,
    /// `None` while there is no unit.
    content: Option<Content>,
    edge: Mutex<Edge>,
    hint: Vec<u8>,
    parent: [u8; 12],
}

struct Content {
    id: FileId,
    epoch: Epoch,
    keys: FileKeys,
    /// As it stands in unit 0.
    header: Header,
}

/// The plaintext of the unit that was last opened or partly appended to: streams come back for the rest of it. (Keys are
/// wiped from memory; content is not: the kernel keeps it in its page cache as well.)
struct Edge {
    unit: u64,
    valid: usize,
    payload: Box<[u8; PAYLOAD]>,
}

const NO_UNIT: u64 = u64::MAX;

impl Edge {
    fn none() -> Self {
        Self {
            unit: NO_UNIT,
            valid: 0,
            payload: Box::new([0; PAYLOAD]),
        }
    }
}

thread_local! {
    /// Pages on their way to or from the backing file.
    static PAGES: RefCell<Vec<u8>> = RefCell::new(vec![0; BATCH as usize * UNIT]);
}

impl File {
    /// Opens the content behind `fd`. Returns the file, and whether its backing length claims another size than its last unit
    /// proves (the remains of a crash, repaired unless the volume is read-only).
    pub fn open(
        store: Arc<Store>,
        fd: OwnedFd,
        writable: bool,
        parent: [u8; 12],
    ) -> Result<(Self, bool)> {
        let mut state = State::unloaded(fd, writable, parent);
        let mismatch = state.load(&store)?;
        Ok((Self::with_state(store, state), mismatch))
    }

    /// A new, empty file.
    pub fn empty(store: Arc<Store>, fd: OwnedFd, parent: [u8; 12], hint: Vec<u8>) -> Self {
        let mut state = State::unloaded(fd, true, parent);
        state.hint = hint;
        Self::with_state(store, state)
    }

    fn with_state(store: Arc<Store>, state: State) -> Self {
        Self {
            store,
            state: RwLock::new(state),
            ranges: RangeLock::default(),
        }
    }

    /// Gives a file that was opened for reading a descriptor for writing.
    pub fn make_writable(
        &self,
        open: impl FnOnce() -> Result<OwnedFd>,
        hint: Vec<u8>,
    ) -> Result<()> {
        let mut state = self.state.write();
        if !state.writable {
            state.fd = open()?;
            state.writable = true;
        }
        state.hint = hint;
        Ok(())
    }

    /// Plaintext bytes.
    pub fn size(&self) -> u64 {
        self.state.read().size
    }

    /// The file id; an empty file has none.
    pub fn id(&self) -> Option<FileId> {
        self.state.read().content.as_ref().map(|content| content.id)
    }

    /// Calls with the backing descriptor.
    pub fn with_fd<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        call(self.state.read().fd.as_fd())
    }

    /// Makes the content durable.
    pub fn sync(&self, data_only: bool) -> Result<()> {
        let mut state = self.state.write();
        if state.writable {
            state.settle_slack(&self.store)?;
        }
        let state = RwLockWriteGuard::downgrade(state);
        let _held = self.ranges.shared(0..NO_UNIT);
        Ok(self.store.backing.sync(state.fd.as_fd(), data_only)?)
    }

    /// Brings the backing length up to date, before time stamps are set.
    pub fn settle_length(&self) -> Result<()> {
        let mut state = self.state.write();
        if state.writable {
            state.settle_slack(&self.store)
        } else {
            Ok(())
        }
    }

    /// Brings the backing length and the recorded length up to date without touching the time stamps.
    pub fn settle(&self) -> Result<()> {
        let mut state = self.state.write();
        if !state.writable {
            return Ok(());
        }
        state
            .settle(&self.store)
            .inspect_err(|_| self.store.mark_unsettled())
    }
}

impl State {
    fn unloaded(fd: OwnedFd, writable: bool, parent: [u8; 12]) -> Self {
        let edge = Mutex::new(Edge::none());
        Self {
            fd,
            writable,
            size: 0,
            length: 0,
            content: None,
            edge,
            hint: Vec::new(),
            parent,
        }
    }

    fn header_stale(&self) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.header.length != self.size)
    }

    fn settle_slack(&mut self, store: &Store) -> Result<()> {
        let length = layout::backing_length(self.size);
        if self.length != length {
            store.backing.truncate(self.fd.as_fd(), length)?;
            self.length = length;
        }
        Ok(())
    }

    fn settle(&mut self, store: &Store) -> Result<()> {
        let stale = self.header_stale();
        if !stale && self.length == layout::backing_length(self.size) {
            return Ok(());
        }
        let times = backing::stat(backing::Object::Open(self.fd.as_fd()))?;
        self.settle_slack(store)?;
        if stale {
            self.rewrite_header(store, |_| {})?;
        }
        let mtime = backing::time(times.stx_mtime);
        Ok(store.backing.set_times(
            backing::Object::Open(self.fd.as_fd()),
            None,
            Some(SetTime::At(mtime)),
        )?)
    }

    /// Rewrites unit 0 with a changed header.
    fn rewrite_header(&mut self, store: &Store, change: impl FnOnce(&mut Header)) -> Result<()> {
        let mut payload = [0; PAYLOAD];
        let valid = self.load_unit(0, &mut payload)?.max(layout::HEADER);
        if let Some(content) = &mut self.content {
            change(&mut content.header);
        }
        self.store_unit(store, 0, valid, &mut payload)
    }

    fn content(&self) -> Result<&Content> {
        self.content
            .as_ref()
            .ok_or(Error::Damaged(Damage::Malformed))
    }

    /// The header that unit 0 gets when it is written now.
    fn stamp(&mut self, store: &Store, size: u64) {
        if let Some(content) = &mut self.content {
            content.header.length = size;
            content.header.session = store.session.current;
        }
    }

    /// Draws a new file id where there is no content yet.
    fn begin(&mut self, store: &Store) -> Result<()> {
        if self.content.is_some() {
            return Ok(());
        }
        let (id, epoch) = (FileId::random(), store.keys.current());
        let keys = store.keys.file(epoch, &id.0).ok_or(Damage::Epoch)?;
        let created = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let header = Header {
            sparse: false,
            session: store.session.current,
            length: 0,
            created,
            parent: self.parent,
        };
        self.content = Some(Content {
            id,
            epoch,
            keys,
            header,
        });
        Ok(())
    }

    fn is_hole(&self) -> bool {
        self.content.as_ref().is_some_and(|c| c.header.sparse)
    }

    /// The payload of one unit of the file, zeros after the bytes in use; returns those. A unit past the end or in a hole is 0
    /// bytes.
    fn load_unit(&self, index: u64, payload: &mut [u8; PAYLOAD]) -> Result<usize> {
        {
            let edge = self.edge.lock();
            if edge.unit == index {
                payload.copy_from_slice(&*edge.payload);
                return Ok(edge.valid);
            }
        }
        if index >= layout::units(self.size) {
            payload.fill(0);
            return Ok(0);
        }
        let mut page = [0; UNIT];
        backing::read(self.fd.as_fd(), &mut page, index * UNIT as u64)?;
        self.open_page(index, &page, 0, payload)
    }

    /// Opens one page of this file from payload offset `from`; zeros after the bytes in use.
    fn open_page(
        &self,
        index: u64,
        page: &[u8; UNIT],
        from: usize,
        out: &mut [u8],
    ) -> Result<usize> {
        let content = self.content()?;
        let valid = unit::open(
            &content.keys,
            content.id,
            content.epoch,
            index,
            page,
            from,
            out,
        )?;
        self.check_hole(valid)
    }

    /// A page of zeros must be a hole.
    fn check_hole(&self, valid: usize) -> Result<usize> {
        if valid == 0 && !self.is_hole() {
            Err(Damage::Missing.into())
        } else {
            Ok(valid)
        }
    }

    /// Seals and writes one unit. `payload` after `valid` is overwritten by the salvage hint where it fits.
    fn store_unit(
        &mut self,
        store: &Store,
        index: u64,
        valid: usize,
        payload: &mut [u8; PAYLOAD],
    ) -> Result<()> {
        let mut page = [0; UNIT];
        self.seal_unit(store, index, valid, self.size, payload, &mut page)?;
        self.edge.get_mut().unit = NO_UNIT;
        store
            .backing
            .write(self.fd.as_fd(), &page, index * UNIT as u64)?;
        self.length = self.length.max((index + 1) * UNIT as u64);
        Ok(())
    }

    /// Seals one unit of a file that will have `size` bytes.
    fn seal_unit(
        &mut self,
        store: &Store,
        index: u64,
        valid: usize,
        size: u64,
        payload: &mut [u8; PAYLOAD],
        page: &mut [u8],
    ) -> Result<()> {
        if index == 0 {
            self.stamp(store, size);
            self.content()?.header.write(payload);
        }
        self.seal_payload(index, valid, payload, page)
    }

    /// Seals one unit as it is. `payload` after `valid` carries the salvage hint while it is sealed, and zeros afterwards.
    fn seal_payload(
        &self,
        index: u64,
        valid: usize,
        payload: &mut [u8; PAYLOAD],
        page: &mut [u8],
    ) -> Result<()> {
        payload[valid..].fill(0);
        let hint = hint::fitting(&self.hint, PAYLOAD - valid);
        payload[PAYLOAD - hint.len()..].copy_from_slice(hint);
        let content = self.content()?;
        unit::seal(
            &content.keys,
            index,
            &Head {
                id: content.id,
                epoch: content.epoch,
                valid,
            },
            payload,
            page,
        );
        payload[valid..].fill(0);
        Ok(())
    }
}
