//! Copies a whole file system out, without FUSE: modes, owners, times, extended attributes, hard links and holes with it,
//! a verdict for each file. Reads through [`FileSystem`] and never writes to it.
mod content;

use super::error::Result;
use super::scan::Placed;
use super::target::Place;
use super::verdict::{Outcome, Verdict};
use crate::fs::{
    Attr, Entry, Error, FileSystem, Handle, Kind, NodeId, OpenFlags, Progress, ROOT, Whence,
};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once.
const CHUNK: usize = 1 << 20;

/// Copies everything out of `from` into `top`. `report` hears each verdict; progress counts bytes.
pub fn copy_out(
    from: &dyn FileSystem,
    top: BorrowedFd<'_>,
    progress: &dyn Progress,
    report: &mut dyn FnMut(Verdict),
) -> Result<()> {
    let root = from.getattr(ROOT)?;
    let mut run = Run {
        from,
        top,
        progress,
        report,
        links: HashMap::new(),
        buffer: vec![0; CHUNK],
    };
    run.progress.total(run.measure());
    let here = top.try_clone_to_owned().map_err(Error::Io)?;
    run.tree(here, &root)
}

struct Run<'a> {
    from: &'a dyn FileSystem,
    top: BorrowedFd<'a>,
    progress: &'a dyn Progress,
    report: &'a mut dyn FnMut(Verdict),
    /// Where the first name of an inode with several went.
    links: HashMap<u64, PathBuf>,
    buffer: Vec<u8>,
}

/// A directory that is being copied.
struct Frame {
    node: NodeId,
    attr: Attr,
    path: PathBuf,
    dir: OwnedFd,
    left: Vec<OsString>,
}

impl Run<'_> {
    /// The bytes of all files: without them nobody could say how long it takes.
    fn measure(&self) -> u64 {
        let (mut bytes, mut linked) = (0, HashSet::new());
        let mut left = vec![ROOT];
        while let Some(dir) = left.pop() {
            let mut names = Vec::new();
            let _ = self.list(dir, &mut names); // what fails is told when it is copied
            for name in names {
                let Ok(Entry { node, attr }) = self.from.lookup(dir, &name) else {
                    continue;
                };
                if attr.kind == Kind::Directory {
                    left.push(node);
                    continue;
                }
                if attr.kind == Kind::File && (attr.nlink < 2 || linked.insert(attr.ino)) {
                    bytes += attr.size;
                }
                self.from.forget(node, 1);
            }
            if dir != ROOT {
                self.from.forget(dir, 1);
            }
        }
        bytes
    }

    /// Depth first, on a stack of its own: a tree may be deeper than a thread's.
    fn tree(&mut self, top: OwnedFd, root: &Attr) -> Result<()> {
        let root = Entry {
            node: ROOT,
            attr: *root,
        };
        let mut stack = vec![self.enter(root, PathBuf::new(), top)];
        while let Some(frame) = stack.last_mut() {
            if let Some(name) = frame.left.pop() {
                let path = frame.path.join(&name);
                let dir = frame.dir.as_fd();
                let place = Place { dir, name: &name };
                if let Some((entry, below)) = self.entry(frame.node, &place, &path) {
                    let next = self.enter(entry, path, below);
                    stack.push(next);
                }
            } else if let Some(done) = stack.pop() {
                self.leave(&done, stack.last());
            }
        }
        Ok(())
    }

    /// Lists a directory. One that cannot be listed to its end is copied as far as it goes.
    fn enter(&mut self, entry: Entry, path: PathBuf, dir: OwnedFd) -> Frame {
        let mut left = Vec::new();
        if let Err(error) = self.list(entry.node, &mut left) {
            self.tell(
                &path,
                Some(Kind::Directory),
                Outcome::Lost(format!("listing: {error}")),
            );
        }
        left.reverse();
        Frame {
            node: entry.node,
            attr: entry.attr,
            path,
            dir,
            left,
        }
    }

    fn list(&self, node: NodeId, names: &mut Vec<OsString>) -> Result<(), Error> {
        let handle = self.from.opendir(node)?;
        let mut offset = 0;
        let listed = loop {
            let before = offset;
            let batch = self.from.readdir(node, handle, offset, &mut |entry| {
                offset = entry.next;
                let name = entry.name.as_bytes();
                // A file system that hands out a path would write outside of the destination.
                if !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') {
                    names.push(OsString::from_vec(name.to_vec()));
                }
                false
            });
            if batch.is_err() || offset == before {
                break batch;
            }
        };
        self.from.releasedir(node, handle);
        listed
    }

    /// Copies one entry; of a directory only makes it, to be entered.
    fn entry(
        &mut self,
        parent: NodeId,
        place: &Place<'_>,
        path: &Path,
    ) -> Option<(Entry, OwnedFd)> {
        let entry = match self.from.lookup(parent, place.name) {
            Ok(entry) => entry,
            Err(error) => {
                self.tell(path, None, Outcome::Lost(error.to_string()));
                return None;
            }
        };
        if entry.attr.kind == Kind::Directory {
            match place.directory() {
                Ok(dir) => return Some((entry, dir)),
                Err(errno) => self.tell(path, Some(Kind::Directory), lost(errno)),
            }
        } else {
            let outcome = self.leaf(&entry, place, path);
            let undated = outcome.is_partial();
            self.tell(path, Some(entry.attr.kind), outcome);
            if undated {
                place.date(&entry.attr);
            }
        }
        self.from.forget(entry.node, 1);
        None
    }

    fn leaf(&mut self, entry: &Entry, place: &Place<'_>, path: &Path) -> Outcome {
        let attr = &entry.attr;
        if attr.nlink > 1 {
            if let Some(first) = self.links.get(&attr.ino) {
                return match place.link(self.top, first) {
                    Ok(()) => Outcome::Whole,
                    Err(errno) => lost(errno),
                };
            }
            self.links.insert(attr.ino, path.to_owned());
        }
        if place.is_done(attr) {
            self.progress.done(if attr.kind == Kind::File {
                attr.size
            } else {
                0
            });
            return Outcome::Earlier;
        }
        let missing = match self.content(entry, place) {
            Ok(missing) => missing,
            Err(why) => {
                self.links.remove(&attr.ino);
                return Outcome::Lost(why.to_string());
            }
        };
        match Outcome::of(missing, self.dress(entry, place)) {
            Outcome::Whole => Outcome::of(Vec::new(), place.date(attr)),
            partial => partial,
        }
    }

    /// Makes the entry with its content. The ranges that could not be read.
    fn content(&mut self, entry: &Entry, place: &Place<'_>) -> Result<Vec<Range<u64>>, Error> {
        match entry.attr.kind {
            Kind::Symlink => place.symlink(&self.from.readlink(entry.node)?)?,
            Kind::File => {
                let handle = self.from.open(entry.node, OpenFlags::default())?;
                let copied = self.file(entry, handle, &place.file()?);
                // Only reading was done: there is nothing that closing could still lose.
                let _ = self.from.release(entry.node, handle);
                return copied;
            }
            Kind::Directory => {}
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                place.special(&entry.attr)?
            }
        }
        Ok(Vec::new())
    }

    /// The directory is complete: its attributes can no longer be disturbed.
    fn leave(&mut self, done: &Frame, parent: Option<&Frame>) {
        let entry = Entry {
            node: done.node,
            attr: done.attr,
        };
        let (dir, name) = match (parent, done.path.file_name()) {
            (Some(parent), Some(name)) => (parent.dir.as_fd(), name),
            _ => (done.dir.as_fd(), OsStr::new(".")),
        };
        let place = Place { dir, name };
        let mut lost = self.dress(&entry, &place);
        lost.extend(place.date(&done.attr));
        let outcome = Outcome::of(Vec::new(), lost);
        self.tell(&done.path, Some(Kind::Directory), outcome);
        if done.node != ROOT {
            self.from.forget(done.node, 1);
        }
    }

    fn dress(&self, entry: &Entry, place: &Place<'_>) -> Vec<String> {
        let mut unread = Vec::new();
        let mut xattrs = Vec::new();
        match self.from.listxattr(entry.node) {
            Ok(names) => {
                for name in names {
                    match self.from.getxattr(entry.node, OsStr::from_bytes(&name)) {
                        Ok(value) => xattrs.push((name, value)),
                        Err(error) => {
                            unread.push(format!(
                                "attribute {}: {error}",
                                String::from_utf8_lossy(&name)
                            ));
                        }
                    }
                }
            }
            Err(Error::NotSupported) => {}
            Err(error) => unread.push(format!("attributes: {error}")),
        }
        unread.extend(place.dress(&entry.attr, &xattrs));
        unread
    }

    fn tell(&mut self, path: &Path, kind: Option<Kind>, outcome: Outcome) {
        (self.report)(Verdict {
            path: path.to_owned(),
            kind,
            outcome,
            placed: Placed::Name,
        });
    }
}

fn lost(errno: rustix::io::Errno) -> Outcome {
    Outcome::Lost(std::io::Error::from(errno).to_string())
}
