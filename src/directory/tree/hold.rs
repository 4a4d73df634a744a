//! Descriptors of what may be open in the mount when its name goes away. The kernel does not tell us about opens, so
//! whatever the kernel knows counts as open.
use super::super::name::Sealed;
use super::*;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::ffi::CStr;

impl Directory {
    /// Before a name of a file is removed, which may be its last. A file that this process may not open cannot be open in
    /// the mount either.
    pub(super) fn hold(&self, parent: &Arc<Node>, sealed: &Sealed, stat: &Statx) -> Result<()> {
        let Some(node) = self.nodes.find(stat) else {
            return Ok(());
        };
        if node.kind != Kind::File || node.held().is_some() || node.has_other(parent, &sealed.entry)
        {
            return Ok(());
        }
        let handle = self.handle(parent)?;
        let denied = [Errno::ACCESS, Errno::PERM].map(Errno::raw_os_error);
        match self.open_to_hold(&node, handle.as_fd(), &sealed.entry) {
            Ok(fd) => *node.held.lock() = Some(Arc::new(fd)),
            Err(error) if denied.contains(&error.errno()) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn open_to_hold(&self, node: &Node, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
        let open = |write| self.open_node(node, dir, name, write);
        open(true).or_else(|_| open(false))
    }

    /// Opens a node's backing file by a name of it. Compared before it is opened: on overlayfs the opening for writing
    /// copies the file up, which may give it another number.
    pub(super) fn open_node(
        &self,
        node: &Node,
        dir: BorrowedFd<'_>,
        name: &CStr,
        write: bool,
    ) -> Result<OwnedFd> {
        let pinned = self.backing().pin(dir, name)?;
        self.must_be(node, Object::Pinned(pinned.as_fd()))?;
        Ok(self.backing().open_pinned(pinned.as_fd(), write)?)
    }

    /// Before a directory gets a mode that keeps its own owner out: by the names in it this process would reach its
    /// files no more. (Root goes everywhere.) Of very many files some go without, and cannot be used until the mode is
    /// changed back.
    pub(super) fn hold_inside(&self, node: &Arc<Node>, mode: u32) -> Result<()> {
        if self.as_root || node.kind != Kind::Directory || mode & 0o100 != 0 {
            return Ok(());
        }
        let handle = self.handle(node)?;
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(1024);
        let inside = self.nodes.all().into_iter().filter_map(|below| {
            let place = below.place()?;
            let counts = matches!(below.kind, Kind::File | Kind::Directory);
            (counts && place.parent.ino == node.ino && below.held().is_none())
                .then_some((below, place.name))
        });
        for (below, name) in inside.take(limit as usize / 4) {
            let held = match below.kind {
                Kind::Directory => self
                    .backing()
                    .pin(handle.as_fd(), &name)
                    .map_err(Error::from),
                _ => self.open_to_hold(&below, handle.as_fd(), &name),
            };
            let Ok(held) = held else { continue };
            let object = Object::Pinned(held.as_fd());
            if below.kind == Kind::File || self.must_be(&below, object).is_ok() {
                *below.held.lock() = Some(Arc::new(held));
            }
        }
        Ok(())
    }
}
