//! Copies an image out, without FUSE: modes, owners, times, extended attributes, hard links and holes with it, a verdict for
//! each file. What there is a [`Survey`] says, which gets past damage; contents are read through [`FileSystem`].
mod content;

use super::climb::{Climb, existing};
use super::error::Result;
use super::journal;
use super::scan::Placed;
use super::target::{Made, Place, Target, left_out};
use super::verdict::{Outcome, Verdict};
use crate::fs::{
    Attr, Entry, Error, FileSystem, Handle, Kind, NodeId, OpenFlags, Progress, ROOT, Whence,
};
use crate::image::{Image, Survey};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once.
const CHUNK: usize = 1 << 20;

/// Copies everything out of an image. `report` hears each verdict; progress counts bytes.
pub(crate) fn copy_out(
    from: &Image,
    target: Target<'_>,
    progress: &dyn Progress,
    report: &mut dyn FnMut(Verdict) -> bool,
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
        target,
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
    run.keep_the_journal();
    let climb = Climb::new(target.top).map_err(|errno| Error::Io(errno.into()))?;
    run.tree(climb);
    Ok(())
}

struct Run<'a> {
    from: &'a dyn FileSystem,
    /// What is in the directories that were not entered yet.
    names: BTreeMap<NodeId, BTreeMap<Vec<u8>, NodeId>>,
    nameless: BTreeSet<NodeId>,
    target: Target<'a>,
    progress: &'a dyn Progress,
    /// Takes a verdict down; false where that failed.
    report: &'a mut dyn FnMut(Verdict) -> bool,
    /// Where the first name of an inode with several went.
    links: HashMap<u64, PathBuf>,
    buffer: Vec<u8>,
}

/// A directory that is being copied.
struct Frame {
    node: NodeId,
    /// `None`: only its name, or what is in it, is known.
    attr: Option<Attr>,
    placed: Placed,
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

    /// Moves an entry of the root directory that is called like the journal.
    fn keep_the_journal(&mut self) {
        let root = self.names.entry(ROOT).or_default();
        if let Some(node) = root.remove(journal::NAME.as_bytes()) {
            let mut name = journal::reserve(journal::NAME.as_bytes());
            while root.contains_key(&name) {
                name.push(b'+');
            }
            root.insert(name, node);
        }
    }

    /// Depth first, on a stack of its own: a tree may be deeper than a thread's.
    fn tree(&mut self, mut climb: Climb) {
        let root = self.from.getattr(ROOT).ok();
        let mut stack = vec![self.enter(ROOT, root, Placed::Name)];
        let mut path = PathBuf::new();
        while let Some(frame) = stack.last_mut() {
            if let Some((name, node)) = frame.left.pop() {
                let placed = match self.nameless.contains(&node) {
                    true => Placed::Lost,
                    false => frame.placed,
                };
                path.push(&name);
                match self.entry(node, &mut climb, &path, placed) {
                    Some(below) => stack.push(below),
                    None => drop(path.pop()),
                }
            } else if let Some(done) = stack.pop() {
                self.leave(&done, &mut climb, &path);
                path.pop();
            }
        }
    }

    /// A directory is entered once, whatever names it has.
    fn enter(&mut self, node: NodeId, attr: Option<Attr>, placed: Placed) -> Frame {
        let names = self.names.remove(&node).unwrap_or_default();
        let names = names.into_iter().rev();
        Frame {
            node,
            attr,
            placed,
            left: names
                .map(|(name, node)| (OsString::from_vec(name), node))
                .collect(),
        }
    }

    /// Copies one entry; of a directory only makes it, and goes into it.
    fn entry(
        &mut self,
        node: NodeId,
        climb: &mut Climb,
        path: &Path,
        placed: Placed,
    ) -> Option<Frame> {
        let earlier = self.target.earlier;
        let name = path.file_name().unwrap_or_default();
        let attr = match self.from.getattr(node) {
            Ok(attr) if attr.kind != Kind::Directory => {
                let dir = climb.fd();
                let place = Place { dir, name, earlier };
                let (outcome, made) = self.leaf(&Entry { node, attr }, &place, path);
                let undated = made.filter(|_| outcome.is_partial());
                let noted = self.tell(path, Some(attr.kind), outcome, placed);
                if let Some(made) = undated.filter(|_| noted) {
                    made.date(&attr);
                }
                return None;
            }
            Err(error) if !self.names.contains_key(&node) => {
                self.tell(path, None, Outcome::Lost(error.to_string()), placed);
                return None;
            }
            attr => attr.ok(),
        };
        match climb.down(|dir| Place { dir, name, earlier }.directory()) {
            Ok(()) => Some(self.enter(node, attr, placed)),
            Err(errno) => {
                self.tell(path, Some(Kind::Directory), lost(errno), placed);
                None
            }
        }
    }

    fn leaf(&mut self, entry: &Entry, place: &Place<'_>, path: &Path) -> (Outcome, Option<Made>) {
        let attr = &entry.attr;
        if attr.nlink > 1 {
            if let Some(first) = self.links.get(&attr.ino) {
                return match self.again(first, place) {
                    Ok(()) => (Outcome::Whole, None),
                    Err(errno) => (lost(errno), None),
                };
            }
            self.links.insert(attr.ino, path.to_owned());
        }
        if self.target.is_done(place, path, attr) {
            self.progress.done(if attr.kind == Kind::File {
                attr.size
            } else {
                0
            });
            return (Outcome::Earlier, None);
        }
        let (made, missing) = match self.content(entry, place) {
            Ok(made) => made,
            Err(why) => {
                self.links.remove(&attr.ino);
                return (why, None);
            }
        };
        match Outcome::of(missing, self.dress(entry, &made)) {
            Outcome::Whole => (Outcome::of(Vec::new(), made.date(attr)), None),
            partial => (partial, Some(made)),
        }
    }

    /// Another name of what was copied as `first`.
    fn again(&self, first: &Path, place: &Place<'_>) -> rustix::io::Result<()> {
        let dir = open(self.target.top, first.parent().unwrap_or(Path::new("")))?;
        place.link(dir.fd(), first.file_name().unwrap_or_default())
    }

    /// Makes the entry with its content, and says which ranges could not be read.
    fn content(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
    ) -> Result<(Made, Vec<Range<u64>>), Outcome> {
        let failed = |error: Error| Outcome::Lost(error.to_string());
        let made = match entry.attr.kind {
            Kind::Symlink => {
                let target = self.from.readlink(entry.node).map_err(failed)?;
                place.symlink(&target)
            }
            Kind::File => {
                let handle = self.from.open(entry.node, OpenFlags::default());
                let handle = handle.map_err(failed)?;
                let copied = place.file().map_err(Error::from).and_then(|made| {
                    let missing = self.file(entry, handle, made.file())?;
                    Ok((made, missing))
                });
                // Only reading was done: there is nothing that closing could still lose.
                let _ = self.from.release(entry.node, handle);
                return copied.map_err(failed);
            }
            _ if self.target.withhold.device(&entry.attr) => {
                return Err(Outcome::Lost(left_out("device node")));
            }
            _ => place.special(&entry.attr),
        };
        Ok((made.map_err(lost)?, Vec::new()))
    }

    /// The directory is complete: its attributes can no longer be disturbed.
    fn leave(&mut self, done: &Frame, climb: &mut Climb, path: &Path) {
        let left = match path.as_os_str().is_empty() {
            true => climb.fd().try_clone_to_owned().map_err(|_| Errno::MFILE),
            false => climb.up().or_else(|_| self.out_of(climb, path)),
        };
        let outcome = match (done.attr, left) {
            (None, _) => Outcome::Attributes(vec!["only the directory's name is left".to_owned()]),
            (Some(_), Err(errno)) => lost(errno),
            (Some(attr), Ok(left)) => {
                let node = done.node;
                let made = Made::open(left);
                let mut lost = self.dress(&Entry { node, attr }, &made);
                lost.extend(made.date(&attr));
                Outcome::of(Vec::new(), lost)
            }
        };
        self.tell(path, Some(Kind::Directory), outcome, done.placed);
    }

    /// As [`Climb::up`], by names: someone has moved a directory.
    fn out_of(&self, climb: &mut Climb, path: &Path) -> rustix::io::Result<OwnedFd> {
        *climb = open(self.target.top, path.parent().unwrap_or(Path::new("")))?;
        existing(climb.fd(), path.file_name().unwrap_or_default())
    }

    fn dress(&self, entry: &Entry, made: &Made) -> Vec<String> {
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
        unread.extend(made.dress(&entry.attr, &xattrs, self.target.withhold));
        unread
    }

    fn tell(&mut self, path: &Path, kind: Option<Kind>, outcome: Outcome, placed: Placed) -> bool {
        (self.report)(Verdict {
            path: path.to_owned(),
            kind,
            outcome,
            placed,
        })
    }
}

/// A directory of the destination, by its path, which may be longer than a system call takes.
fn open(top: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Climb> {
    let mut climb = Climb::new(top)?;
    for name in path {
        climb.down(|dir| existing(dir, name))?;
    }
    Ok(climb)
}

fn lost(errno: Errno) -> Outcome {
    Outcome::Lost(std::io::Error::from(errno).to_string())
}
