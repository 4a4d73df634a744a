//! Copies a whole file system out, without FUSE: modes, owners, times, extended attributes, hard links and holes with it,
//! a verdict for each file. Reads through [`FileSystem`] and never writes to it.
use super::error::Result;
use super::target::{self, Place};
use crate::fs::{
    Attr, Entry, Error, FileSystem, Handle, Kind, NodeId, OpenFlags, Progress, ROOT, Whence,
};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once.
const CHUNK: usize = 1 << 20;
/// Where a chunk has damage in it, it is read in halves down to this: the boundaries of a directory volume's units (every
/// 4064 bytes, from 64 bytes before the file's first) and of an image's pages are multiples of it, so that not a byte too
/// many is given up.
const GRAIN: usize = 32;

/// What became of a file, directory or other entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is there.
    Whole,
    /// An earlier salvage had copied it.
    Earlier,
    /// These bytes could not be read; they are zeros in the copy.
    Ranges(Vec<Range<u64>>),
    /// The content is there; these attributes are not.
    Attributes(Vec<String>),
    /// Nothing of it could be copied.
    Lost(String),
}

/// An entry and what became of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its path from the volume's root.
    pub path: PathBuf,
    /// What it is; `None` where not even that could be read.
    pub kind: Option<Kind>,
    /// What became of it.
    pub outcome: Outcome,
}

/// All verdicts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Summary {
    pub whole: u64,
    pub ranges: u64,
    pub attributes: u64,
    pub lost: u64,
    pub lost_bytes: u64,
}

impl Summary {
    /// Nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.ranges == 0 && self.attributes == 0 && self.lost == 0
    }

    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Whole | Outcome::Earlier => self.whole += 1,
            Outcome::Attributes(_) => self.attributes += 1,
            Outcome::Lost(_) => self.lost += 1,
            Outcome::Ranges(ranges) => {
                self.ranges += 1;
                self.lost_bytes += ranges.iter().map(|r| r.end - r.start).sum::<u64>();
            }
        }
    }
}

/// From where to where.
pub struct Job<'a> {
    /// The volume's file system; read-only will do.
    pub from: &'a dyn FileSystem,
    /// The volume's path: the destination must not lie in it.
    pub volume: &'a Path,
    /// A new or empty directory.
    pub to: &'a Path,
    /// The destination holds an earlier salvage: what it finished is not copied again.
    pub resume: bool,
}

/// Copies everything out. `report` hears each verdict; progress counts bytes.
pub fn copy_out(
    job: &Job<'_>,
    progress: &dyn Progress,
    report: &mut dyn FnMut(&Verdict),
) -> Result<Summary> {
    let top = target::open(job.to, job.volume, job.resume)?;
    let root = job.from.getattr(ROOT)?;
    let mut run = Run {
        from: job.from,
        top: top.as_fd(),
        progress,
        report,
        summary: Summary::default(),
        links: HashMap::new(),
        buffer: vec![0; CHUNK],
    };
    let here = top.try_clone().map_err(Error::Io)?;
    run.tree(here, &root)?;
    Ok(run.summary)
}

struct Run<'a> {
    from: &'a dyn FileSystem,
    top: BorrowedFd<'a>,
    progress: &'a dyn Progress,
    report: &'a mut dyn FnMut(&Verdict),
    summary: Summary,
    /// Where the first name of an inode with several went.
    links: HashMap<u64, PathBuf>,
    buffer: Vec<u8>,
}

/// A file that is being copied.
struct Open<'a> {
    node: NodeId,
    handle: Handle,
    to: &'a File,
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
            self.tell(path, Some(entry.attr.kind), outcome);
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
        if attr.kind == Kind::File {
            self.progress.total(attr.size);
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
        let attributes = self.dress(entry, place);
        match (missing.is_empty(), attributes.is_empty()) {
            (true, true) => Outcome::Whole,
            (true, false) => Outcome::Attributes(attributes),
            (false, _) => Outcome::Ranges(missing),
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

    fn file(&mut self, entry: &Entry, handle: Handle, to: &File) -> Result<Vec<Range<u64>>, Error> {
        let size = entry.attr.size;
        to.set_len(size)?;
        let node = entry.node;
        let file = Open { node, handle, to };
        let mut missing = Vec::new();
        let mut at = 0;
        while at < size {
            let data = match self.from.lseek(node, handle, at, Whence::Data) {
                Ok(data) => data.clamp(at, size),
                Err(Error::NoSuchAddress) => size,
                Err(_) => at, // a file system that cannot tell: all of it is data
            };
            let end = match self.from.lseek(node, handle, data, Whence::Hole) {
                Ok(hole) if hole > data => hole.min(size),
                _ => size,
            };
            self.progress.done(data - at);
            self.range(&file, data..end, &mut missing)?;
            at = end;
        }
        Ok(missing)
    }

    fn range(
        &mut self,
        file: &Open<'_>,
        range: Range<u64>,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + CHUNK as u64);
            self.piece(file, at..end, missing)?;
            self.progress.done(end - at);
            at = end;
        }
        Ok(())
    }

    /// Reads a piece, or its halves, down to the last bytes that can be had.
    fn piece(
        &mut self,
        file: &Open<'_>,
        range: Range<u64>,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<(), Error> {
        let length = (range.end - range.start) as usize; // at most CHUNK
        match self.from.read(
            file.node,
            file.handle,
            range.start,
            &mut self.buffer[..length],
        ) {
            Ok(read) => {
                file.to.write_all_at(&self.buffer[..read], range.start)?;
                if read < length {
                    lose(missing, range.start + read as u64..range.end);
                }
                Ok(())
            }
            Err(_) if length <= GRAIN => {
                lose(missing, range);
                Ok(())
            }
            Err(_) => {
                let middle = range.start + (length / 2).next_multiple_of(GRAIN) as u64;
                self.piece(file, range.start..middle, missing)?;
                self.piece(file, middle..range.end, missing)
            }
        }
    }

    /// The directory is complete: its attributes can no longer be disturbed.
    fn leave(&mut self, done: &Frame, parent: Option<&Frame>) {
        let entry = Entry {
            node: done.node,
            attr: done.attr,
        };
        let lost = match (parent, done.path.file_name()) {
            (Some(parent), Some(name)) => {
                let dir = parent.dir.as_fd();
                self.dress(&entry, &Place { dir, name })
            }
            _ => {
                let name = OsStr::new(".");
                self.dress(
                    &entry,
                    &Place {
                        dir: done.dir.as_fd(),
                        name,
                    },
                )
            }
        };
        let outcome = if lost.is_empty() {
            Outcome::Whole
        } else {
            Outcome::Attributes(lost)
        };
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
        self.summary.count(&outcome);
        (self.report)(&Verdict {
            path: path.to_owned(),
            kind,
            outcome,
        });
    }
}

fn lost(errno: rustix::io::Errno) -> Outcome {
    Outcome::Lost(std::io::Error::from(errno).to_string())
}

/// Neighbouring ranges become one.
fn lose(missing: &mut Vec<Range<u64>>, range: Range<u64>) {
    match missing.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => missing.push(range),
    }
}
