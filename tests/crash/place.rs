//! From a directory on the real disk to a simulated one, and back.
use super::disk::{Ino, Kind, Node, PAGE, ROOT, State};
use rustix::fs::XattrFlags;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

/// Reads what there is below a directory; gives the simulated numbers of its inodes too.
pub fn scan(root: &Path) -> (State, HashMap<u64, Ino>) {
    let mut state = State::default();
    let mut inos = HashMap::new();
    scan_into(root, &mut state, &mut inos);
    (state, inos)
}

fn scan_into(path: &Path, state: &mut State, inos: &mut HashMap<u64, Ino>) -> Ino {
    let seen = fs::symlink_metadata(path).expect("stat");
    if let Some(known) = inos.get(&seen.ino()) {
        return *known;
    }
    let ino = inos.len();
    inos.insert(seen.ino(), ino);
    let mut node = Node::new(match seen.file_type() {
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_file() => Kind::File,
        kind if kind.is_symlink() => Kind::Symlink(
            fs::read_link(path)
                .expect("readlink")
                .into_os_string()
                .into_vec(),
        ),
        _ => Kind::Special,
    });
    node.xattrs = xattrs(path, &node.kind);
    if node.kind == Kind::File {
        let bytes = fs::read(path).expect("read");
        node.length = bytes.len() as u64;
        for (number, chunk) in bytes.chunks(PAGE as usize).enumerate() {
            let mut page = chunk.to_vec();
            page.resize(PAGE as usize, 0);
            node.pages.insert(number as u64, page.into());
        }
    }
    if node.kind == Kind::Directory {
        for entry in fs::read_dir(path).expect("readdir") {
            let name = entry.expect("an entry").file_name();
            let below = scan_into(&path.join(&name), state, inos);
            node.entries.insert(name.into_vec(), below);
        }
    }
    state.nodes.insert(ino, node);
    ino
}

fn xattrs(path: &Path, kind: &Kind) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    if !matches!(kind, Kind::File | Kind::Directory) {
        return Default::default();
    }
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).expect("listxattr");
    let names = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."));
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let length =
            rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).expect("getxattr");
        value.truncate(length);
        (name.to_vec(), value)
    };
    names.map(value).collect()
}

/// Makes a state's files below an empty directory.
pub fn make(state: &State, root: &Path) {
    let mut made = HashMap::new();
    make_entries(state, ROOT, root, &mut made);
}

fn make_entries(
    state: &State,
    directory: Ino,
    path: &Path,
    made: &mut HashMap<Ino, std::path::PathBuf>,
) {
    set_xattrs(&state.nodes[&directory], path);
    for (name, ino) in &state.nodes[&directory].entries {
        let at = path.join(OsString::from_vec(name.clone()));
        if let Some(first) = made.get(ino) {
            fs::hard_link(first, &at).expect("link");
            continue;
        }
        made.insert(*ino, at.clone());
        let node = &state.nodes[ino];
        match &node.kind {
            Kind::Directory => {
                fs::create_dir(&at).expect("mkdir");
                make_entries(state, *ino, &at, made);
            }
            Kind::Symlink(target) => {
                symlink(OsString::from_vec(target.clone()), &at).expect("symlink")
            }
            Kind::Special => {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &at, fifo, 0o600.into(), 0).expect("mknod");
            }
            Kind::File => {
                let file = fs::File::create(&at).expect("create");
                for (number, page) in &node.pages {
                    file.write_all_at(page, number * PAGE).expect("write");
                }
                file.set_len(node.length).expect("set the length");
                set_xattrs(node, &at);
            }
        }
    }
}

fn set_xattrs(node: &Node, path: &Path) {
    for (name, value) in &node.xattrs {
        rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty())
            .expect("setxattr");
    }
}
