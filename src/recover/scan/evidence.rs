//! Which directory is which, and what it was called: backing names that open, and what files say of the directories above
//! them.
use super::Source;
use super::content::Identity;
use super::walk::{Item, Walk};
use crate::directory::backing;
use crate::directory::file::hint::Step;
use crate::directory::name::DirId;
use crate::fs::Kind;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// What a file says of itself.
pub struct Testimony {
    /// Its name and those of the directories above, as of its last write.
    pub steps: Vec<Step>,
    /// The directory in which it was made.
    pub made_in: Option<DirId>,
    /// How to call it where it has no name.
    pub id: String,
}

/// All that is known.
pub struct Evidence {
    /// Of each backing directory: its id.
    pub ids: Vec<Option<DirId>>,
    /// Names that opened: of items, where they lie.
    pub names: HashMap<usize, Vec<u8>>,
    /// Where directories are, by names that opened.
    pub places: HashMap<DirId, (DirId, Vec<u8>)>,
    /// What the items without a name say of themselves.
    pub told: HashMap<usize, Testimony>,
    votes: HashMap<DirId, HashMap<Step, u32>>,
    ids_known: HashSet<DirId>,
}

impl Evidence {
    /// Opens all names; where one does not open, reads the file's content.
    pub fn of(source: &Source, walk: &Walk) -> Self {
        let mut found = Self {
            ids: walk.dirs.iter().map(|dir| dir.id).collect(),
            names: HashMap::new(),
            places: HashMap::new(),
            told: HashMap::new(),
            votes: HashMap::new(),
            ids_known: walk.dirs.iter().filter_map(|dir| dir.id).collect(),
        };
        found.open_names(source, walk);
        if found.names.len() == walk.items.len() && found.places.len() + 1 >= walk.dirs.len() {
            return found;
        }
        found.hear(source, walk);
        found.recognize(source, walk);
        found.open_names(source, walk);
        found.find_moved(source, walk);
        found
    }

    /// Where a directory is: by its name, or by what most of the files below say.
    pub fn place(&self, id: DirId) -> Option<(DirId, Vec<u8>)> {
        if let Some(place) = self.places.get(&id) {
            return Some(place.clone());
        }
        let votes = self.votes.get(&id)?.iter();
        // Of equally many the one that sorts first, so that every run decides alike.
        let best = votes
            .max_by_key(|(step, count)| (**count, std::cmp::Reverse((&step.parent, &step.name))))?;
        Some((DirId(best.0.parent), best.0.name.clone()))
    }

    fn open_names(&mut self, source: &Source, walk: &Walk) {
        for (index, item) in walk.items.iter().enumerate() {
            if let Some(id) = self.ids[item.dir]
                && !self.names.contains_key(&index)
                && let Some(name) = open_name(source, walk, item.dir, &item.entry, id)
            {
                self.names.insert(index, name);
            }
        }
        for (index, dir) in walk.dirs.iter().enumerate().skip(1) {
            if let (Some(id), Some(parent)) = (self.ids[index], self.ids[dir.parent])
                && let Some(name) = open_name(source, walk, dir.parent, &dir.entry, parent)
            {
                self.places.entry(id).or_insert((parent, name));
            }
        }
    }

    /// Reads what the files without a name say.
    fn hear(&mut self, source: &Source, walk: &Walk) {
        let nameless: Vec<usize> = (0..walk.items.len())
            .filter(|index| !self.names.contains_key(index))
            .filter(|index| walk.items[*index].attr.kind == Kind::File)
            .collect();
        let told = Mutex::new(HashMap::new());
        super::parallel(
            nameless.len(),
            || (),
            |(), at| {
                let index = nameless[at];
                if let Some(testimony) = testimony(source, walk, &walk.items[index]) {
                    told.lock().insert(index, testimony);
                }
            },
        );
        self.told = told.into_inner();
        for testimony in self.told.values() {
            for pair in testimony.steps.windows(2) {
                let id = DirId(pair[0].parent);
                let votes = self.votes.entry(id).or_default();
                *votes.entry(pair[1].clone()).or_default() += 1;
                self.ids_known.insert(DirId(pair[1].parent));
            }
            self.ids_known
                .extend(testimony.steps.first().map(|step| DirId(step.parent)));
            self.ids_known.extend(testimony.made_in);
        }
    }

    /// A directory without an id in its name (a number in lost+found): the one in which a name of its own opens; else the
    /// one that most of its files were in.
    fn recognize(&mut self, source: &Source, walk: &Walk) {
        let mut inside: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, item) in walk.items.iter().enumerate() {
            inside.entry(item.dir).or_default().push(index);
        }
        for dir in 0..walk.dirs.len() {
            if self.ids[dir].is_some() || walk.dirs[dir].entry.to_bytes() == b"lost+found" {
                continue;
            }
            let items = inside.get(&dir).map(Vec::as_slice).unwrap_or_default();
            let mut votes: HashMap<DirId, usize> = HashMap::new();
            for told in items.iter().filter_map(|index| self.told.get(index)) {
                let id = told
                    .steps
                    .first()
                    .map(|step| DirId(step.parent))
                    .or(told.made_in);
                *votes.entry(id.unwrap_or(source.root_id)).or_default() += 1;
            }
            let mut entries: Vec<&CStr> = items.iter().map(|i| &*walk.items[*i].entry).collect();
            let subdirs = walk.dirs.iter().filter(|sub| sub.parent == dir);
            entries.extend(subdirs.map(|sub| &*sub.entry));
            let opens = |id: &&DirId| {
                entries
                    .iter()
                    .any(|entry| open_name(source, walk, dir, entry, **id).is_some())
            };
            let most = votes.iter().find(|(_, count)| **count * 2 > items.len());
            self.ids[dir] = self
                .ids_known
                .iter()
                .find(opens)
                .or(most.map(|(id, _)| id))
                .copied();
        }
    }

    /// Directories that lie elsewhere under their own name: the name tells which directory they were in.
    fn find_moved(&mut self, source: &Source, walk: &Walk) {
        for (index, dir) in walk.dirs.iter().enumerate().skip(1) {
            let Some(id) = self.ids[index].filter(|id| !self.places.contains_key(id)) else {
                continue;
            };
            let opened = self.ids_known.iter().find_map(|parent| {
                let name = open_name(source, walk, dir.parent, &dir.entry, *parent)?;
                Some((*parent, name))
            });
            if let Some(place) = opened {
                self.places.insert(id, place);
            }
        }
    }

    /// The same for anything else.
    pub fn moved(&self, source: &Source, walk: &Walk, item: &Item) -> Option<(DirId, Vec<u8>)> {
        self.ids_known.iter().find_map(|parent| {
            let name = open_name(source, walk, item.dir, &item.entry, *parent)?;
            Some((*parent, name))
        })
    }
}

fn testimony(source: &Source, walk: &Walk, item: &Item) -> Option<Testimony> {
    let dir = walk.open(source, item.dir).ok()?;
    let fd = source.open_file(dir.as_fd(), item.entry.to_bytes()).ok()?;
    let identity = Identity::of(&source.keys, fd.as_fd()).ok()??;
    let made_in = identity.header.map(|header| DirId(header.parent));
    Some(Testimony {
        id: identity.name(),
        // A file that was made without knowing where.
        made_in: made_in.filter(|id| id.0 != [0; 12]),
        steps: identity.steps.into_iter().take_while(is_plain).collect(),
    })
}

/// Authentic, and still not to be trusted with a path.
fn is_plain(step: &Step) -> bool {
    let name = &step.name[..];
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// The plaintext name of a backing entry, if it was given in the directory `id`.
fn open_name(source: &Source, walk: &Walk, dir: usize, entry: &CStr, id: DirId) -> Option<Vec<u8>> {
    let entry = entry.to_bytes();
    let side = match source.names.side(entry) {
        None => None,
        Some(side) => {
            let dir = walk.open(source, dir).ok()?;
            let file = source.open_file(dir.as_fd(), side.to_bytes()).ok()?;
            let mut content = vec![0; 512]; // a sealed name has at most 272 bytes
            let length = backing::read(file.as_fd(), &mut content, 0).ok()?;
            content.truncate(length);
            Some(content)
        }
    };
    source.names.open(id, entry, side.as_deref()).ok()
}
