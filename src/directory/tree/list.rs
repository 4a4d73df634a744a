//! Listing directories: entries stream from the backing directory, whose cookies are the offsets.
//!
//! Where the backing file system puts a renamed entry behind the others, a program that renames what it reads would never come
//! to the end. So once the directory has changed since its listing began, the rest is read into memory at once, and nothing that
//! comes later is added to it.
use super::super::name::Shape;
use super::*;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, RawDir, SeekFrom};
use std::collections::VecDeque;
use std::ffi::CString;
use std::mem::MaybeUninit;

/// Bytes that one getdents64(2) may fill.
const BUFFER: usize = 32 << 10;

/// An open directory.
pub struct Listing {
    fd: OwnedFd,
    read: VecDeque<Raw>,
    /// The offset of the first of `read`.
    at: u64,
    /// When the directory was changed last, before the listing began.
    changed: Time,
    /// All of the rest is in `read`.
    whole: bool,
}

/// An entry as it stands on the backing store.
struct Raw {
    ino: u64,
    next: u64,
    kind: FileType,
    name: CString,
}

impl Listing {
    fn new(fd: OwnedFd) -> Result<Self> {
        Ok(Self {
            changed: changed(&fd)?,
            fd,
            read: VecDeque::new(),
            at: 0,
            whole: false,
        })
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        if self.at != offset {
            rustix::fs::seek(&self.fd, SeekFrom::Start(offset))?;
            self.read.clear();
            self.at = offset;
            self.whole = false;
            if offset == 0 {
                self.changed = changed(&self.fd)?;
            }
        }
        Ok(())
    }

    /// Reads on when nothing is left; false at the end.
    fn fill(&mut self) -> Result<bool> {
        if self.read.is_empty() && !self.whole {
            self.whole = changed(&self.fd)? != self.changed;
            while self.read_some()? && self.whole {}
        }
        Ok(!self.read.is_empty())
    }

    /// Reads as much as one call gives; false at the end.
    fn read_some(&mut self) -> Result<bool> {
        let before = self.read.len();
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut raw = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = raw.next() {
            let entry = entry?;
            self.read.push_back(Raw {
                ino: entry.ino(),
                next: entry.next_entry_cookie(),
                kind: entry.file_type(),
                name: entry.file_name().into(),
            });
            if raw.is_buffer_empty() {
                break;
            }
        }
        Ok(self.read.len() > before)
    }

    fn take(&mut self) {
        if let Some(entry) = self.read.pop_front() {
            self.at = entry.next;
        }
    }
}

fn changed(dir: &OwnedFd) -> Result<Time> {
    Ok(backing::time(
        backing::stat(Object::Open(dir.as_fd()))?.stx_mtime,
    ))
}

/// Calls with every backing name in a directory.
pub fn for_each(backing: &Backing, dir: BorrowedFd<'_>, mut call: impl FnMut(&[u8])) -> Result<()> {
    let mut listing = Listing::new(backing.read_dir(dir)?)?;
    while listing.fill()? {
        for entry in listing.read.drain(..) {
            call(entry.name.as_bytes());
        }
    }
    Ok(())
}

impl Directory {
    pub(super) fn open_listing(&self, node: &Arc<Node>) -> Result<Listing> {
        let handle = self.handle(node)?;
        Listing::new(self.backing().read_dir(handle.as_fd())?)
    }

    fn listing(&self, handle: Handle) -> Result<Arc<Mutex<Listing>>> {
        self.listings
            .lock()
            .get(&handle)
            .cloned()
            .ok_or(Error::BadHandle)
    }

    pub(super) fn list(
        &self,
        node: &Arc<Node>,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let listing = self.listing(handle)?;
        let mut listing = listing.lock();
        listing.seek(offset)?;
        while listing.fill()? {
            if let Some(raw) = listing.read.front()
                && let Some((name, _)) = self.visible(node, raw)?
            {
                let kind = self.kind_of(node, raw)?;
                let ino = if name == b".." {
                    self.parent_ino(node)
                } else {
                    node.number_of(raw.ino)
                };
                if sink(&DirEntry {
                    ino,
                    next: raw.next,
                    kind,
                    name: OsStr::from_bytes(&name),
                }) {
                    return Ok(());
                }
            }
            listing.take();
        }
        Ok(())
    }

    pub(super) fn list_plus(
        &self,
        node: &Arc<Node>,
        handle: Handle,
        offset: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, Option<&Entry>) -> bool,
    ) -> Result<()> {
        let listing = self.listing(handle)?;
        let mut listing = listing.lock();
        let dir_handle = self.handle(node)?;
        listing.seek(offset)?;
        while listing.fill()? {
            if let Some(raw) = listing.read.front()
                && let Some((name, id)) = self.visible(node, raw)?
            {
                let entry = match &name[..] {
                    b"." | b".." => None,
                    _ => match self.entry(node, dir_handle.as_fd(), &raw.name, id) {
                        Ok(entry) => Some(entry),
                        Err(_) => {
                            listing.take(); // removed since it was read
                            continue;
                        }
                    },
                };
                let kind = entry.map_or(Kind::Directory, |entry| entry.attr.kind);
                let ino = if name == b".." {
                    self.parent_ino(node)
                } else {
                    entry.map_or(node.ino, |entry| entry.attr.ino)
                };
                if sink(
                    &DirEntry {
                        ino,
                        next: raw.next,
                        kind,
                        name: OsStr::from_bytes(&name),
                    },
                    entry.as_ref(),
                ) {
                    if let Some(entry) = entry {
                        self.nodes.forget(entry.node, 1);
                    }
                    return Ok(());
                }
            }
            listing.take();
        }
        Ok(())
    }

    /// The plaintext name, unless the entry is cryptfs's own or does not open in this directory (check lists those).
    fn visible(
        &self,
        node: &Arc<Node>,
        raw: &Raw,
    ) -> Result<Option<(Vec<u8>, Option<super::super::name::DirId>)>> {
        let name = raw.name.as_bytes();
        let id = match self.names.shape(name) {
            Shape::Reserved if matches!(name, b"." | b"..") => {
                return Ok(Some((name.to_vec(), None)));
            }
            Shape::Reserved | Shape::Side | Shape::Alien => return Ok(None),
            Shape::Directory(id) => Some(id),
            Shape::File => None,
        };
        let handle = self.handle(node)?;
        Ok(self
            .open_name(handle.as_fd(), node.dir()?.id, name)
            .ok()
            .map(|name| (name, id)))
    }

    fn kind_of(&self, node: &Arc<Node>, raw: &Raw) -> Result<Kind> {
        Ok(match raw.kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Unknown => {
                let handle = self.handle(node)?;
                let mode = backing::stat(Object::At(handle.as_fd(), &raw.name))?.stx_mode;
                Kind::from_mode(u32::from(mode)).unwrap_or(Kind::File)
            }
        })
    }

    fn parent_ino(&self, node: &Node) -> u64 {
        node.place().map_or(node.ino, |place| place.parent.ino)
    }
}
