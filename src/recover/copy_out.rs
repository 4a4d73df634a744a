//! Copies an image out, without FUSE: modes, owners, times, extended attributes, hard links and holes with it, a verdict for
//! each file. What there is a [`Survey`] says, which gets past damage; contents are read through [`FileSystem`].
mod content;

use super::error::Result;
use super::scan::Placed;
use super::target::Place;
use super::verdict::{Outcome, Verdict};
use crate::fs::{
    Attr, Entry, Error, FileSystem, Handle, Kind, NodeId, OpenFlags, Progress, ROOT, Whence,
};
use crate::image::{Image, Survey};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once.
const CHUNK: usize = 1 << 20;

/// Copies everything out of an image into `top`. `report` hears each verdict; progress counts bytes.
pub fn copy_out(
    from: &Image,
    top: BorrowedFd<'_>,
    progress: &dyn Progress,
    report: &mut dyn FnMut(Verdict),
) -> Result<()> {
    let Survey {
        names,
        nameless,
        bytes,
        lost,
        ..
    } = from.survey()?;
    progress.total(bytes);
    let mut run = Run {
        from,
        names,
        nameless,
        top,
        progress,
        report,
        links: HashMap::new(),
        buffer: vec![0; CHUNK],
    };
    if lost > 0 {
        let why =
            format!("{lost} pages of the tree cannot be read: what only they held is missing");
        run.tell(
            Path::new(""),
            Some(Kind::Directory),
            Outcome::Lost(why),
            Placed::Name,
        );
    }
    run.place_the_nameless();
    run.tree(top.try_clone_to_owned().map_err(Error::Io)?);
    Ok(())
}

struct Run<'a> {
    from: &'a dyn FileSystem,
    /// What is in the directories that were not entered yet.
    names: BTreeMap<NodeId, BTreeMap<Vec<u8>, NodeId>>,
    nameless: BTreeSet<NodeId>,
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
    /// `None`: only its name, or what is in it, is known.
    attr: Option<Attr>,
    path: PathBuf,
    placed: Placed,
    dir: OwnedFd,
    left: Vec<(OsString, NodeId)>,
}

impl Run<'_> {
    /// What lost its name gets a number for one, in a directory that the image does not have.
    fn place_the_nameless(&mut self) {
        let Some(last) = self.nameless.last() else {
            return;
        };
        let place = |ino: &NodeId| {
            let what = match self.names.contains_key(ino) {
                true => "directory",
                false => "file",
            };
            (format!("{what}-{ino}").into_bytes(), *ino)
        };
        let inside = self.nameless.iter().map(place).collect();
        let made_up = self
            .names
            .keys()
            .max()
            .max(Some(last))
            .map_or(0, |n| n.saturating_add(1));
        let root = self.names.entry(ROOT).or_default();
        let mut name = b"lost+found".to_vec();
        while root.contains_key(&name) {
            name.push(b'+');
        }
        root.insert(name, made_up);
        self.names.insert(made_up, inside);
    }

    /// Depth first, on a stack of its own: a tree may be deeper than a thread's.
    fn tree(&mut self, top: OwnedFd) {
        let root = self.from.getattr(ROOT).ok();
        let mut stack = vec![self.enter(ROOT, root, PathBuf::new(), Placed::Name, top)];
        while let Some(frame) = stack.last_mut() {
            if let Some((name, node)) = frame.left.pop() {
                let path = frame.path.join(&name);
                let dir = frame.dir.as_fd();
                let place = Place { dir, name: &name };
                let placed = match self.nameless.contains(&node) {
                    true => Placed::Lost,
                    false => frame.placed,
                };
                let below = self.entry(node, &place, path, placed);
                stack.extend(below);
            } else if let Some(done) = stack.pop() {
                self.leave(&done, stack.last());
            }
        }
    }

    /// A directory is entered once, whatever names it has.
    fn enter(
        &mut self,
        node: NodeId,
        attr: Option<Attr>,
        path: PathBuf,
        placed: Placed,
        dir: OwnedFd,
    ) -> Frame {
        let names = self.names.remove(&node).unwrap_or_default();
        let names = names.into_iter().rev();
        Frame {
            node,
            attr,
            path,
            placed,
            dir,
            left: names
                .map(|(name, node)| (OsString::from_vec(name), node))
                .collect(),
        }
    }

    /// Copies one entry; of a directory only makes it, to be entered.
    fn entry(
        &mut self,
        node: NodeId,
        place: &Place<'_>,
        path: PathBuf,
        placed: Placed,
    ) -> Option<Frame> {
        let attr = match self.from.getattr(node) {
            Ok(attr) if attr.kind != Kind::Directory => {
                let entry = Entry { node, attr };
                let outcome = self.leaf(&entry, place, &path);
                let undated = outcome.is_partial();
                self.tell(&path, Some(attr.kind), outcome, placed);
                if undated {
                    place.date(&attr);
                }
                return None;
            }
            Err(error) if !self.names.contains_key(&node) => {
                self.tell(&path, None, Outcome::Lost(error.to_string()), placed);
                return None;
            }
            attr => attr.ok(),
        };
        match place.directory() {
            Ok(dir) => Some(self.enter(node, attr, path, placed, dir)),
            Err(errno) => {
                self.tell(&path, Some(Kind::Directory), lost(errno), placed);
                None
            }
        }
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
        let outcome = match done.attr {
            None => Outcome::Attributes(vec!["only the directory's name is left".to_owned()]),
            Some(attr) => {
                let (dir, name) = match (parent, done.path.file_name()) {
                    (Some(parent), Some(name)) => (parent.dir.as_fd(), name),
                    _ => (done.dir.as_fd(), OsStr::new(".")),
                };
                let place = Place { dir, name };
                let node = done.node;
                let mut lost = self.dress(&Entry { node, attr }, &place);
                lost.extend(place.date(&attr));
                Outcome::of(Vec::new(), lost)
            }
        };
        self.tell(&done.path, Some(Kind::Directory), outcome, done.placed);
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

    fn tell(&mut self, path: &Path, kind: Option<Kind>, outcome: Outcome, placed: Placed) {
        (self.report)(Verdict {
            path: path.to_owned(),
            kind,
            outcome,
            placed,
        });
    }
}

fn lost(errno: rustix::io::Errno) -> Outcome {
    Outcome::Lost(std::io::Error::from(errno).to_string())
}
