//! A small tree whose every byte is known, and reading it back.
use crate::model::rng::Rng;
use cryptfs::fs::{Caller, Error, FileSystem, Kind, NodeId, OpenFlags, ROOT, SetXattr};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What a place in the tree holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Thing {
    File { data: Vec<u8>, sparse: bool },
    Link(Vec<u8>),
    Directory,
}

/// One place.
#[derive(Clone, Debug)]
pub struct Known {
    pub ino: u64,
    pub thing: Thing,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The tree, by path ("a/b").
pub type Tree = BTreeMap<Vec<u8>, Known>;

/// Sizes at the edges of units: nothing, less than a header, unit 0 almost full, full, over; later units the same.
const SIZES: [usize; 10] = [0, 1, 63, 4000, 4001, 4064, 8000, 8064, 12_192, 100_000];

const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0o022,
    }
}

/// What the tree is made of: path, thing, extended attributes.
fn plan() -> Vec<(Vec<u8>, Thing, usize)> {
    let file = |seed: u64, size: usize| Thing::File {
        data: Rng::bytes(seed + 1, size),
        sparse: false,
    };
    let mut plan: Vec<_> = (SIZES.iter().enumerate())
        .map(|(index, size)| {
            (
                format!("size {size}").into_bytes(),
                file(index as u64, *size),
                0,
            )
        })
        .collect();
    let mut sparse = vec![0; 60_000];
    sparse[..5000].copy_from_slice(&Rng::bytes(77, 5000));
    sparse[40_000..45_000].copy_from_slice(&Rng::bytes(78, 5000));
    sparse[59_000..].copy_from_slice(&Rng::bytes(79, 1000));
    let long = |byte: u8, length: usize| vec![byte; length];
    plan.push((
        b"sparse".to_vec(),
        Thing::File {
            data: sparse,
            sparse: true,
        },
        0,
    ));
    plan.push((long(b'l', 200), file(20, 300), 0));
    plan.push((long(b'm', 255), file(21, 5000), 1));
    plan.push((b"\xff\xfe".to_vec(), file(22, 70), 2));
    plan.push((b"short link".to_vec(), Thing::Link(b"size 1".to_vec()), 0));
    plan.push((b"long link".to_vec(), Thing::Link(long(b't', 2000)), 0));
    plan.push((b"dir".to_vec(), Thing::Directory, 1));
    plan.push((b"dir/size 63".to_vec(), file(30, 63), 0)); // another file of a size and a name that are there already
    plan.push((b"dir/size 8064".to_vec(), file(31, 8064), 0));
    plan.push((
        [b"dir/", &long(b'd', 220)[..]].concat(),
        Thing::Directory,
        0,
    ));
    plan.push((
        [b"dir/", &long(b'd', 220)[..], b"/end"].concat(),
        file(32, 10),
        0,
    ));
    plan
}

/// Makes the tree in an empty volume.
pub fn make(fs: &dyn FileSystem) -> Tree {
    let mut tree = Tree::new();
    for (path, thing, xattrs) in plan() {
        let (parent, name) = place(fs, &path).expect("the parent was made before");
        let node = create(fs, parent, &name, &thing);
        let mut known = Known {
            ino: fs.getattr(node).expect("getattr").ino,
            thing,
            xattrs: BTreeMap::new(),
        };
        for index in 0..xattrs {
            let name = format!("user.{index}").into_bytes();
            let value = Rng::bytes(index as u64 + 50, 40 + index * 300);
            fs.setxattr(node, OsStr::from_bytes(&name), &value, SetXattr::Create)
                .expect("setxattr");
            known.xattrs.insert(name, value);
        }
        tree.insert(path, known);
    }
    tree
}

fn create(fs: &dyn FileSystem, parent: NodeId, name: &OsStr, thing: &Thing) -> NodeId {
    match thing {
        Thing::Directory => fs.mkdir(parent, name, 0o755, &me()).expect("mkdir").node,
        Thing::Link(to) => {
            fs.symlink(parent, name, OsStr::from_bytes(to), &me())
                .expect("symlink")
                .node
        }
        Thing::File { data, sparse } => {
            let (entry, handle) = fs
                .create(parent, name, 0o644, WRITE, &me())
                .expect("create");
            let mut at = 0;
            for part in data.chunks(1000) {
                if !sparse || part.iter().any(|byte| *byte != 0) {
                    fs.write(entry.node, handle, at, part, false)
                        .expect("write");
                }
                at += part.len() as u64;
            }
            fs.release(entry.node, handle).expect("release");
            entry.node
        }
    }
}

fn place(fs: &dyn FileSystem, path: &[u8]) -> Result<(NodeId, OsString), Error> {
    let mut parts: Vec<_> = path.split(|byte| *byte == b'/').collect();
    let name = parts.pop().map(|name| OsString::from_vec(name.to_vec()));
    let mut node = ROOT;
    for part in parts {
        node = fs.lookup(node, OsStr::from_bytes(part))?.node;
    }
    Ok((node, name.unwrap_or_default()))
}

/// What was read of a file: at each stretch bytes, or an error.
#[derive(Debug, Default)]
pub struct Reading {
    pub stretches: Vec<(u64, Result<Vec<u8>, i32>)>,
    /// Where it ended; `None` when it could not be told.
    pub end: Option<u64>,
}

/// Stretch by which files are read: less than a unit, so that damage shows where it is.
const STRETCH: u64 = 1016;

/// Reads all of a file, error or not, up to a little more than it should have.
fn read(fs: &dyn FileSystem, node: NodeId, size: u64) -> Result<Reading, i32> {
    let handle = fs.open(node, OpenFlags::default()).map_err(|e| e.errno())?;
    let mut reading = Reading::default();
    let (mut at, mut sure) = (0, true);
    while at <= size + 2 * STRETCH {
        let mut buf = vec![0xaa; STRETCH as usize];
        match fs.read(node, handle, at, &mut buf) {
            Ok(count) => {
                buf.truncate(count);
                reading.stretches.push((at, Ok(buf)));
                if (count as u64) < STRETCH {
                    // Nothing read after an error does not say where between the two the end is.
                    reading.end = Some(at + count as u64).filter(|_| sure || count > 0);
                    break;
                }
                sure = true;
            }
            Err(error) => {
                reading.stretches.push((at, Err(error.errno())));
                sure = false;
            }
        }
        at += STRETCH;
    }
    fs.release(node, handle).map_err(|e| e.errno())?;
    Ok(reading)
}

/// What was found at one place.
pub enum Found {
    /// All is as it was.
    Right,
    /// Something is an error; the rest is as it was.
    Error(i32),
    /// The name is not found.
    Gone,
    /// Bytes that were never there, at this offset; or an end that is not the file's.
    Wrong(String),
}

/// Looks at one place.
pub fn examine(fs: &dyn FileSystem, path: &[u8], known: &Known) -> Found {
    match look(fs, path, known) {
        Ok(found) => found,
        Err(error) if error == rustix::io::Errno::NOENT.raw_os_error() => Found::Gone,
        Err(error) => Found::Error(error),
    }
}

fn look(fs: &dyn FileSystem, path: &[u8], known: &Known) -> Result<Found, i32> {
    let (parent, name) = place(fs, path).map_err(|e| e.errno())?;
    let entry = fs.lookup(parent, &name).map_err(|e| e.errno())?;
    let mut worst = match &known.thing {
        Thing::Directory if entry.attr.kind == Kind::Directory => Found::Right,
        Thing::Link(target) if entry.attr.kind == Kind::Symlink => {
            match fs.readlink(entry.node).map_err(|e| e.errno())? {
                got if got == *target => Found::Right,
                got => Found::Wrong(format!("link to {}", got.escape_ascii())),
            }
        }
        Thing::File { data, .. } if entry.attr.kind == Kind::File => {
            judge(data, &read(fs, entry.node, data.len() as u64)?)
        }
        _ => Found::Wrong(format!("is a {:?}", entry.attr.kind)),
    };
    for (name, value) in &known.xattrs {
        match fs.getxattr(entry.node, OsStr::from_bytes(name)) {
            Ok(got) if got == *value => {}
            Ok(got) => return Ok(Found::Wrong(format!("attribute is {}", got.escape_ascii()))),
            Err(error) => worst = Found::Error(error.errno()),
        }
    }
    Ok(worst)
}

fn judge(data: &[u8], reading: &Reading) -> Found {
    let mut worst = Found::Right;
    for (at, stretch) in &reading.stretches {
        let want = &data[data.len().min(*at as usize)..data.len().min((*at + STRETCH) as usize)];
        match stretch {
            Ok(got) if got == want => {}
            Ok(got) => {
                let same = want
                    .iter()
                    .zip(got)
                    .take_while(|(want, got)| want == got)
                    .count();
                return Found::Wrong(format!(
                    "byte {} of {}, {} bytes where {} were wanted",
                    *at as usize + same,
                    data.len(),
                    got.len(),
                    want.len()
                ));
            }
            Err(errno) => worst = Found::Error(*errno),
        }
    }
    if reading.end.is_some_and(|end| end != data.len() as u64) {
        return Found::Wrong(format!(
            "ends at {:?} instead of {}",
            reading.end,
            data.len()
        ));
    }
    worst
}

/// Names that a listing shows and the tree does not have.
pub fn strangers(fs: &dyn FileSystem, tree: &Tree) -> Vec<Vec<u8>> {
    let names: BTreeSet<&[u8]> = tree
        .keys()
        .map(|path| path.rsplit(|b| *b == b'/').next().unwrap_or(path))
        .collect();
    let directories = tree
        .iter()
        .filter(|(_, known)| known.thing == Thing::Directory);
    let mut found = Vec::new();
    for path in directories
        .map(|(path, _)| path.as_slice())
        .chain([&b""[..]])
    {
        let node = match place(fs, &[path, b"/."].concat()) {
            _ if path.is_empty() => ROOT,
            Ok((node, _)) => node,
            Err(_) => continue,
        };
        let Ok(handle) = fs.opendir(node) else {
            continue;
        };
        let _ = fs.readdir(node, handle, 0, &mut |entry| {
            let name = entry.name.as_bytes();
            if name != b"." && name != b".." && !names.contains(name) {
                found.push(name.to_vec());
            }
            false
        });
        fs.releasedir(node, handle);
    }
    found
}

#[test]
fn the_judge_sees_wrong_bytes_and_wrong_ends() {
    let data = Rng::bytes(1, 3000);
    let part = |from: usize, to: usize| Ok(data[from..to].to_vec());
    let judged = |stretches: Vec<(u64, Result<Vec<u8>, i32>)>, end| {
        judge(&data, &Reading { stretches, end })
    };
    let whole = || {
        vec![
            (0, part(0, 1016)),
            (1016, part(1016, 2032)),
            (2032, part(2032, 3000)),
        ]
    };
    assert!(matches!(judged(whole(), Some(3000)), Found::Right));
    let mut wrong = whole();
    wrong[1].1.as_mut().expect("bytes")[5] ^= 1;
    assert!(matches!(judged(wrong, Some(3000)), Found::Wrong(_)));
    let mut damaged = whole();
    damaged[1].1 = Err(5);
    assert!(matches!(judged(damaged, Some(3000)), Found::Error(5)));
    assert!(
        matches!(judged(vec![(0, part(0, 700))], Some(700)), Found::Wrong(_)),
        "short"
    );
    let mut longer = whole();
    longer[2].1.as_mut().expect("bytes").push(0);
    assert!(
        matches!(judged(longer, Some(3001)), Found::Wrong(_)),
        "long"
    );
}
