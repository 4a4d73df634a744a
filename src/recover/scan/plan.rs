//! Where everything goes: paths in the destination, and how each is known.
use super::Source;
use super::content::hex;
use super::evidence::{Evidence, Look, Tries};
use super::walk::{Item, Reader, StoredDir, Walk};
use crate::directory::name::DirId;
use crate::fs::{Attr, Kind};
use crate::recover::climb::Tree;
use crate::recover::journal;
use rustix::io::Result;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Where things go that nothing says the place of.
const LOST: &str = "lost+found";
/// The most bytes of a name.
const NAME_MAX: usize = 255;

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
    /// The directory above it; the top is in itself.
    pub parent: usize,
    /// Its name in that.
    pub name: OsString,
    /// How many directories are above it.
    pub depth: usize,
    /// How its place is known.
    pub placed: Placed,
    /// Its id, and which backing directory it is; `None`: only its name is known.
    pub stored: Option<(DirId, usize)>,
}

/// A name of a file.
pub struct PlannedName {
    /// The directory.
    pub dir: usize,
    /// The name.
    pub name: OsString,
    /// How it is known.
    pub placed: Placed,
}

/// An inode to be copied.
pub struct PlannedFile {
    /// Its names; the first is copied, the others linked to it.
    pub names: Vec<PlannedName>,
    /// Its attributes; the size is the backing file's.
    pub attr: Attr,
    item: usize,
}

/// Everything that is going to be made. Paths are kept as trees: in a deep one they would take more than the files.
pub struct Plan {
    /// Parents before children; the top first.
    pub dirs: Vec<PlannedDir>,
    /// In the order of the directories.
    pub files: Vec<PlannedFile>,
    /// What could not be listed, by backing path, and why.
    pub unread: Vec<(PathBuf, String)>,
    walk: Walk,
}

impl Plan {
    /// Looks at everything. Contents are read only of files without a name.
    pub fn of(source: &Source) -> Result<Self> {
        let walk = Walk::of(source)?;
        let evidence = Evidence::of(source, &walk)?;
        let mut draft = Draft {
            walk: &walk,
            evidence: &evidence,
            look: Look::new(source, &walk)?,
            tries: Tries::new(&walk),
            known: HashMap::from([(source.root_id, (0, Placed::Name))]),
            taken: HashMap::new(),
            dirs: Dirs::new(),
        };
        draft.directories();
        let files = draft.files();
        let dirs = draft.dirs.all;
        let unread = walk.unread.iter();
        let unread = unread.map(|(dir, why)| (walk.path(*dir), why.clone()));
        Ok(Self {
            dirs,
            files,
            unread: unread.collect(),
            walk,
        })
    }

    /// Opens the backing directory of a file; and its name in it.
    pub fn open<'a, 'b>(
        &'a self,
        reader: &'b mut Reader<'_>,
        file: &PlannedFile,
    ) -> Result<(BorrowedFd<'b>, &'a CString)> {
        let item = &self.walk.items[file.item];
        Ok((reader.open(&self.walk, item.dir)?, &item.entry))
    }

    /// A backing directory.
    pub fn open_dir<'a, 'b>(
        &'a self,
        reader: &'b mut Reader<'_>,
        dir: usize,
    ) -> Result<(BorrowedFd<'b>, &'a StoredDir)> {
        Ok((reader.open(&self.walk, dir)?, &self.walk.dirs[dir]))
    }

    /// A directory's path in the destination.
    pub fn path(&self, dir: usize) -> PathBuf {
        path(self, dir)
    }
}

impl Tree for Plan {
    fn parent(&self, dir: usize) -> usize {
        self.dirs[dir].parent
    }

    fn name(&self, dir: usize) -> &OsStr {
        &self.dirs[dir].name
    }

    fn depth(&self, dir: usize) -> usize {
        self.dirs[dir].depth
    }
}

impl Walk {
    fn path(&self, dir: usize) -> PathBuf {
        path(self, dir)
    }
}

fn path(tree: &impl Tree, mut dir: usize) -> PathBuf {
    let mut names = Vec::new();
    while dir != 0 {
        names.push(tree.name(dir));
        dir = tree.parent(dir);
    }
    names.into_iter().rev().collect()
}

/// The directories of a plan.
struct Dirs {
    all: Vec<PlannedDir>,
    by_name: HashMap<(usize, Vec<u8>), usize>,
}

impl Dirs {
    fn new() -> Self {
        let top = PlannedDir {
            parent: 0,
            name: OsString::new(),
            depth: 0,
            placed: Placed::Name,
            stored: None,
        };
        Self {
            all: vec![top],
            by_name: HashMap::new(),
        }
    }

    /// The directory `name` in another one. Two of one name are one to the reader: a copy that was put beside its original.
    fn inside(&mut self, parent: usize, name: &[u8], placed: Placed) -> usize {
        let name = own_name(parent, name);
        let known = self.by_name.entry((parent, name));
        if let Entry::Occupied(known) = &known {
            return *known.get();
        }
        let name = OsString::from_vec(known.key().1.clone());
        let depth = self.all[parent].depth + 1;
        known.or_insert(self.all.len());
        self.all.push(PlannedDir {
            parent,
            name,
            depth,
            placed,
            stored: None,
        });
        self.all.len() - 1
    }
}

/// The name under which something is made in a directory.
fn own_name(dir: usize, name: &[u8]) -> Vec<u8> {
    match dir {
        0 => journal::reserve(name),
        _ => name.to_vec(),
    }
}

struct Draft<'a> {
    walk: &'a Walk,
    evidence: &'a Evidence,
    look: Look<'a>,
    tries: Tries,
    known: HashMap<DirId, (usize, Placed)>,
    /// Names of files and directories; and how many more files wanted each.
    taken: HashMap<(usize, Vec<u8>), u64>,
    dirs: Dirs,
}

impl Draft<'_> {
    fn directories(&mut self) {
        for index in 0..self.walk.dirs.len() {
            let Some(id) = self.evidence.ids[index] else {
                continue;
            };
            let (dir, _) = self.directory(id);
            self.dirs.all[dir].stored.get_or_insert((id, index));
        }
    }

    /// Where a directory is: upwards to the root, to one that is known already, or to where nobody knows further.
    fn directory(&mut self, id: DirId) -> (usize, Placed) {
        let mut trail: Vec<(DirId, Vec<u8>, Placed)> = Vec::new();
        let mut seen = HashSet::new();
        let mut at = id;
        let (mut dir, mut placed) = loop {
            if let Some(known) = self.known.get(&at) {
                break *known;
            }
            let circle = !seen.insert(at);
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
                None => {
                    let name = hex(&at.0);
                    break (self.lost(Some(name.as_bytes())), Placed::Lost);
                }
            }
        };
        self.known.entry(at).or_insert((dir, placed));
        for (id, name, how) in trail.into_iter().rev() {
            placed = worse(placed, how);
            dir = self.dirs.inside(dir, &name, placed);
            self.known.insert(id, (dir, placed));
        }
        (dir, placed)
    }

    /// The directory of what has no place, or one in it.
    fn lost(&mut self, name: Option<&[u8]>) -> usize {
        let lost = self.dirs.inside(0, LOST.as_bytes(), Placed::Lost);
        name.map_or(lost, |name| self.dirs.inside(lost, name, Placed::Lost))
    }

    fn files(&mut self) -> Vec<PlannedFile> {
        let mut by_inode: HashMap<u64, usize> = HashMap::new();
        let mut files: Vec<PlannedFile> = Vec::new();
        let mut found: Vec<_> = (0..self.walk.items.len())
            .map(|index| (self.place(index), index))
            .collect();
        // The same order in every run, so that a salvage that goes on finds the same names.
        found.sort_by(|(a, at), (b, bt)| (a.dir, &a.name, at).cmp(&(b.dir, &b.name, bt)));
        // A name that is a directory's already is taken.
        let dirs = self.dirs.by_name.keys().cloned();
        self.taken.extend(dirs.map(|name| (name, 0)));
        for (mut name, index) in found {
            let item = &self.walk.items[index];
            name.name = OsString::from_vec(self.vacant(&name, item));
            let known = by_inode.get(&item.attr.ino).filter(|_| item.attr.nlink > 1);
            match known {
                Some(at) => files[*at].names.push(name),
                None => {
                    by_inode.insert(item.attr.ino, files.len());
                    files.push(PlannedFile {
                        names: vec![name],
                        attr: item.attr,
                        item: index,
                    });
                }
            }
        }
        files
    }

    fn place(&mut self, index: usize) -> PlannedName {
        let (evidence, item) = (self.evidence, &self.walk.items[index]);
        if let Some(name) = evidence.names.get(&index)
            && let Some(id) = evidence.ids[item.dir]
        {
            return self.inside(id, name, Placed::Name);
        }
        let moved = evidence.given_in(&mut self.look, item.dir, &item.entry, &mut self.tries);
        if let Some((id, name)) = moved {
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
            let id = evidence.ids[item.dir];
            let empty = item.attr.size == 0 || item.attr.kind != Kind::File;
            return self.nameless(id.filter(|_| empty), &name);
        };
        if let Some(step) = told.steps.first() {
            return self.inside(DirId(step.parent), &step.name, Placed::Content);
        }
        self.nameless(told.made_in, &format!("file-{}", told.id))
    }

    fn inside(&mut self, dir: DirId, name: &[u8], how: Placed) -> PlannedName {
        let (dir, placed) = self.directory(dir);
        PlannedName {
            dir,
            name: OsString::from_vec(own_name(dir, name)),
            placed: worse(placed, how),
        }
    }

    fn nameless(&mut self, dir: Option<DirId>, name: &str) -> PlannedName {
        let placed = Placed::Lost;
        match dir {
            Some(id) => self.inside(id, name.as_bytes(), placed),
            None => PlannedName {
                dir: self.lost(None),
                name: name.into(),
                placed,
            },
        }
    }

    /// Two files of one name: the second gets its inode number behind it.
    fn vacant(&mut self, name: &PlannedName, item: &Item) -> Vec<u8> {
        let wanted = name.name.as_bytes().to_vec();
        let mut again = match self.taken.entry((name.dir, wanted.clone())) {
            Entry::Vacant(free) => {
                free.insert(0);
                return wanted;
            }
            Entry::Occupied(taken) => *taken.get(),
        };
        loop {
            let mut free = wanted.clone();
            let number = format!(".{}-{again}", item.attr.ino);
            free.truncate(NAME_MAX - number.len());
            free.extend(number.as_bytes());
            again += 1;
            if let Entry::Vacant(place) = self.taken.entry((name.dir, free.clone())) {
                place.insert(0);
                self.taken.insert((name.dir, wanted), again);
                return free;
            }
        }
    }
}

fn worse(a: Placed, b: Placed) -> Placed {
    match (a, b) {
        (Placed::Lost, _) | (_, Placed::Lost) => Placed::Lost,
        (Placed::Content, _) | (_, Placed::Content) => Placed::Content,
        (Placed::Name, Placed::Name) => Placed::Name,
    }
}
