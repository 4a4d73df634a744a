//! Which directory is which, and what it was called: backing names that open, and what files say of the directories above
//! them.
use super::Source;
use super::content::Identity;
use super::walk::{Item, Reader, Walk};
use crate::directory::backing;
use crate::directory::file::hint::Step;
use crate::directory::name::{DirId, Names, Shape};
use crate::fs::Kind;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
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
    ids_known: BTreeSet<DirId>,
}

/// How often one search may try names in directories that are not theirs. A name shows where it was given only by being opened
/// with the id of each directory there is, and a hostile store may hold as many of both as it has inodes: without a bound the
/// time grows with their product. Beyond it names are lost, and not content, which says of itself what it is.
const TRIES: u64 = 1 << 24;
/// How many more there are for each entry of the backing store: a large volume that was taken apart may take its time.
const FOR_EACH: u64 = 512;
/// How many entries are tried to recognize the directory that they lie in.
const ENTRIES: usize = 64;

/// What a search may still try.
pub struct Tries {
    left: u64,
    /// The directory that was right last: what was moved was moved together.
    last: Option<DirId>,
}

impl Tries {
    /// Of one search.
    pub fn new(walk: &Walk) -> Self {
        let entries = (walk.dirs.len() + walk.items.len()) as u64;
        Self {
            left: TRIES + FOR_EACH * entries,
            last: None,
        }
    }

    /// True for as long as there are any left.
    fn next(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

impl Evidence {
    /// Opens all names; where one does not open, reads the file's content.
    pub fn of(source: &Source, walk: &Walk) -> rustix::io::Result<Self> {
        let mut found = Self {
            ids: walk.dirs.iter().map(|dir| dir.id).collect(),
            names: HashMap::new(),
            places: HashMap::new(),
            told: HashMap::new(),
            votes: HashMap::new(),
            ids_known: walk.dirs.iter().filter_map(|dir| dir.id).collect(),
        };
        let mut look = Look::new(source, walk)?;
        found.open_names(&mut look);
        if found.names.len() == walk.items.len() && found.places.len() + 1 >= walk.dirs.len() {
            return Ok(found);
        }
        found.hear(source, walk);
        found.recognize(&mut look);
        found.open_names(&mut look);
        found.find_moved(&mut look);
        Ok(found)
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

    fn open_names(&mut self, look: &mut Look<'_>) {
        let walk = look.walk;
        for (index, item) in walk.items.iter().enumerate() {
            if let Some(id) = self.ids[item.dir]
                && !self.names.contains_key(&index)
                && let Some(sealed) = look.at(item.dir, &item.entry)
                && let Some(name) = sealed.open(id)
            {
                self.names.insert(index, name);
            }
        }
        for (index, dir) in walk.dirs.iter().enumerate().skip(1) {
            if let (Some(id), Some(parent)) = (self.ids[index], self.ids[dir.parent])
                && !self.places.contains_key(&id)
                && let Some(sealed) = look.at(dir.parent, &dir.entry)
                && let Some(name) = sealed.open(parent)
            {
                self.places.insert(id, (parent, name));
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
            || Reader::new(source).ok(),
            |reader, at| {
                let index = nameless[at];
                let testimony = reader
                    .as_mut()
                    .and_then(|reader| testimony(source, walk, reader, &walk.items[index]));
                if let Some(testimony) = testimony {
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
    fn recognize(&mut self, look: &mut Look<'_>) {
        let (walk, root) = (look.walk, look.source.root_id);
        let mut inside: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, item) in walk.items.iter().enumerate() {
            inside.entry(item.dir).or_default().push(index);
        }
        let mut below: HashMap<usize, Vec<&CStr>> = HashMap::new();
        for dir in walk.dirs.iter().skip(1) {
            below.entry(dir.parent).or_default().push(&dir.entry);
        }
        let mut tries = Tries::new(look.walk);
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
                *votes.entry(id.unwrap_or(root)).or_default() += 1;
            }
            let entries = items.iter().map(|i| &*walk.items[*i].entry);
            let entries = entries.chain(below.get(&dir).into_iter().flatten().copied());
            let sealed: Vec<_> = entries
                .take(ENTRIES)
                .filter_map(|entry| look.at(dir, entry))
                .collect();
            // What the files say is right nearly always, and not more than a try.
            let opens = |id: &&DirId| {
                sealed
                    .iter()
                    .any(|sealed| tries.next() && sealed.open(**id).is_some())
            };
            let most = votes.iter().find(|(_, count)| **count * 2 > items.len());
            let candidates = votes.keys().chain(&self.ids_known);
            self.ids[dir] = { candidates }
                .find(opens)
                .or(most.map(|(id, _)| id))
                .copied();
        }
    }

    /// Directories that lie elsewhere under their own name: the name tells which directory they were in.
    fn find_moved(&mut self, look: &mut Look<'_>) {
        let mut tries = Tries::new(look.walk);
        let walk = look.walk;
        for (index, dir) in walk.dirs.iter().enumerate().skip(1) {
            let Some(id) = self.ids[index].filter(|id| !self.places.contains_key(id)) else {
                continue;
            };
            if let Some(place) = self.given_in(look, dir.parent, &dir.entry, &mut tries) {
                self.places.insert(id, place);
            }
        }
    }

    /// The directory in which a name was given, and the name.
    pub fn given_in(
        &self,
        look: &mut Look<'_>,
        dir: usize,
        entry: &CStr,
        tries: &mut Tries,
    ) -> Option<(DirId, Vec<u8>)> {
        let sealed = look.at(dir, entry)?;
        let last = tries.last.take();
        let mut ids = last.iter().chain(&self.ids_known);
        let mut found = ids
            .by_ref()
            .take_while(|_| tries.next())
            .filter_map(|id| Some((*id, sealed.open(*id)?)));
        let found = found.next();
        tries.last = found.as_ref().map(|(id, _)| *id).or(last);
        found
    }
}

/// Looks at the backing store.
pub struct Look<'a> {
    source: &'a Source,
    walk: &'a Walk,
    reader: Reader<'a>,
}

impl<'a> Look<'a> {
    /// At the beginning.
    pub fn new(source: &'a Source, walk: &'a Walk) -> rustix::io::Result<Self> {
        let reader = Reader::new(source)?;
        Ok(Self {
            source,
            walk,
            reader,
        })
    }

    /// An entry's sealed name; `None` where it cannot be read, or is none.
    fn at<'b>(&mut self, dir: usize, entry: &'b CStr) -> Option<Sealed<'b>>
    where
        'a: 'b,
    {
        let names = &self.source.names;
        let entry = entry.to_bytes();
        if !matches!(names.shape(entry), Shape::File | Shape::Directory(_)) {
            return None;
        }
        let side = match names.side(entry) {
            None => None,
            Some(side) => {
                let dir = self.reader.open(self.walk, dir).ok()?;
                let file = self.source.open_file(dir, side.to_bytes()).ok()?;
                let mut content = vec![0; 512]; // a sealed name has at most 272 bytes
                let length = backing::read(file.as_fd(), &mut content, 0).ok()?;
                content.truncate(length);
                Some(content)
            }
        };
        Some(Sealed { names, entry, side })
    }
}

/// A backing name, to be tried in directories.
struct Sealed<'a> {
    names: &'a Names,
    entry: &'a [u8],
    side: Option<Vec<u8>>,
}

impl Sealed<'_> {
    /// The plaintext name, if it was given in the directory `id`, and leads nowhere else.
    fn open(&self, id: DirId) -> Option<Vec<u8>> {
        let name = self.names.open(id, self.entry, self.side.as_deref()).ok()?;
        is_plain(&name).then_some(name)
    }
}

fn testimony(
    source: &Source,
    walk: &Walk,
    reader: &mut Reader<'_>,
    item: &Item,
) -> Option<Testimony> {
    let fd = reader.open_file(walk, item).ok()?;
    let identity = Identity::of(&source.keys, fd.as_fd()).ok()??;
    let made_in = identity.header.map(|header| DirId(header.parent));
    let plain = |step: &Step| is_plain(&step.name);
    Some(Testimony {
        id: identity.name(),
        // A file that was made without knowing where.
        made_in: made_in.filter(|id| id.0 != [0; 12]),
        steps: identity.steps.into_iter().take_while(plain).collect(),
    })
}

/// Authentic, and still not to be trusted with a path.
fn is_plain(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}
