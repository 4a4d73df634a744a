//! Checking a whole volume: every name, unit, link target and attribute; and putting aside what cannot be read.
//!
//! Repair never deletes. What no name can be given to goes to `.cryptfs/lost+found` on the backing store, under its backing
//! name. A damaged unit stays where it is (reading it is an error); a file that was cut keeps what is left.
use super::super::file::{File, hint::hint};
use super::super::name::{DirId, Shape};
use super::node::Node;
use super::*;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::ops::Range;

const LOST: &CStr = c"lost+found";

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The plaintext path from the volume's root, as far as it is known.
    pub path: Vec<u8>,
    /// What is wrong.
    pub problem: Problem,
    /// What repair did about it.
    pub repaired: Option<Repair>,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Damaged content.
    #[error("bytes {} to {}: {damage}", range.start, range.end)]
    Content {
        /// Plaintext bytes.
        range: Range<u64>,
        /// How.
        damage: Damage,
    },
    /// The file does not open at all.
    #[error("file does not open: {0}")]
    File(Damage),
    /// The backing length was ahead of the data.
    #[error("length was ahead of the data after a crash")]
    Crash,
    /// The target does not open.
    #[error("link target: {0}")]
    Target(Damage),
    /// An attribute does not open.
    #[error("extended attribute: {0}")]
    Attribute(Damage),
    /// A name that does not open in this directory; the backing name.
    #[error("name {} does not open here: {damage}", String::from_utf8_lossy(entry))]
    Name {
        /// Backing name.
        entry: Vec<u8>,
        /// How.
        damage: Damage,
    },
    /// A backing entry that cryptfs did not make.
    #[error("{} is not cryptfs's", String::from_utf8_lossy(.0))]
    Alien(Vec<u8>),
    /// A side file without its entry.
    #[error("{} belongs to no entry", String::from_utf8_lossy(.0))]
    OrphanSide(Vec<u8>),
    /// A side file that was not finished: its entry was never made, so that nothing is lost.
    #[error(
        "{} was not finished when the disk was full or the power went; it holds nothing",
        String::from_utf8_lossy(.0)
    )]
    Unfinished(Vec<u8>),
    /// Two files with one file id; the path of the other.
    #[error(
        "has the file id of {}: one of the two was copied outside of cryptfs",
        String::from_utf8_lossy(.0)
    )]
    Twin(Vec<u8>),
    /// Two entries with one name (a sync program's conflict); the backing name of the second.
    #[error("{} has a name that is taken", String::from_utf8_lossy(.0))]
    Duplicate(Vec<u8>),
    /// The backing store failed.
    #[error("cannot be read: errno {0}")]
    Unreadable(i32),
}

/// What repair did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Moved to `.cryptfs/lost+found`.
    PutAside,
    /// Length brought in line with what is there.
    Length,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Directories.
    pub directories: u64,
    /// Other entries.
    pub files: u64,
    /// Plaintext bytes.
    pub bytes: u64,
    /// Findings.
    pub findings: u64,
    /// Findings that were repaired.
    pub repaired: u64,
}

/// Checks the whole tree. `report` hears each finding as it is made; progress counts bytes.
pub fn check(
    directory: &Directory,
    repair: bool,
    progress: &dyn Progress,
    report: &mut dyn FnMut(&Finding),
) -> Result<Summary> {
    if repair {
        directory.writable()?;
    }
    let mut run = Run {
        tree: directory,
        repair,
        progress,
        report,
        summary: Summary::default(),
        seen: HashSet::new(),
        ids: HashMap::new(),
        left: Vec::new(),
    };
    run.directory(&directory.nodes.get(ROOT)?, b"")?;
    while let Some((node, path)) = run.left.pop() {
        if let Err(error) = run.directory(&node, &path) {
            run.found(&path, Problem::Unreadable(error.errno()), None);
        }
        directory.forget(node.id, 1);
    }
    if repair && run.summary.findings == run.summary.repaired {
        directory.store.mark_repaired();
    }
    Ok(run.summary)
}

struct Run<'a> {
    tree: &'a Directory,
    repair: bool,
    progress: &'a dyn Progress,
    report: &'a mut dyn FnMut(&Finding),
    summary: Summary,
    /// Inodes with several names that were checked.
    seen: HashSet<u64>,
    /// The first file that was seen with each file id.
    ids: HashMap<[u8; 12], Box<[u8]>>,
    /// Directories that were found and are still to be checked, with one reference each: a list and not a recursion, for a
    /// tree may be deeper than the stack.
    left: Vec<(Arc<Node>, Vec<u8>)>,
}

impl Run<'_> {
    fn found(&mut self, path: &[u8], problem: Problem, repaired: Option<Repair>) {
        if !matches!(problem, Problem::Unfinished(_)) {
            self.summary.findings += 1; // what holds nothing is no damage
            self.summary.repaired += u64::from(repaired.is_some());
        }
        (self.report)(&Finding {
            path: path.to_vec(),
            problem,
            repaired,
        });
    }

    fn directory(&mut self, node: &Arc<Node>, path: &[u8]) -> Result<()> {
        self.summary.directories += 1;
        let handle = self.tree.handle(node)?;
        let mut entries = Vec::new();
        list::for_each(self.tree.backing(), handle.as_fd(), |entry| {
            entries.extend(CString::new(entry))
        })?;
        let size = |entry: &CString| {
            backing::stat(Object::At(handle.as_fd(), entry)).map_or(0, |stat| stat.stx_size)
        };
        self.progress.total(entries.iter().map(size).sum());
        let mut names = HashSet::new();
        let mut sides = HashSet::new();
        for entry in entries
            .iter()
            .filter(|entry| !matches!(self.tree.names.shape(entry.as_bytes()), Shape::Side))
        {
            sides.extend(self.tree.names.side(entry.as_bytes()));
            self.entry(node, handle.as_fd(), entry, path, &mut names)?;
        }
        for side in entries.iter().filter(|entry| {
            self.tree.names.shape(entry.as_bytes()) == Shape::Side && !sides.contains(*entry)
        }) {
            let repaired = self.put_aside(handle.as_fd(), side)?;
            let name = side.as_bytes().into();
            let problem = match name_is_unfinished(side.as_bytes()) {
                true => Problem::Unfinished(name),
                false => Problem::OrphanSide(name),
            };
            self.found(path, problem, repaired);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &Arc<Node>,
        handle: BorrowedFd<'_>,
        entry: &CString,
        path: &[u8],
        names: &mut HashSet<Vec<u8>>,
    ) -> Result<()> {
        let id = match self.tree.names.shape(entry.as_bytes()) {
            Shape::Reserved | Shape::Side => return Ok(()),
            // Put aside, the service would take the folder for one that it no longer synchronises.
            Shape::Alien if is_of_sync_service(entry.as_bytes()) => return Ok(()),
            Shape::Alien => {
                let repaired = self.put_aside(handle, entry)?;
                self.found(path, Problem::Alien(entry.as_bytes().into()), repaired);
                return Ok(());
            }
            Shape::File => None,
            Shape::Directory(id) => Some(id),
        };
        let name = match self
            .tree
            .open_name(handle, parent.dir()?.id, entry.as_bytes())
        {
            Ok(name) => name,
            Err(error) => {
                let damage = damage_of(&error).unwrap_or(Damage::Missing);
                let repaired = self.put_aside(handle, entry)?;
                self.found(
                    path,
                    Problem::Name {
                        entry: entry.as_bytes().into(),
                        damage,
                    },
                    repaired,
                );
                return Ok(());
            }
        };
        let path = [path, b"/", &name].concat();
        if !names.insert(name) {
            let repaired = self.put_aside(handle, entry)?;
            self.found(&path, Problem::Duplicate(entry.as_bytes().into()), repaired);
            return Ok(());
        }
        match self.object(parent, handle, entry, id, &path) {
            Err(error) if damage_of(&error).is_none() => {
                self.found(&path, Problem::Unreadable(error.errno()), None);
                Ok(())
            }
            Err(_) => {
                let repaired = self.put_aside(handle, entry)?;
                self.found(
                    &path,
                    Problem::Name {
                        entry: entry.as_bytes().into(),
                        damage: Damage::Malformed,
                    },
                    repaired,
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn object(
        &mut self,
        parent: &Arc<Node>,
        handle: BorrowedFd<'_>,
        entry: &CStr,
        id: Option<DirId>,
        path: &[u8],
    ) -> Result<()> {
        let stat = backing::stat(Object::At(handle, entry))?;
        let kind = Kind::from_mode(u32::from(stat.stx_mode)).ok_or(Damage::Malformed)?;
        if (kind == Kind::Directory) != id.is_some() {
            return Err(Damage::Malformed.into());
        }
        if stat.stx_nlink > 1
            && kind != Kind::Directory
            && !self.seen.insert(self.tree.nodes.number(&stat))
        {
            return Ok(());
        }
        if kind == Kind::File {
            self.file(parent, handle, entry, path)?;
            self.progress.done(stat.stx_size);
        }
        let node = self.tree.nodes.refer(&stat, kind, id);
        node.add_place(parent, entry);
        let checked = self.details(&node, handle, entry, path);
        if checked.is_ok() && kind == Kind::Directory {
            self.left.push((node, path.to_vec()));
        } else {
            self.tree.forget(node.id, 1);
        }
        checked
    }

    fn details(
        &mut self,
        node: &Arc<Node>,
        handle: BorrowedFd<'_>,
        entry: &CStr,
        path: &[u8],
    ) -> Result<()> {
        if let Err(error) = self.tree.list_attributes(node) {
            self.found(
                path,
                Problem::Attribute(damage_of(&error).ok_or(error)?),
                None,
            );
        }
        match node.kind {
            Kind::Directory => return Ok(()), // its entries come later
            Kind::Symlink => {
                let target = backing::read_link(handle, entry).map_err(Error::from);
                if let Err(error) = target.and_then(|stored| self.tree.target(&stored)) {
                    self.found(path, Problem::Target(damage_of(&error).ok_or(error)?), None);
                }
            }
            Kind::File | Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {}
        }
        self.summary.files += 1;
        Ok(())
    }

    fn file(
        &mut self,
        parent: &Arc<Node>,
        handle: BorrowedFd<'_>,
        entry: &CStr,
        path: &[u8],
    ) -> Result<()> {
        let id = parent.dir()?.id.0;
        let open = |write| self.tree.backing().open_file(handle, entry, write);
        let file = match File::open(self.tree.store.clone(), open(false)?, false, id) {
            Ok((file, mismatch)) => {
                if mismatch {
                    self.found(
                        path,
                        Problem::Crash,
                        (!self.tree.store.read_only).then_some(Repair::Length),
                    );
                }
                file
            }
            Err(error) => {
                let damage = damage_of(&error).ok_or(error)?;
                let cut = damage == Damage::Length && self.repair;
                let file = if cut {
                    Some(File::accept_length(
                        self.tree.store.clone(),
                        open(true)?,
                        id,
                    )?)
                } else {
                    None
                };
                self.found(
                    path,
                    Problem::File(damage),
                    file.is_some().then_some(Repair::Length),
                );
                match file {
                    Some(file) => file,
                    None => return Ok(()),
                }
            }
        };
        self.summary.bytes += file.size();
        if let Some(id) = file.id()
            && let Some(other) = self.ids.insert(id.0, path.into())
        {
            self.found(path, Problem::Twin(other.into()), None);
        }
        let mut damaged = Vec::new();
        file.verify(&mut |range, damage| damaged.push((range, damage)))?;
        if self.repair && damaged.is_empty() {
            // A repair ends the doubt about crashes: from then on a length that is not the recorded one is an error.
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let hint = hint(&self.tree.trail(parent), id, name);
            file.record_length(|| Ok(open(true)?), hint)?;
        }
        for (range, damage) in damaged {
            self.found(path, Problem::Content { range, damage }, None);
        }
        Ok(())
    }

    /// Moves a backing entry to `.cryptfs/lost+found`, if this is a repair.
    fn put_aside(&self, handle: BorrowedFd<'_>, entry: &CStr) -> Result<Option<Repair>> {
        if !self.repair {
            return Ok(None);
        }
        let own = self.tree.own.as_fd();
        match self.tree.backing().mkdir_own(own, LOST) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let lost = self.tree.backing().open_dir(own, LOST)?;
        for number in 0..u32::MAX {
            // The backing name last, cut to fit: it is what salvage can still open.
            let mut name = format!("{number}.").into_bytes();
            name.extend(entry.to_bytes().iter().take(255 - name.len()));
            let name = CString::new(name).map_err(|_| Error::Invalid)?;
            let to = (lost.as_fd(), &*name);
            match self.tree.backing().rename_new((handle, entry), to) {
                Err(Errno::EXIST) => {}
                moved => {
                    moved?;
                    return Ok(Some(Repair::PutAside));
                }
            }
        }
        Err(Error::NoSpace)
    }
}

/// Whether a backing entry is what a synchronisation service keeps in its folders for itself.
fn is_of_sync_service(entry: &[u8]) -> bool {
    const NAMES: [&str; 15] = [
        ".stfolder",
        ".stversions",
        ".stignore",
        ".dropbox",
        ".dropbox.attr",
        ".dropbox.cache",
        ".owncloudsync.log",
        ".nextcloudsync.log",
        ".sync_exclude.lst",
        ".sync",
        ".SyncArchive",
        ".tmp.driveupload",
        ".tmp.drivedownload",
        "desktop.ini",
        ".DS_Store",
    ];
    let journals: [&[u8]; 4] = [
        b".sync_",
        b"._sync_",
        b".csync_journal.db",
        b".stfolder.removed-",
    ];
    NAMES.iter().any(|name| name.as_bytes() == entry)
        || journals.iter().any(|begin| entry.starts_with(begin))
}

/// True for the name under which a side file is written before it gets its own.
fn name_is_unfinished(side: &[u8]) -> bool {
    side.ends_with(b"++")
}

fn damage_of(error: &Error) -> Option<Damage> {
    match error {
        Error::Damaged(damage) => Some(*damage),
        _ => None,
    }
}
