//! Images: what the model does not see.
mod crash;
mod deep;
mod full;
mod hostile;
mod log;
mod narrow;
mod shows;
mod snapshot;
mod threads;

use crate::kinds::{ImageVolume, VolumeKind};
use cryptfs::fs::{Caller, FileSystem, Kind, NodeId, OpenFlags, ROOT, Result};
use cryptfs::image::{Image, Options, check};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

pub const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

pub const ME: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};

/// A fresh image of so many MiB in `dir`.
pub fn fresh(dir: &Path, mib: u64) -> Image {
    ImageVolume.format(dir, mib << 20);
    open(dir)
}

/// Opens the image in `dir`.
pub fn open(dir: &Path) -> Image {
    ImageVolume
        .open_on(dir, &Options::default())
        .expect("open the image")
}

/// The node of a path.
pub fn find(fs: &dyn FileSystem, path: &str) -> Result<NodeId> {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.into_iter().try_fold(ROOT, |node, name| {
        Ok(fs.lookup(node, OsStr::new(name))?.node)
    })
}

/// Directory and name of a path.
pub fn parent<'a>(fs: &dyn FileSystem, path: &'a str) -> Result<(NodeId, &'a OsStr)> {
    let (dir, name) = path.rsplit_once('/').expect("a path");
    Ok((find(fs, dir)?, OsStr::new(name)))
}

/// Makes or writes over a file.
pub fn put(fs: &dyn FileSystem, path: &str, content: &[u8]) -> Result<()> {
    let (dir, name) = parent(fs, path)?;
    let node = match fs.lookup(dir, name) {
        Ok(entry) => entry.node,
        Err(_) => fs.mknod(dir, name, 0o100644, 0, &ME)?.node,
    };
    let handle = fs.open(
        node,
        OpenFlags {
            truncate: true,
            ..WRITE
        },
    )?;
    let done = fs.write(node, handle, 0, content, false);
    fs.release(node, handle)?;
    fs.forget(node, 1);
    done
}

/// Bytes that differ from seed to seed.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    crate::model::rng::Rng::bytes(seed, length)
}

/// Names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What can be seen of a file; an errno where it cannot.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub attr: std::result::Result<(Kind, u32, u32, u64), i32>,
    pub content: std::result::Result<Vec<u8>, i32>,
    pub xattrs: std::result::Result<Xattrs, i32>,
}

/// Everything that can be seen, by path, and the paths of directories that could not be listed.
pub fn look(fs: &dyn FileSystem) -> (BTreeMap<Vec<u8>, Seen>, Vec<Vec<u8>>) {
    let (mut seen, mut lost) = (BTreeMap::new(), Vec::new());
    let mut left = vec![(Vec::new(), ROOT)];
    while let Some((path, node)) = left.pop() {
        seen.insert(path.clone(), item(fs, node));
        let is_dir = matches!(seen[&path].attr, Ok((Kind::Directory, ..)));
        if !is_dir {
            continue;
        }
        let mut names: Vec<OsString> = Vec::new();
        let listed = fs.readdir(node, 0, 0, &mut |entry| {
            names.push(entry.name.to_owned());
            false
        });
        if listed.is_err() {
            lost.push(path.clone());
        }
        for name in names.iter().filter(|name| *name != "." && *name != "..") {
            let path = [&path[..], b"/", name.as_bytes()].concat();
            match fs.lookup(node, name) {
                Ok(entry) => left.push((path, entry.node)),
                Err(_) => lost.push(path),
            }
        }
    }
    (seen, lost)
}

fn item(fs: &dyn FileSystem, node: NodeId) -> Seen {
    let attr = fs.getattr(node).map_err(|e| e.errno());
    let content = || -> Result<Vec<u8>> {
        match attr {
            Ok(attr) if attr.kind == Kind::File => {
                let mut buf = vec![0; attr.size as usize];
                let count = fs.read(node, 0, 0, &mut buf)?;
                buf.truncate(count);
                Ok(buf)
            }
            Ok(attr) if attr.kind == Kind::Symlink => fs.readlink(node),
            _ => Ok(Vec::new()),
        }
    };
    let xattrs = || -> Result<Xattrs> {
        let names = fs.listxattr(node)?;
        let value = |name: Vec<u8>| {
            let value = fs.getxattr(node, &OsString::from_vec(name.clone()))?;
            Ok((name, value))
        };
        names.into_iter().map(value).collect()
    };
    Seen {
        attr: attr.map(|attr| (attr.kind, attr.mode, attr.nlink, attr.size)),
        content: content().map_err(|e| e.errno()),
        xattrs: xattrs().map_err(|e| e.errno()),
    }
}

/// A check finds nothing.
pub fn sound(image: &Image) {
    let mut found = Vec::new();
    check::check(image, false, &(), &mut |finding| {
        found.push(finding.clone())
    })
    .expect("check runs");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn an_image_checks_clean_after_use() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 32);
    for round in 0..6 {
        for number in 0..40 {
            let length = [0, 10, 1500, 1600, 5000, 200_000][number % 6];
            let path = format!("/{number}");
            put(&image, &path, &bytes(round * 100 + number as u64, length)).expect("put");
        }
        for number in (round as usize..40).step_by(3) {
            let _ = image.unlink(ROOT, OsStr::new(&number.to_string()));
        }
        image.sync().expect("sync");
    }
    sound(&image);
    let before = look(&image);
    image.close().expect("close");
    drop(image);
    let image = open(home.path());
    assert_eq!(look(&image), before);
    sound(&image);
    assert!(ImageVolume.open(home.path(), true).is_ok());
}
