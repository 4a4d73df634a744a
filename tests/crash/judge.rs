//! Whether what survived a power cut is what the history owes.
//!
//! - A name means what it meant at some time since its directory was last durable.
//! - What had a durable name, and at no time since had none, is found.
//! - A file has, unit by unit, the bytes of some time since it was last durable, and a size from between.
//! - Nothing is an error but a stretch that was never durable (told apart, and counted).
//! - No name appears that was never made.
use super::story::{History, Key, Past, ROOT, Step, Version};
use cryptfs::fs::{Entry, Error, FileSystem, Kind, NodeId, OpenFlags, ROOT as ROOT_NODE, SetAttr};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What is asked of a state.
pub struct Judge<'a> {
    pub fs: &'a dyn FileSystem,
    pub history: &'a History,
    /// The last step that was over when the power went.
    pub done: Step,
    /// The last step that had begun.
    pub begun: Step,
    /// Bytes of a file that change together: up to this offset, then in this rhythm.
    pub first: usize,
    pub rhythm: usize,
    /// Units that could not be read and were never durable.
    pub tails: usize,
    /// What was found under some name.
    pub found: BTreeSet<Key>,
}

impl Judge<'_> {
    /// `Err` says what was lost, and where.
    pub fn whole(&mut self) -> Result<(), String> {
        self.directory(ROOT, ROOT_NODE, "")?;
        for key in 1..self.history.pasts.len() {
            if self.is_owed(key) && !self.found.contains(&key) {
                return Err(format!(
                    "LOST: what {:?} named is under none of its names",
                    self.history.names_of(key)
                ));
            }
        }
        Ok(())
    }

    /// Opens every file of a volume for writing and closes it, as a program does that changes its mind.
    pub fn touch_all(fs: &dyn FileSystem) -> Result<(), String> {
        each_file(fs, |_, _, _| Ok(()))
    }

    /// The same with this volume.
    pub fn touch(&self) -> Result<(), String> {
        Self::touch_all(self.fs)
    }

    /// Makes every file longer: what the crash left behind its end must not come back.
    pub fn stretch(&self) -> Result<(), String> {
        each_file(self.fs, |node, handle, size| {
            let set = SetAttr {
                size: Some(size + 3000),
                ..SetAttr::default()
            };
            if self.fs.setattr(node, &set).is_err() {
                return Ok(()); // its last unit cannot be read
            }
            let mut tail = vec![0xaa; 3000];
            let count = self.fs.read(node, handle, size, &mut tail)?;
            match count == 3000 && tail.iter().all(|byte| *byte == 0) {
                true => Ok(()),
                false => Err(Error::Io(std::io::Error::other(
                    "grew by something other than zeros",
                ))),
            }
        })
    }

    /// Whether something must be found: its name was made durable, and at each time since it had a name.
    fn is_owed(&self, key: Key) -> bool {
        let directories = self.history.pasts.iter().filter(|past| past.directory);
        let promised = directories.flat_map(|past| {
            let steps = past
                .durable
                .iter()
                .copied()
                .filter(|step| *step <= self.done);
            steps.filter(|step| {
                past.names
                    .values()
                    .any(|meanings| meaning_at(meanings, *step) == Some(key))
            })
        });
        let Some(since) = promised.max() else {
            return false;
        };
        (since..=self.begun).all(|step| self.history.has_name(key, step))
    }

    fn directory(&mut self, key: Key, node: NodeId, path: &str) -> Result<(), String> {
        let past = &self.history.pasts[key];
        let listed = list(self.fs, node, path)?;
        if let Some(stranger) = listed.iter().find(|name| !past.names.contains_key(*name)) {
            return Err(format!("{path}/{stranger} was never made"));
        }
        let durable = past.durable(self.done);
        for (name, meanings) in &past.names {
            let path = format!("{path}/{}", &name[..name.len().min(20)]);
            let entry = match self.fs.lookup(node, OsStr::new(name)) {
                Ok(entry) => Some(entry),
                Err(Error::NotFound) => None,
                Err(error) if error.errno() == rustix::io::Errno::NOENT.raw_os_error() => None,
                Err(error) => return Err(format!("{path}: lookup: {error}")),
            };
            if entry.is_some() != listed.contains(name) {
                return Err(format!(
                    "{path}: found {}, listed {}",
                    entry.is_some(),
                    listed.contains(name)
                ));
            }
            self.name(&meant(meanings, durable, self.begun), entry.as_ref(), &path)?;
            if let Some(entry) = entry {
                self.fs.forget(entry.node, 1);
            }
        }
        Ok(())
    }

    /// One name: it means one of `meanings`.
    fn name(
        &mut self,
        meanings: &BTreeSet<Option<Key>>,
        entry: Option<&Entry>,
        path: &str,
    ) -> Result<(), String> {
        let Some(entry) = entry else {
            return match meanings.contains(&None) {
                true => Ok(()),
                false => Err(format!("{path}: LOST: the name was durable")),
            };
        };
        let mut why = Err(format!("{path}: there, though it should be gone"));
        for key in meanings.iter().flatten() {
            let past = &self.history.pasts[*key];
            let result = match entry.attr.kind {
                Kind::Directory if past.directory => self.directory(*key, entry.node, path),
                Kind::Symlink if past.link.is_some() => self.link(past, entry.node),
                Kind::File if !past.directory && past.link.is_none() => self.file(past, entry),
                kind => Err(format!("is a {kind:?}")),
            };
            match result {
                Ok(()) => {
                    self.found.insert(*key); // and perhaps another that looks the same
                    why = Ok(());
                }
                Err(wrong) if why.is_err() => why = Err(format!("{path}: {wrong}")),
                Err(_) => {}
            }
        }
        why
    }

    fn link(&self, past: &Past, node: NodeId) -> Result<(), String> {
        match self.fs.readlink(node) {
            Ok(target) if Some(&target) == past.link.as_ref() => Ok(()),
            other => Err(format!("link: {other:?}")),
        }
    }

    fn file(&mut self, past: &Past, entry: &Entry) -> Result<(), String> {
        let from = past.durable(self.done);
        let steps = past
            .edits
            .iter()
            .map(|(step, _)| *step)
            .filter(|step| *step > from && *step <= self.begun);
        let versions: Vec<Version> = [from]
            .into_iter()
            .chain(steps)
            .map(|step| past.version(step))
            .collect();
        let lengths = versions.iter().map(|version| version.bytes.len());
        let (least, most) = (owed(&versions), lengths.max().unwrap_or(0));
        let size = entry.attr.size as usize;
        if least == 0 && self.is_shut(entry.node) {
            self.tails += 1;
            return Ok(());
        }
        if !(least..=most).contains(&size) {
            return Err(format!(
                "LOST: {size} bytes, durable were {}, allowed {least} to {most}",
                versions[0].bytes.len()
            ));
        }
        self.content(&versions, entry.node, size)?;
        self.xattrs(&versions, entry.node)
    }

    /// A file of which nothing was durable and whose first unit did not come cannot be opened.
    fn is_shut(&self, node: NodeId) -> bool {
        match self.fs.open(node, OpenFlags::default()) {
            Ok(handle) => self.fs.release(node, handle).is_err(),
            Err(_) => true,
        }
    }

    fn content(&mut self, versions: &[Version], node: NodeId, size: usize) -> Result<(), String> {
        let opened = self.fs.open(node, OpenFlags::default());
        let handle = opened.map_err(|e| format!("LOST: open: {e}, some of it was durable"))?;
        let mut at = 0;
        let mut result = Ok(());
        while at < size && result.is_ok() {
            let end = if at < self.first {
                self.first
            } else {
                at + self.rhythm
            };
            result = self.unit(versions, (node, handle), at..end.min(size));
            at = end;
        }
        self.fs
            .release(node, handle)
            .map_err(|e| format!("release: {e}"))?;
        result
    }

    fn unit(
        &mut self,
        versions: &[Version],
        file: (NodeId, u64),
        range: std::ops::Range<usize>,
    ) -> Result<(), String> {
        let mut buf = vec![0xaa; range.len()];
        match self.fs.read(file.0, file.1, range.start as u64, &mut buf) {
            Ok(count) if count == buf.len() => {}
            Ok(count) => return Err(format!("{count} bytes at {}, inside the file", range.start)),
            Err(error) => {
                if owed(versions) <= range.start {
                    self.tails += 1;
                    return Ok(());
                }
                return Err(format!(
                    "LOST: {error} at {} of what was durable",
                    range.start
                ));
            }
        }
        let holds = |version: &Version| {
            let byte = |at: usize| version.bytes.get(at).copied().unwrap_or(0);
            buf.iter()
                .zip(range.clone())
                .all(|(got, at)| *got == byte(at))
        };
        match versions.iter().any(holds) {
            true => Ok(()),
            false => Err(format!(
                "WRONG bytes at {range:?}: of none of {} versions",
                versions.len()
            )),
        }
    }

    fn xattrs(&self, versions: &[Version], node: NodeId) -> Result<(), String> {
        let names: BTreeSet<&String> = versions
            .iter()
            .flat_map(|version| version.xattrs.keys())
            .collect();
        let mut got = BTreeMap::new();
        for name in &names {
            match self.fs.getxattr(node, OsStr::new(name)) {
                Ok(value) => drop(got.insert(*name, value)),
                Err(error) if error.errno() == rustix::io::Errno::NODATA.raw_os_error() => {}
                Err(error) => return Err(format!("xattr {name}: {error}")),
            }
        }
        for name in names {
            if !versions
                .iter()
                .any(|version| version.xattrs.get(name) == got.get(name))
            {
                return Err(format!("LOST: xattr {name}"));
            }
        }
        Ok(())
    }
}

/// Does something to every file that can be opened for writing.
fn each_file(
    fs: &dyn FileSystem,
    mut work: impl FnMut(NodeId, u64, u64) -> Result<(), Error>,
) -> Result<(), String> {
    let write = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let mut left = vec![ROOT_NODE];
    while let Some(node) = left.pop() {
        for name in list(fs, node, "")? {
            let wrong = |error: Error| format!("{}: {error}", &name[..name.len().min(20)]);
            let entry = fs.lookup(node, OsStr::new(&name)).map_err(wrong)?;
            if entry.attr.kind == Kind::Directory {
                left.push(entry.node);
            }
            // What cannot be opened was looked at before.
            if entry.attr.kind == Kind::File
                && let Ok(handle) = fs.open(entry.node, write)
            {
                work(entry.node, handle, entry.attr.size).map_err(wrong)?;
                fs.release(entry.node, handle).map_err(wrong)?;
            }
        }
    }
    Ok(())
}

fn list(fs: &dyn FileSystem, node: NodeId, path: &str) -> Result<BTreeSet<String>, String> {
    let wrong = |error: Error| format!("{path}/: list: {error}");
    let handle = fs.opendir(node).map_err(wrong)?;
    let mut names = BTreeSet::new();
    let listed = fs.readdir(node, handle, 0, &mut |entry| {
        let name = String::from_utf8_lossy(entry.name.as_bytes()).into_owned();
        if name != "." && name != ".." {
            names.insert(name);
        }
        false
    });
    fs.releasedir(node, handle);
    listed.map_err(wrong)?;
    Ok(names)
}

/// Bytes at the front of a file that were durable and that nobody cut away since.
fn owed(versions: &[Version]) -> usize {
    versions
        .iter()
        .map(|version| version.bytes.len())
        .min()
        .unwrap_or(0)
}

/// What a name may mean: what it meant at `durable` and since.
fn meant(meanings: &[(Step, Option<Key>)], durable: Step, begun: Step) -> BTreeSet<Option<Key>> {
    let before = meaning_at(meanings, durable);
    let since = meanings
        .iter()
        .filter(|(step, _)| *step > durable && *step <= begun)
        .map(|(_, key)| *key);
    since.chain([before]).collect()
}

fn meaning_at(meanings: &[(Step, Option<Key>)], step: Step) -> Option<Key> {
    meanings
        .iter()
        .rev()
        .find(|(at, _)| *at <= step)
        .and_then(|(_, key)| *key)
}

impl History {
    fn has_name(&self, key: Key, step: Step) -> bool {
        let mut meanings = self.pasts.iter().flat_map(|past| past.names.values());
        meanings.any(|meanings| meaning_at(meanings, step) == Some(key))
    }

    fn names_of(&self, key: Key) -> Vec<&str> {
        let names = self.pasts.iter().flat_map(|past| &past.names);
        let of =
            names.filter(|(_, meanings)| meanings.iter().any(|(_, meant)| *meant == Some(key)));
        of.map(|(name, _)| &name[..name.len().min(20)]).collect()
    }
}
