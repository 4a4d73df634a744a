//! The content of regular files.
use super::super::file::{File, hint::hint};
use super::node::{Open, Place};
use super::*;
use rustix::io::Errno;

/// Directories that a salvage hint names, upwards: each costs a microsecond when a file is made.
const TRAIL: usize = 8;

/// To read; to read and write.
pub(super) const READ: OpenFlags = OpenFlags {
    write: false,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};
pub(super) const WRITE: OpenFlags = OpenFlags {
    write: true,
    ..READ
};

impl Directory {
    /// The content of a node, opened if need be: FUSE reads and writes without a handle.
    pub(super) fn content(&self, node: &Arc<Node>, flags: OpenFlags) -> Result<Arc<File>> {
        if flags.write || flags.truncate {
            self.writable()?;
        }
        let content = || {
            let mut open = node.open.lock();
            let file = self.opened(node, &mut open, flags)?;
            Ok((file, self.kept.add(node, &mut open)))
        };
        let (file, new) = self.found(node, content)?;
        if new {
            self.kept.trim();
        }
        Ok(file)
    }

    pub(super) fn open_content(&self, node: &Arc<Node>, flags: OpenFlags) -> Result<Handle> {
        if flags.write || flags.truncate {
            self.writable()?;
        }
        self.found(node, || {
            let mut open = node.open.lock();
            self.opened(node, &mut open, flags)?;
            open.count += 1;
            Ok(())
        })?;
        if flags.truncate && flags.kill_privileges {
            self.kill_privileges(node)?;
        }
        Ok(0)
    }

    fn opened(&self, node: &Arc<Node>, open: &mut Open, flags: OpenFlags) -> Result<Arc<File>> {
        match node.kind {
            Kind::File => {}
            Kind::Directory => return Err(Error::IsDirectory),
            _ => return Err(Error::Invalid),
        }
        let file = match open.file.clone() {
            Some(file) => self.open_again(node, open, file, flags)?,
            None => self.open_first(node, flags)?,
        };
        open.writable |= flags.write || flags.truncate;
        Ok(open.file.insert(file).clone())
    }

    fn open_first(&self, node: &Arc<Node>, flags: OpenFlags) -> Result<Arc<File>> {
        let write = flags.write || flags.truncate;
        let (fd, parent, hint) = self.descriptor(node, write)?;
        if flags.truncate {
            // What is cut away need not be readable.
            self.backing().truncate(fd.as_fd(), 0)?;
            return Ok(Arc::new(File::empty(self.store.clone(), fd, parent, hint)));
        }
        let (file, mismatch) = File::open(self.store.clone(), fd, write, parent)?;
        if mismatch && !self.store.read_only {
            // The caller was told a wrong size at lookup and, under the writeback cache, keeps it: a new node has the right one.
            self.nodes.detach(node);
            return Err(Error::Stale);
        }
        if write {
            file.make_writable(|| Err(Error::BadHandle), hint)?;
        }
        Ok(Arc::new(file))
    }

    fn open_again(
        &self,
        node: &Arc<Node>,
        open: &Open,
        file: Arc<File>,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        if (flags.write || flags.truncate) && !open.writable {
            let (_, hint) = self.hint(node);
            file.make_writable(|| self.descriptor(node, true).map(|(fd, _, _)| fd), hint)?;
        }
        if flags.truncate {
            file.truncate(0)?;
        }
        Ok(file)
    }

    /// A descriptor of a node's backing file, the id of the directory it is in, and its salvage hint.
    fn descriptor(&self, node: &Arc<Node>, write: bool) -> Result<(OwnedFd, [u8; 12], Vec<u8>)> {
        let fd = match (node.held(), node.place()) {
            // It was compared when it was opened, and cannot become another file.
            (Some(held), _) => held.try_clone().map_err(Error::from)?,
            (None, Some(place)) => {
                let handle = self.handle(&place.parent)?;
                self.open_node(node, handle.as_fd(), &place.name, write)?
            }
            (None, None) => return Err(Error::NotFound),
        };
        let (parent, hint) = if write {
            self.hint(node)
        } else {
            Default::default()
        };
        Ok((fd, parent, hint))
    }

    fn hint(&self, node: &Arc<Node>) -> ([u8; 12], Vec<u8>) {
        let known = || {
            let place = node.place()?;
            let id = place.parent.dir().ok()?.id;
            let name = self.name_at(&place).ok()?;
            Some((id.0, hint(&self.trail(&place.parent), id.0, &name)))
        };
        known().unwrap_or_default()
    }

    /// What a hint says of the directories above a file. Nodes know their parents, so that no disk is read, but for long
    /// names.
    pub(super) fn trail(&self, dir: &Arc<Node>) -> Vec<u8> {
        let mut places = Vec::new();
        let mut above = dir.clone();
        while above.id != ROOT && places.len() < TRAIL {
            let Some(place) = above.place() else {
                break;
            };
            above = place.parent.clone();
            places.push(place);
        }
        let step = |trail: Vec<u8>, place: &Place| {
            let id = place.parent.dir().ok()?.id;
            let name = self.name_at(place).ok()?;
            Some(hint(&trail, id.0, &name))
        };
        places
            .iter()
            .rev()
            .try_fold(Vec::new(), step)
            .unwrap_or_default()
    }

    fn name_at(&self, place: &Place) -> Result<Vec<u8>> {
        let (id, entry) = (place.parent.dir()?.id, place.name.as_bytes());
        match self.names.side(entry) {
            None => Ok(self.names.open(id, entry, None)?),
            Some(_) => {
                let handle = self.handle(&place.parent)?;
                self.open_name(handle.as_fd(), id, entry)
            }
        }
    }

    pub(super) fn write_content(
        &self,
        node: &Arc<Node>,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<()> {
        let file = self.content(node, WRITE)?;
        if kill_privileges {
            self.kill_privileges(node)?;
        }
        file.write(offset, data)
    }

    pub(super) fn close_content(&self, node: &Arc<Node>) -> Result<()> {
        let settled = {
            let mut open = node.open.lock();
            open.count = open.count.saturating_sub(1);
            match &open.file {
                Some(file) if open.count > 0 || open.kept => file.settle(),
                _ => self.kept.close(node, &mut open),
            }
        };
        self.nodes.released(node);
        settled
    }

    pub(super) fn set_size(&self, node: &Arc<Node>, size: u64) -> Result<()> {
        let truncate = size == 0;
        let file = self.content(node, OpenFlags { truncate, ..WRITE })?;
        if truncate {
            Ok(())
        } else {
            file.truncate(size)
        }
    }

    pub(super) fn copy_content(
        &self,
        from: (NodeId, u64),
        to: (NodeId, u64),
        length: u64,
    ) -> Result<u64> {
        self.writable()?;
        let source = self.content(&self.nodes.get(from.0)?, READ)?;
        let target = self.content(&self.nodes.get(to.0)?, WRITE)?;
        let mut buffer = zeroize::Zeroizing::new(vec![0; length.min(1 << 20) as usize]);
        let mut done = 0;
        while done < length {
            let want = (length - done).min(buffer.len() as u64) as usize; // at most buffer.len()
            let got = match source.read(from.1 + done, &mut buffer[..want]) {
                Ok(0) => break,
                Err(_) if done > 0 => break,
                got => got?,
            };
            match target.write(to.1 + done, &buffer[..got]) {
                Err(error) if done == 0 || error.errno() != Errno::NOSPC.raw_os_error() => {
                    return Err(error);
                }
                Err(_) => break,
                Ok(()) => done += got as u64,
            }
        }
        Ok(done)
    }
}
