//! Files that the caller has open and the tree has not: it is not told.
use super::{me, open};
use cryptfs::directory::Directory;
use cryptfs::fs::*;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};

const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};
/// More than are kept open.
const MANY: usize = 300;

fn make(tree: &Directory, name: &str) -> NodeId {
    let made = tree.create(ROOT, OsStr::new(name), 0o644, WRITE, &me());
    written(tree, made.expect("create"))
}

/// Writes `content` and closes the file.
fn written(tree: &Directory, (entry, handle): (Entry, Handle)) -> NodeId {
    tree.release(entry.node, handle).expect("release");
    tree.write(entry.node, NO_HANDLE, 0, b"content", false)
        .expect("write");
    entry.node
}

#[track_caller]
fn reads(tree: &Directory, node: NodeId) {
    let mut read = [0; 8];
    let length = tree.read(node, NO_HANDLE, 0, &mut read).expect("read");
    assert_eq!(&read[..length], b"content");
}

#[test]
fn a_file_without_a_name_outlives_its_descriptor() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let made = tree.tmpfile(ROOT, 0o600, WRITE, &me()).expect("tmpfile");
    let nameless = written(&tree, made);
    for number in 0..MANY {
        make(&tree, &number.to_string());
    }
    reads(&tree, nameless);
    assert_eq!(tree.getattr(nameless).expect("getattr").nlink, 0);
    tree.link(nameless, ROOT, OsStr::new("name")).expect("link");
    reads(&tree, nameless);
}

#[test]
fn a_file_is_found_while_it_is_renamed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let tree = open(dir.path());
    let nodes: Vec<_> = (0..MANY).map(|n| make(&tree, &n.to_string())).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20 {
                for number in 0..MANY {
                    let (plain, primed) = (number.to_string(), format!("{number}'"));
                    let (from, to) = if round % 2 == 0 {
                        (&plain, &primed)
                    } else {
                        (&primed, &plain)
                    };
                    let (from, to) = (OsStr::new(from), OsStr::new(to));
                    tree.rename((ROOT, from), (ROOT, to), Rename::Replace)
                        .expect("rename");
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            for node in &nodes {
                reads(&tree, *node);
                tree.getattr(*node).expect("getattr");
            }
        }
    });
}
