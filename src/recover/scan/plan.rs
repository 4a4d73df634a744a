//! Where everything goes: paths in the destination, and how each is known.
use super::Source;
use super::content::hex;
use super::evidence::Evidence;
use super::walk::{Item, StoredDir, Walk};
use crate::directory::name::DirId;
use crate::fs::{Attr, Kind};
use rustix::io::Result;
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where things go that nothing says the place of.
const LOST: &str = "lost+found";

/// How an entry's place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// By its backing name.
    Name,
    /// By what the file, or the files below, say of it.
    Content,
    /// Not: it has a number for a name, or lies in lost+found.
    Lost,
}

/// A directory to be made.
pub struct PlannedDir {
    /// Where.
    pub path: PathBuf,
    /// How its place is known.
    pub placed: Placed,
    /// Its id, and which backing directory it is; `None`: only its name is known.
    pub stored: Option<(DirId, usize)>,
}

/// An inode to be copied.
pub struct PlannedFile {
    /// Its names; the first is copied, the others linked to it.
    pub paths: Vec<(PathBuf, Placed)>,
    /// Its attributes; the size is the backing file's.
    pub attr: Attr,
    item: usize,
}

/// Everything that is going to be made.
pub struct Plan {
    /// Parents before children.
    pub dirs: Vec<PlannedDir>,
    /// By path.
    pub files: Vec<PlannedFile>,
    /// What could not be listed, by backing path, and why.
    pub unread: Vec<(PathBuf, String)>,
    walk: Walk,
}

impl Plan {
    /// Looks at everything. Contents are read only of files without a name.
    pub fn of(source: &Source) -> Result<Self> {
        let walk = Walk::of(source)?;
        let evidence = Evidence::of(source, &walk);
        let mut draft = Draft {
            source,
            walk: &walk,
            evidence: &evidence,
            paths: HashMap::from([(source.root_id, (PathBuf::new(), Placed::Name))]),
            taken: HashSet::new(),
            dirs: HashMap::new(),
        };
        draft.directories();
        let files = draft.files();
        let mut dirs: Vec<_> = draft.dirs.into_values().collect();
        dirs.sort_by(|a, b| a.path.cmp(&b.path));
        let unread = walk.unread.iter();
        let unread = unread.map(|(dir, why)| (walk.path(*dir), why.clone()));
        Ok(Self {
            dirs,
            files,
            unread: unread.collect(),
            walk,
        })
    }

    /// The backing directory of a file, and its name in it.
    pub fn open(&self, source: &Source, file: &PlannedFile) -> Result<(OwnedFd, &CString)> {
        let item = &self.walk.items[file.item];
        Ok((self.walk.open(source, item.dir)?, &item.entry))
    }

    /// A backing directory.
    pub fn open_dir(&self, source: &Source, dir: usize) -> Result<(OwnedFd, &StoredDir)> {
        Ok((self.walk.open(source, dir)?, &self.walk.dirs[dir]))
    }
}

impl Walk {
    fn path(&self, dir: usize) -> PathBuf {
        let mut names = Vec::new();
        let mut at = dir;
        while at != 0 {
            names.push(OsStr::from_bytes(self.dirs[at].entry.to_bytes()));
            at = self.dirs[at].parent;
        }
        names.into_iter().rev().collect()
    }
}

struct Draft<'a> {
    source: &'a Source,
    walk: &'a Walk,
    evidence: &'a Evidence,
    paths: HashMap<DirId, (PathBuf, Placed)>,
    taken: HashSet<PathBuf>,
    dirs: HashMap<PathBuf, PlannedDir>,
}

impl Draft<'_> {
    fn directories(&mut self) {
        for index in 0..self.walk.dirs.len() {
            let Some(id) = self.evidence.ids[index] else {
                continue;
            };
            let (path, placed) = self.directory(id);
            self.make(&path, placed);
            if let Some(planned) = self.dirs.get_mut(&path) {
                planned.stored.get_or_insert((id, index));
            }
        }
    }

    /// Where a directory is: upwards to the root, to one that is known already, or to where nobody knows further.
    fn directory(&mut self, id: DirId) -> (PathBuf, Placed) {
        let mut trail: Vec<(DirId, Vec<u8>, Placed)> = Vec::new();
        let mut at = id;
        let (mut path, mut placed) = loop {
            if let Some(known) = self.paths.get(&at) {
                break known.clone();
            }
            let circle = trail.iter().any(|(seen, ..)| *seen == at);
            match self.evidence.place(at).filter(|_| !circle) {
                Some((parent, name)) => {
                    let by_name = self.evidence.places.contains_key(&at);
                    let how = if by_name {
                        Placed::Name
                    } else {
                        Placed::Content
                    };
                    trail.push((at, name, how));
                    at = parent;
                }
                None => break (Path::new(LOST).join(hex(&at.0)), Placed::Lost),
            }
        };
        self.paths.entry(at).or_insert((path.clone(), placed));
        for (id, name, how) in trail.into_iter().rev() {
            path.push(OsStr::from_bytes(&name));
            placed = worse(placed, how);
            // Two directories of one name are one to the reader: a copy that was put beside its original.
            self.paths.insert(id, (path.clone(), placed));
        }
        (path, placed)
    }

    /// Plans a directory and those above it.
    fn make(&mut self, path: &Path, placed: Placed) {
        for above in path.ancestors() {
            if self.dirs.contains_key(above) {
                break;
            }
            self.taken.insert(above.to_owned());
            let path = above.to_owned();
            let planned = PlannedDir {
                path: path.clone(),
                placed,
                stored: None,
            };
            self.dirs.insert(path, planned);
        }
    }

    fn files(&mut self) -> Vec<PlannedFile> {
        let mut by_inode: HashMap<u64, usize> = HashMap::new();
        let mut files: Vec<PlannedFile> = Vec::new();
        let mut found: Vec<_> = (0..self.walk.items.len())
            .map(|index| (self.place(index), index))
            .collect();
        // The same order in every run, so that a salvage that goes on finds the same names.
        found.sort_by(|a, b| (&a.0.0, a.1).cmp(&(&b.0.0, b.1)));
        for ((path, placed), index) in found {
            let item = &self.walk.items[index];
            let path = self.vacant(path, item);
            if let Some(above) = path.parent() {
                self.make(above, placed);
            }
            let known = by_inode.get(&item.attr.ino).filter(|_| item.attr.nlink > 1);
            match known {
                Some(at) => files[*at].paths.push((path, placed)),
                None => {
                    by_inode.insert(item.attr.ino, files.len());
                    files.push(PlannedFile {
                        paths: vec![(path, placed)],
                        attr: item.attr,
                        item: index,
                    });
                }
            }
        }
        files
    }

    fn place(&mut self, index: usize) -> (PathBuf, Placed) {
        let (evidence, item) = (self.evidence, &self.walk.items[index]);
        if let Some(name) = evidence.names.get(&index)
            && let Some(id) = evidence.ids[item.dir]
        {
            return self.inside(id, name, Placed::Name);
        }
        if let Some((id, name)) = evidence.moved(self.source, self.walk, item) {
            return self.inside(id, &name, Placed::Name);
        }
        let Some(told) = evidence.told.get(&index) else {
            let kind = match (item.attr.kind, item.attr.size) {
                (Kind::File, 0) => "empty",
                (Kind::File, _) => "unknown",
                (Kind::Symlink, _) => "link",
                _ => "special",
            };
            let name = format!("{kind}-{}", item.attr.ino);
            return match evidence.ids[item.dir] {
                Some(id) if item.attr.size == 0 || item.attr.kind != Kind::File => {
                    self.inside(id, name.as_bytes(), Placed::Lost)
                }
                _ => (Path::new(LOST).join(name), Placed::Lost),
            };
        };
        if let Some(step) = told.steps.first() {
            return self.inside(DirId(step.parent), &step.name, Placed::Content);
        }
        let name = format!("file-{}", told.id);
        match told.made_in {
            Some(id) => self.inside(id, name.as_bytes(), Placed::Lost),
            None => (Path::new(LOST).join(name), Placed::Lost),
        }
    }

    fn inside(&mut self, dir: DirId, name: &[u8], how: Placed) -> (PathBuf, Placed) {
        let (path, placed) = self.directory(dir);
        (path.join(OsStr::from_bytes(name)), worse(placed, how))
    }

    /// Two files of one name: the second gets its inode number behind it.
    fn vacant(&mut self, path: PathBuf, item: &Item) -> PathBuf {
        let mut wanted = path.clone();
        let mut again = 0;
        while !self.taken.insert(wanted.clone()) {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{}-{again}", item.attr.ino));
            wanted = name.into();
            again += 1;
        }
        wanted
    }
}

fn worse(a: Placed, b: Placed) -> Placed {
    match (a, b) {
        (Placed::Lost, _) | (_, Placed::Lost) => Placed::Lost,
        (Placed::Content, _) | (_, Placed::Content) => Placed::Content,
        (Placed::Name, Placed::Name) => Placed::Name,
    }
}
