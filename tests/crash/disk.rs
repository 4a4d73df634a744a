//! What a power cut leaves of a sequence of system calls, as Linux's journalling file systems allow it.
//!
//! The model is as unkind as ext4, xfs and btrfs together may be:
//!
//! - Names, lengths set by truncate, holes, modes and attributes are *metadata*. Metadata reaches the disk in order: a
//!   crash keeps the operations before some point, which lies anywhere between the last commit and the crash.
//! - What commits depends on the file system ([`Commit`]): an fsync on ext4 commits everything before it; on xfs what the
//!   log holds up to the file's last change; on btrfs only the file itself, with the names that lead to it.
//! - Content reaches the disk by 4096-byte pages, each whole, at any time after its write, in any order or not at all,
//!   until fsync returns. A page that had a place on the disk is overwritten in place, independently of metadata; a page
//!   that had none needs the metadata of its allocation.
//! - A file that grows by writing has on the disk any length that some of the written pages give it; pages below it that
//!   did not arrive are zeros.
use crate::model::rng::Rng;
use cryptfs::directory::record::Op;
use cryptfs::fs::Rename;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// An inode of the simulated disk: numbers are never used again.
pub type Ino = usize;
type Page = Rc<[u8]>;
type Name = Vec<u8>;

/// What an inode is and, for a link, holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Special,
}

/// One change with the inodes resolved.
#[derive(Clone, Debug)]
enum Change {
    New {
        ino: Ino,
        at: Option<(Ino, Name)>,
        kind: Kind,
    },
    Link {
        ino: Ino,
        at: (Ino, Name),
    },
    Remove {
        at: (Ino, Name),
        ino: Ino,
    },
    Rename {
        from: (Ino, Name),
        to: (Ino, Name),
        moved: Ino,
        replaced: Option<Ino>,
        exchange: bool,
    },
    Length {
        ino: Ino,
    },
    Discard,
    Xattr {
        ino: Ino,
        name: Name,
        value: Option<Vec<u8>>,
    },
    Content {
        ino: Ino,
    },
    Sync {
        ino: Ino,
    },
    SyncAll,
    Nothing,
}

/// When a page held what.
#[derive(Clone)]
enum Version {
    Written(Page),
    /// The rest of a page that a truncation cut: zeroed at the latest with the new length.
    Zeroed(Page),
    Discarded,
}

/// Everything that ever happened to an inode's content, by the index of the change.
#[derive(Default)]
struct Content {
    pages: BTreeMap<u64, Vec<(usize, Version)>>,
    /// Length in memory after each change; true if a truncation set it.
    lengths: Vec<(usize, u64, bool)>,
}

/// Which metadata an fsync makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// All before it (ext4).
    Everything,
    /// All up to the last change of the file (xfs).
    UpToTheFile,
    /// The file and the names that lead to it (btrfs).
    TheFileAlone,
}

/// How what was not synced is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// Everything arrived.
    All,
    /// Nothing arrived that did not have to.
    Nothing,
    /// Metadata arrived, content did not.
    NoContent,
    /// Each page and length at random.
    Random(u64),
}

/// All that happened to a disk.
pub struct Disk {
    changes: Vec<Change>,
    content: HashMap<Ino, Content>,
    /// What there was before: all durable.
    base: State,
}

/// A file system at rest.
#[derive(Clone, Default)]
pub struct State {
    pub nodes: BTreeMap<Ino, Node>,
}

/// One inode at rest.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub length: u64,
    pub pages: BTreeMap<u64, Page>,
    pub xattrs: BTreeMap<Name, Vec<u8>>,
    pub entries: BTreeMap<Name, Ino>,
}

impl Node {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            length: 0,
            pages: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            entries: BTreeMap::new(),
        }
    }
}

/// The root directory.
pub const ROOT: Ino = 0;

/// Turns recorded operations into changes: follows names and contents as the kernel's caches do.
struct Recorder<'a> {
    disk: &'a mut Disk,
    /// The live file system.
    now: State,
    /// Real inode numbers, which may be used again.
    inos: HashMap<u64, Ino>,
}

impl Disk {
    /// From what was on the disk before (`base`, whose real inode numbers are `inos`) and what was recorded.
    pub fn new(base: State, inos: HashMap<u64, Ino>, ops: &[Op]) -> Self {
        let mut disk = Self {
            changes: Vec::new(),
            content: HashMap::new(),
            base: base.clone(),
        };
        let mut recorder = Recorder {
            disk: &mut disk,
            now: base,
            inos,
        };
        for op in ops {
            let change = recorder.change(op);
            recorder.disk.changes.push(change);
        }
        disk
    }

    /// What is left after a power cut before change `cut`.
    pub fn crash(&self, cut: usize, commit: Commit, luck: Luck) -> State {
        let mut rng = match luck {
            Luck::Random(seed) => Rng::new(seed),
            _ => Rng::new(0),
        };
        let synced = self.synced(cut);
        let (least, needed) = self.committed(cut, commit);
        let point = match luck {
            Luck::All | Luck::NoContent => cut,
            Luck::Nothing => least,
            Luck::Random(_) if rng.once(4) => least,
            Luck::Random(_) => least + rng.below((cut - least) as u64 + 1) as usize,
        };
        let mut state = self.base.clone();
        for (index, change) in self.changes[..cut].iter().enumerate() {
            if index < point || needed.contains(&index) {
                apply_name(&mut state, change);
            }
            let inode = change.inode();
            if index < point || inode.is_some_and(|ino| index < synced(ino)) {
                apply_attribute(&mut state, change);
            }
        }
        let in_place = commit != Commit::TheFileAlone;
        for (ino, node) in &mut state.nodes {
            let Some(content) = self.content.get(ino) else {
                continue;
            };
            let scope = Scope {
                cut,
                point,
                synced: synced(*ino),
                in_place,
                luck,
            };
            content.leave(&scope, node, &mut rng);
        }
        state
    }

    /// The change before which an inode's content and attributes are durable.
    fn synced(&self, cut: usize) -> impl Fn(Ino) -> usize + use<> {
        let mut files = HashMap::new();
        let mut all = 0;
        for (index, change) in self.changes[..cut].iter().enumerate() {
            match change {
                Change::Sync { ino } => drop(files.insert(*ino, index)),
                Change::SyncAll => all = index,
                _ => {}
            }
        }
        move |ino| files.get(&ino).copied().unwrap_or(0).max(all)
    }

    /// The first change that need not be durable, and those after it that must be all the same.
    fn committed(&self, cut: usize, commit: Commit) -> (usize, BTreeSet<usize>) {
        let (mut least, mut needed) = (0, BTreeSet::new());
        for (index, change) in self.changes[..cut].iter().enumerate() {
            match (change, commit) {
                (Change::SyncAll, _) | (Change::Sync { .. }, Commit::Everything) => least = index,
                (Change::Sync { ino }, Commit::UpToTheFile) => {
                    let last = (0..index)
                        .rev()
                        .find(|earlier| self.changes[*earlier].touches(*ino));
                    least = least.max(last.map_or(0, |last| last + 1));
                }
                (Change::Sync { ino }, Commit::TheFileAlone) => {
                    needed.extend(self.closure(index, *ino))
                }
                _ => {}
            }
        }
        (least, needed)
    }

    /// The changes of names before `until` that make an inode's own, or its entries, what they are, and those earlier ones
    /// without which these make no sense.
    fn closure(&self, until: usize, ino: Ino) -> BTreeSet<usize> {
        let own = |index: &usize| {
            let change = &self.changes[*index];
            change.named().contains(&ino) || change.places().iter().any(|place| place.0 == ino)
        };
        let mut left: Vec<usize> = (0..until).filter(own).collect();
        let mut found = BTreeSet::new();
        while let Some(index) = left.pop() {
            if found.insert(index) {
                left.extend((0..index).filter(|earlier| self.needs(index, *earlier)));
            }
        }
        found
    }

    /// Whether a change of names makes no sense without an earlier one: of the same name, of what it names, of the
    /// directories that lead to it.
    fn needs(&self, index: usize, earlier: usize) -> bool {
        let (change, earlier) = (&self.changes[index], &self.changes[earlier]);
        let (places, named) = (change.places(), change.named());
        let leads = |ino: &Ino| named.contains(ino) || places.iter().any(|place| place.0 == *ino);
        earlier.named().iter().any(leads)
            || earlier.places().iter().any(|place| places.contains(place))
    }
}

impl Change {
    /// The places in directories that it changes.
    fn places(&self) -> Vec<&(Ino, Name)> {
        match self {
            Self::New { at: Some(at), .. } | Self::Link { at, .. } | Self::Remove { at, .. } => {
                vec![at]
            }
            Self::Rename { from, to, .. } => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// The inodes whose names it changes.
    fn named(&self) -> Vec<Ino> {
        match self {
            Self::New { ino, .. } | Self::Link { ino, .. } | Self::Remove { ino, .. } => vec![*ino],
            Self::Rename {
                moved, replaced, ..
            } => [Some(*moved), *replaced].into_iter().flatten().collect(),
            _ => Vec::new(),
        }
    }

    /// The inode whose attributes it changes.
    fn inode(&self) -> Option<Ino> {
        match self {
            Self::Length { ino, .. } | Self::Xattr { ino, .. } | Self::Content { ino } => {
                Some(*ino)
            }
            _ => None,
        }
    }

    fn touches(&self, ino: Ino) -> bool {
        self.inode() == Some(ino)
            || self.named().contains(&ino)
            || self.places().iter().any(|place| place.0 == ino)
    }
}

fn apply_name(state: &mut State, change: &Change) {
    let mut set = |at: &(Ino, Name), ino: Option<Ino>| {
        let Some(directory) = state.nodes.get_mut(&at.0) else {
            return;
        };
        match ino {
            Some(ino) => drop(directory.entries.insert(at.1.clone(), ino)),
            None => drop(directory.entries.remove(&at.1)),
        }
    };
    match change {
        Change::New { ino, at, kind } => {
            if let Some(at) = at {
                set(at, Some(*ino));
            }
            state.nodes.insert(*ino, Node::new(kind.clone()));
        }
        Change::Link { ino, at } => set(at, Some(*ino)),
        Change::Remove { at, .. } => set(at, None),
        Change::Rename {
            from,
            to,
            moved,
            replaced,
            exchange,
        } => {
            set(from, replaced.filter(|_| *exchange));
            set(to, Some(*moved));
        }
        _ => {}
    }
}

fn apply_attribute(state: &mut State, change: &Change) {
    if let Change::Xattr { ino, name, value } = change
        && let Some(node) = state.nodes.get_mut(ino)
    {
        match value {
            Some(value) => drop(node.xattrs.insert(name.clone(), value.clone())),
            None => drop(node.xattrs.remove(name)),
        }
    }
}

/// What a crash spares of one inode's content.
struct Scope {
    /// Changes before this one happened.
    cut: usize,
    /// Metadata before this one is durable.
    point: usize,
    /// All of this inode before this one is durable.
    synced: usize,
    /// Pages with a place on the disk are overwritten where they are.
    in_place: bool,
    luck: Luck,
}

impl Scope {
    fn choose<'a, T>(&self, from: &'a [T], rng: &mut Rng) -> &'a T {
        match self.luck {
            Luck::All => &from[from.len() - 1],
            Luck::Nothing | Luck::NoContent => &from[0],
            // The ends are where mistakes are.
            Luck::Random(_) => match rng.below(4) {
                0 => &from[0],
                1 => &from[from.len() - 1],
                _ => &from[rng.below(from.len() as u64) as usize],
            },
        }
    }
}

impl Content {
    fn leave(&self, scope: &Scope, node: &mut Node, rng: &mut Rng) {
        node.length = *scope.choose(&self.lengths_left(scope, node.length), rng);
        for (number, versions) in &self.pages {
            let base = node
                .pages
                .remove(number)
                .map_or(Version::Discarded, Version::Written);
            let left = versions_left(scope, base, versions);
            if let Version::Written(page) | Version::Zeroed(page) = scope.choose(&left, rng) {
                node.pages.insert(*number, Rc::clone(page));
            }
        }
        let end = node.length.div_ceil(PAGE);
        node.pages.retain(|number, _| *number < end);
    }

    fn lengths_left(&self, scope: &Scope, base: u64) -> Vec<u64> {
        let mut left = vec![base];
        for (index, length, set) in &self.lengths {
            match (*index < scope.synced, *index < scope.point, *set) {
                (true, ..) | (false, true, true) => left = vec![*length],
                (false, true, false) => {
                    let before = left[left.len() - 1];
                    let pages = (before / PAGE + 1..length.div_ceil(PAGE)).map(|page| page * PAGE);
                    left.extend(pages.chain([*length]));
                }
                (false, false, _) => break,
            }
        }
        left
    }
}

fn versions_left(scope: &Scope, base: Version, versions: &[(usize, Version)]) -> Vec<Version> {
    let mut left = vec![base];
    for (index, version) in versions.iter().filter(|(index, _)| *index < scope.cut) {
        let durable = *index < scope.synced;
        let committed = *index < scope.point;
        match version {
            _ if durable => left = vec![version.clone()],
            Version::Discarded | Version::Zeroed(_) if committed => left = vec![version.clone()],
            // What comes after a discard that the disk does not know needs a place that it does not know either.
            Version::Discarded => break,
            Version::Written(_) | Version::Zeroed(_) => {
                let placed = left
                    .iter()
                    .any(|version| !matches!(version, Version::Discarded));
                if committed || placed && scope.in_place {
                    left.push(version.clone());
                }
            }
        }
    }
    left
}

impl Recorder<'_> {
    fn ino(&self, real: u64) -> Ino {
        self.inos[&real]
    }

    fn place(&self, dir: u64, name: &[u8]) -> (Ino, Name) {
        (self.ino(dir), name.to_vec())
    }

    fn make(&mut self, real: u64, at: Option<(u64, &[u8])>, kind: Kind) -> Change {
        let ino = self.inos.len() + self.disk.changes.len() + 1; // new for each change
        self.inos.insert(real, ino);
        Change::New {
            ino,
            at: at.map(|(dir, name)| self.place(dir, name)),
            kind,
        }
    }

    fn change(&mut self, op: &Op) -> Change {
        let index = self.disk.changes.len();
        let change = match op {
            Op::Create { dir, name, ino, .. } => self.make(*ino, Some((*dir, name)), Kind::File),
            Op::Tmpfile { ino, .. } => self.make(*ino, None, Kind::File),
            Op::Mkdir { dir, name, ino, .. } => {
                self.make(*ino, Some((*dir, name)), Kind::Directory)
            }
            Op::Mknod {
                dir,
                name,
                ino,
                mode,
                ..
            } => {
                let regular = matches!(mode & 0o170000, 0 | 0o100000);
                self.make(
                    *ino,
                    Some((*dir, name)),
                    if regular { Kind::File } else { Kind::Special },
                )
            }
            Op::Symlink {
                dir,
                name,
                ino,
                target,
            } => self.make(*ino, Some((*dir, name)), Kind::Symlink(target.clone())),
            Op::Link { ino, dir, name } => Change::Link {
                ino: self.ino(*ino),
                at: self.place(*dir, name),
            },
            Op::Unlink { dir, name } | Op::Rmdir { dir, name } => {
                let at = self.place(*dir, name);
                let ino = self.now.nodes[&at.0].entries[&at.1];
                Change::Remove { at, ino }
            }
            Op::Rename { from, to, how } => {
                let (from, to) = (self.place(from.0, &from.1), self.place(to.0, &to.1));
                Change::Rename {
                    moved: self.now.nodes[&from.0].entries[&from.1],
                    replaced: self.now.nodes[&to.0].entries.get(&to.1).copied(),
                    exchange: *how == Rename::Exchange,
                    from,
                    to,
                }
            }
            Op::Write { ino, offset, data } => self.write(index, *ino, *offset, data),
            Op::Truncate { ino, length } => self.truncate(index, *ino, *length),
            Op::Punch {
                ino,
                offset,
                length,
            } => self.punch(index, *ino, *offset, *length),
            Op::SetXattr { ino, name, value } => Change::Xattr {
                ino: self.ino(*ino),
                name: name.clone(),
                value: Some(value.clone()),
            },
            Op::RemoveXattr { ino, name } => Change::Xattr {
                ino: self.ino(*ino),
                name: name.clone(),
                value: None,
            },
            Op::Sync { ino } | Op::SyncDir { ino } => Change::Sync {
                ino: self.ino(*ino),
            },
            Op::SyncAll => Change::SyncAll,
            Op::Reserve { .. } | Op::SetMode { .. } | Op::SetOwner { .. } | Op::SetTimes { .. } => {
                Change::Nothing
            }
        };
        apply_name(&mut self.now, &change);
        change
    }

    fn node(&mut self, ino: Ino) -> (&mut Node, &mut Content) {
        let node = self.now.nodes.get_mut(&ino).expect("a live inode");
        (node, self.disk.content.entry(ino).or_default())
    }

    fn write(&mut self, index: usize, real: u64, offset: u64, data: &[u8]) -> Change {
        let ino = self.ino(real);
        let (node, content) = self.node(ino);
        let end = offset + data.len() as u64;
        for number in offset / PAGE..end.div_ceil(PAGE) {
            let mut page = node
                .pages
                .get(&number)
                .map_or_else(|| vec![0; PAGE as usize], |page| page.to_vec());
            let start = number * PAGE;
            let (from, to) = (offset.max(start), end.min(start + PAGE));
            page[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            let page: Page = page.into();
            node.pages.insert(number, Rc::clone(&page));
            content
                .pages
                .entry(number)
                .or_default()
                .push((index, Version::Written(page)));
        }
        if end > node.length {
            node.length = end;
            content.lengths.push((index, end, false));
        }
        Change::Content { ino }
    }

    fn truncate(&mut self, index: usize, real: u64, length: u64) -> Change {
        let ino = self.ino(real);
        let (node, content) = self.node(ino);
        let tail = length / PAGE;
        for number in node
            .pages
            .range(length.div_ceil(PAGE)..)
            .map(|(number, _)| *number)
        {
            content
                .pages
                .entry(number)
                .or_default()
                .push((index, Version::Discarded));
        }
        node.pages.split_off(&length.div_ceil(PAGE));
        if length < node.length
            && let Some(page) = node.pages.get_mut(&tail)
        {
            // The rest of the last page is zeroed together with the new length.
            let mut cut = page.to_vec();
            cut[(length % PAGE) as usize..].fill(0);
            *page = cut.into();
            content
                .pages
                .entry(tail)
                .or_default()
                .push((index, Version::Zeroed(Rc::clone(page))));
        }
        node.length = length;
        content.lengths.push((index, length, true));
        Change::Length { ino }
    }

    /// Whole pages, which is all that the directory layer asks for.
    fn punch(&mut self, index: usize, real: u64, offset: u64, length: u64) -> Change {
        let ino = self.ino(real);
        let (node, content) = self.node(ino);
        assert!(
            offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE),
            "a punch of parts of pages"
        );
        for number in offset / PAGE..(offset + length) / PAGE {
            if node.pages.remove(&number).is_some() {
                content
                    .pages
                    .entry(number)
                    .or_default()
                    .push((index, Version::Discarded));
            }
        }
        Change::Discard
    }
}
