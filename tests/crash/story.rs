//! A story: what a program does on the volume, step by step, and when it was told that it is durable.
//!
//! The history that comes out of it is the oracle: for each file every version of its content, for each name every file
//! that it ever meant, and the steps after which they must survive.
use cryptfs::fs::{
    Allocate, Caller, FileSystem, Handle, NodeId, OpenFlags, ROOT as ROOT_NODE, Rename, SetAttr,
    SetXattr,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::sync::Arc;

/// A file or directory for life, whatever its names.
pub type Key = usize;
/// The root directory.
pub const ROOT: Key = 0;
/// A step of the story; step 0 is before it.
pub type Step = usize;

/// A change of a file.
#[derive(Clone, Debug)]
pub enum Edit {
    Write(u64, Vec<u8>),
    Truncate(u64),
    Zero(u64, u64),
    Xattr(String, Option<Vec<u8>>),
}

/// What is known of a file, directory or link.
#[derive(Default, Debug)]
pub struct Past {
    pub directory: bool,
    pub link: Option<Vec<u8>>,
    pub edits: Vec<(Step, Edit)>,
    /// Steps that made all of it before them durable.
    pub durable: Vec<Step>,
    /// Of a directory: what its names meant, from which step.
    pub names: BTreeMap<String, Vec<(Step, Option<Key>)>>,
}

/// All that happened.
#[derive(Default)]
pub struct History {
    pub pasts: Vec<Past>,
    /// What each step did, for reports.
    pub said: Vec<String>,
}

/// A content and the attributes at one time.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Version {
    pub bytes: Vec<u8>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Past {
    /// Its content after a step.
    pub fn version(&self, step: Step) -> Version {
        let mut version = Version::default();
        for (_, edit) in self.edits.iter().take_while(|(at, _)| *at <= step) {
            version.apply(edit);
        }
        version
    }

    /// The last step up to `done` that made it durable.
    pub fn durable(&self, done: Step) -> Step {
        self.durable
            .iter()
            .copied()
            .filter(|step| *step <= done)
            .max()
            .unwrap_or(0)
    }
}

impl Version {
    fn apply(&mut self, edit: &Edit) {
        let bytes = &mut self.bytes;
        match edit {
            Edit::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                bytes.resize(bytes.len().max(to), 0);
                bytes[from..to].copy_from_slice(data);
            }
            Edit::Truncate(size) => bytes.resize(*size as usize, 0),
            Edit::Zero(offset, length) => {
                let end = bytes.len().min((offset + length) as usize);
                bytes[end.min(*offset as usize)..end].fill(0);
            }
            Edit::Xattr(name, Some(value)) => drop(self.xattrs.insert(name.clone(), value.clone())),
            Edit::Xattr(name, None) => drop(self.xattrs.remove(name)),
        }
    }
}

/// Tells a story to a live file system and writes the history.
pub struct Story {
    fs: Arc<dyn FileSystem>,
    pub history: History,
    /// Called before each step: where the recording stands.
    position: Box<dyn Fn() -> usize>,
    /// Where each step began in the recording; step 1 is the first.
    pub starts: Vec<usize>,
    open: HashMap<Key, (NodeId, Handle)>,
}

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

impl Story {
    pub fn new(fs: Arc<dyn FileSystem>, position: Box<dyn Fn() -> usize>) -> Self {
        let root = Past {
            directory: true,
            ..Past::default()
        };
        Self {
            fs,
            history: History {
                pasts: vec![root],
                said: vec!["before".into()],
            },
            position,
            starts: vec![0],
            open: HashMap::new(),
        }
    }

    fn step(&mut self, said: String) -> Step {
        self.starts.push((self.position)());
        self.history.said.push(said);
        self.starts.len() - 1
    }

    /// The step under way.
    pub fn now(&self) -> Step {
        self.starts.len() - 1
    }

    fn key_in(&self, directory: Key, name: &str) -> Option<Key> {
        self.history.pasts[directory].names.get(name)?.last()?.1
    }

    fn key(&self, path: &str) -> Key {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(ROOT, |key, part| {
            self.key_in(key, part).expect("a name in the story")
        })
    }

    fn split<'a>(&self, path: &'a str) -> (Key, NodeId, &'a str) {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.key(above), self.node(above), name)
    }

    fn node(&self, path: &str) -> NodeId {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(ROOT_NODE, |node, part| {
            self.fs.lookup(node, OsStr::new(part)).expect("lookup").node
        })
    }

    fn mean(&mut self, directory: Key, name: &str, step: Step, key: Option<Key>) {
        self.history.pasts[directory]
            .names
            .entry(name.to_owned())
            .or_default()
            .push((step, key));
    }

    fn born(&mut self, past: Past) -> Key {
        self.history.pasts.push(past);
        self.history.pasts.len() - 1
    }

    fn edit(&mut self, key: Key, step: Step, edit: Edit) {
        self.history.pasts[key].edits.push((step, edit));
    }

    /// Makes a file and leaves it open.
    pub fn create(&mut self, path: &str) {
        let (directory, node, name) = self.split(path);
        let step = self.step(format!("create {}", short(path)));
        let made = self.fs.create(node, OsStr::new(name), 0o644, WRITE, &me());
        let (entry, handle) = made.expect("create");
        let key = self.born(Past::default());
        self.open.insert(key, (entry.node, handle));
        self.mean(directory, name, step, Some(key));
    }

    /// Opens a file for writing.
    pub fn open(&mut self, path: &str, truncate: bool) {
        let (key, node) = (self.key(path), self.node(path));
        let step = self.step(format!("open {} truncate: {truncate}", short(path)));
        let handle = self
            .fs
            .open(node, OpenFlags { truncate, ..WRITE })
            .expect("open");
        self.open.insert(key, (node, handle));
        if truncate {
            self.edit(key, step, Edit::Truncate(0));
        }
    }

    pub fn close(&mut self, path: &str) {
        let key = self.key(path);
        self.step(format!("close {}", short(path)));
        let (node, handle) = self.open.remove(&key).expect("an open file");
        self.fs.release(node, handle).expect("release");
    }

    pub fn write(&mut self, path: &str, offset: u64, data: Vec<u8>) {
        let key = self.key(path);
        let step = self.step(format!(
            "write {} at {offset}, {} bytes",
            short(path),
            data.len()
        ));
        let (node, handle) = self.open[&key];
        self.fs
            .write(node, handle, offset, &data, false)
            .expect("write");
        self.edit(key, step, Edit::Write(offset, data));
    }

    pub fn size(&self, path: &str) -> u64 {
        self.history.pasts[self.key(path)]
            .version(self.now())
            .bytes
            .len() as u64
    }

    pub fn truncate(&mut self, path: &str, size: u64) {
        let (key, node) = (self.key(path), self.node(path));
        let step = self.step(format!("truncate {} to {size}", short(path)));
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.fs.setattr(node, &set).expect("truncate");
        self.edit(key, step, Edit::Truncate(size));
    }

    pub fn punch(&mut self, path: &str, offset: u64, length: u64) {
        let key = self.key(path);
        let step = self.step(format!("punch {} at {offset}, {length} bytes", short(path)));
        let (node, handle) = self.open[&key];
        self.fs
            .fallocate(node, handle, Allocate::Punch, offset, length)
            .expect("punch");
        self.edit(key, step, Edit::Zero(offset, length));
    }

    pub fn set_xattr(&mut self, path: &str, name: &str, value: Option<Vec<u8>>) {
        let (key, node) = (self.key(path), self.node(path));
        let step = self.step(format!("xattr {} of {}", name, short(path)));
        match &value {
            Some(value) => self
                .fs
                .setxattr(node, OsStr::new(name), value, SetXattr::Either),
            None => self.fs.removexattr(node, OsStr::new(name)),
        }
        .expect("xattr");
        self.edit(key, step, Edit::Xattr(name.to_owned(), value));
    }

    /// Makes a file's content durable.
    pub fn fsync(&mut self, path: &str) {
        let key = self.key(path);
        let step = self.step(format!("fsync {}", short(path)));
        let (node, handle) = self.open[&key];
        self.fs.fsync(node, handle, false).expect("fsync");
        self.history.pasts[key].durable.push(step);
    }

    /// Makes a directory's names durable.
    pub fn fsync_dir(&mut self, path: &str) {
        let (key, node) = (self.key(path), self.node(path));
        let step = self.step(format!("fsync directory {}", short(path)));
        self.fs.fsyncdir(node, false).expect("fsyncdir");
        self.history.pasts[key].durable.push(step);
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        let step = self.step("sync".into());
        self.fs.sync().expect("sync");
        self.history
            .pasts
            .iter_mut()
            .for_each(|past| past.durable.push(step));
    }

    pub fn mkdir(&mut self, path: &str) {
        let (directory, node, name) = self.split(path);
        let step = self.step(format!("mkdir {}", short(path)));
        self.fs
            .mkdir(node, OsStr::new(name), 0o755, &me())
            .expect("mkdir");
        let key = self.born(Past {
            directory: true,
            ..Past::default()
        });
        self.mean(directory, name, step, Some(key));
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        let (directory, node, name) = self.split(path);
        let step = self.step(format!("symlink {}", short(path)));
        self.fs
            .symlink(node, OsStr::new(name), OsStr::new(target), &me())
            .expect("symlink");
        let key = self.born(Past {
            link: Some(target.into()),
            ..Past::default()
        });
        self.mean(directory, name, step, Some(key));
    }

    pub fn link(&mut self, from: &str, to: &str) {
        let (key, node) = (self.key(from), self.node(from));
        let (directory, parent, name) = self.split(to);
        let step = self.step(format!("link {} {}", short(from), short(to)));
        self.fs.link(node, parent, OsStr::new(name)).expect("link");
        self.mean(directory, name, step, Some(key));
    }

    pub fn unlink(&mut self, path: &str) {
        let (directory, node, name) = self.split(path);
        let step = self.step(format!("unlink {}", short(path)));
        self.fs.unlink(node, OsStr::new(name)).expect("unlink");
        self.mean(directory, name, step, None);
    }

    pub fn rmdir(&mut self, path: &str) {
        let (directory, node, name) = self.split(path);
        let step = self.step(format!("rmdir {}", short(path)));
        self.fs.rmdir(node, OsStr::new(name)).expect("rmdir");
        self.mean(directory, name, step, None);
    }

    pub fn rename(&mut self, from: &str, to: &str, how: Rename) {
        let moved = self.key(from);
        let (directory, parent, name) = self.split(from);
        let (new_directory, new_parent, new_name) = self.split(to);
        let replaced = self.key_in(new_directory, new_name);
        let step = self.step(format!("rename {} to {} {how:?}", short(from), short(to)));
        let done = self.fs.rename(
            (parent, OsStr::new(name)),
            (new_parent, OsStr::new(new_name)),
            how,
        );
        done.expect("rename");
        self.mean(
            directory,
            name,
            step,
            replaced.filter(|_| how == Rename::Exchange),
        );
        self.mean(new_directory, new_name, step, Some(moved));
    }

    /// Closes the files and the volume. What the history then says is durable, the volume has promised.
    pub fn end(mut self) -> (History, Vec<usize>) {
        for (_, (node, handle)) in std::mem::take(&mut self.open) {
            self.step("close".into());
            self.fs.release(node, handle).expect("release");
        }
        let step = self.step("unmount".into());
        self.fs.close().expect("close");
        self.history
            .pasts
            .iter_mut()
            .for_each(|past| past.durable.push(step));
        self.starts.push((self.position)());
        (self.history, self.starts)
    }
}

/// Long names shortened.
fn short(path: &str) -> String {
    if path.len() < 40 {
        path.to_owned()
    } else {
        format!("{}... ({} bytes)", &path[..12], path.len())
    }
}
