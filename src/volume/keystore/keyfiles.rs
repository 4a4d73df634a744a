//! Keyfiles in the keystore, each in the form that protects it.
use super::protection::{Entry, HEAD, MARKER, slot};
use super::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The keyfile in use and, after an enrolment that was cut short, the new one.
const KINDS: [&str; 2] = ["key", "key.new"];

impl Keystore {
    /// The keyfile's path, for messages.
    pub fn keyfile_path(&self, volume: &Uuid) -> PathBuf {
        self.path.join(name(volume, "key"))
    }

    /// A volume's keyfiles, as far as they can be had. Where none can, why.
    pub fn keyfiles(&self, volume: &Uuid) -> Result<Vec<Keyfile>> {
        let (mut found, mut failed) = (Vec::new(), None);
        for kind in KINDS {
            match self.keyfile(volume, kind) {
                Ok(keyfile) => found.push(keyfile),
                Err(Error::KeyfileMissing(_)) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (found.is_empty(), failed) {
            (false, _) => Ok(found),
            (true, Some(error)) => Err(error),
            (true, None) => Err(Error::KeyfileMissing(self.keyfile_path(volume))),
        }
    }

    fn keyfile(&self, volume: &Uuid, kind: &str) -> Result<Keyfile> {
        let name = name(volume, kind);
        let path = self.path.join(&name);
        let file = match durable::open_file(&self.dir, &name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::KeyfileMissing(path));
            }
            other => other.map_err(Error::io(&path))?,
        };
        let keyfile = read_keyfile(file, &path, Some(volume))?;
        match keyfile.volume == *volume {
            true => Ok(keyfile),
            false => Err(Error::KeyfileForeign {
                path,
                volume: keyfile.volume,
            }),
        }
    }

    /// In which form the volume's keyfile is kept here; `None`: there is none.
    pub fn protection(&self, volume: &Uuid) -> Option<Protection> {
        let mut found = KINDS
            .iter()
            .filter_map(|kind| durable::open_file(&self.dir, &name(volume, kind)).ok());
        form(&found.next()?).ok()
    }

    /// Keeps a keyfile beside the one in use, in the same form unless another one is named; [`Keystore::commit_keyfile`] puts it
    /// in its place once the header knows it.
    pub(crate) fn stage_keyfile(
        &self,
        keyfile: &Keyfile,
        wanted: Option<Protection>,
    ) -> Result<()> {
        let volume = &keyfile.volume;
        let form = wanted.or_else(|| self.protection(volume));
        let form = form.unwrap_or(Protection::File);
        let kept = form.seal(keyfile);
        let kept = kept.map_err(|source| Error::Sealing { form, source })?;
        let before = self.entry(volume, "key.new");
        self.put(volume, "key.new", &kept)?;
        clear(before);
        Ok(())
    }

    pub(crate) fn commit_keyfile(&self, volume: &Uuid) -> Result<()> {
        let before = self.entry(volume, "key");
        let (new, name) = (name(volume, "key.new"), name(volume, "key"));
        fs::renameat(&self.dir, new, &self.dir, name).map_err(Error::sys(&self.path))?;
        durable::sync_dir(&self.dir).map_err(Error::io(&self.path))?;
        clear(before);
        Ok(())
    }

    pub(crate) fn drop_staged_keyfile(&self, volume: &Uuid) -> Result<()> {
        self.drop_keyfile(volume, "key.new")
    }

    /// A protector was removed from the volume: what the Secret Service has of it goes too.
    pub(crate) fn drop_entry(&self, volume: &Uuid, protector: &Uuid) -> Result<()> {
        for kind in KINDS {
            let kept = durable::read(&self.dir, &name(volume, kind), MARKER);
            if kept.is_ok_and(|kept| slot(&kept) == Some(*protector)) {
                self.drop_keyfile(volume, kind)?;
            }
        }
        Ok(())
    }

    fn drop_keyfile(&self, volume: &Uuid, kind: &str) -> Result<()> {
        clear(self.entry(volume, kind));
        durable::remove(&self.dir, &name(volume, kind)).map_err(Error::io(&self.path))
    }

    /// Removes what the Secret Service has for the volume's keyfiles. `None`: it has nothing.
    pub(super) fn clear_entries(&self, volume: &Uuid) -> Option<io::Result<()>> {
        let entries = KINDS.iter().filter_map(|kind| self.entry(volume, kind));
        entries.map(|entry| entry.clear()).reduce(io::Result::and)
    }

    /// Where a keyfile in the Secret Service is.
    fn entry(&self, volume: &Uuid, kind: &str) -> Option<Entry> {
        let kept = durable::read(&self.dir, &name(volume, kind), MARKER).ok()?;
        Some(Entry::new(volume, &slot(&kept)?))
    }
}

/// Where the service does not answer, the entry stays: it opens nothing but older headers.
fn clear(entry: Option<Entry>) {
    if let Some(entry) = entry {
        let _ = entry.clear();
    }
}

/// Reads a keyfile from anywhere: one that another computer wrote for this one.
pub fn keyfile_at(path: &Path) -> Result<Keyfile> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::KeyfileDamaged(path.to_owned()))?;
    let dir = durable::open_dir(fs::CWD, dir, true).map_err(Error::sys(path))?;
    let file = durable::open_file(dir, name).map_err(Error::io(path))?;
    read_keyfile(file, path, None)
}

fn read_keyfile(mut file: File, path: &Path, volume: Option<&Uuid>) -> Result<Keyfile> {
    check(file.as_fd(), path, FILE_MODE)?;
    let form = form(&file).map_err(Error::io(path))?;
    let damaged = || Error::KeyfileDamaged(path.to_owned());
    let volume = match (volume, form) {
        (Some(volume), _) => volume,
        // On its way between computers it is as it is.
        (None, Protection::File) => &[0; 16],
        (None, _) => return Err(damaged()),
    };
    let read = Keyfile::decode(|buffer| form.open(volume, &mut file, buffer));
    let read = read.map_err(|source| match form {
        Protection::File => Error::io(path)(source),
        form => Error::Unsealing {
            path: path.to_owned(),
            form,
            source,
        },
    });
    read?.ok_or_else(damaged)
}

fn form(file: &File) -> io::Result<Protection> {
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0)?;
    Ok(Protection::of(&head[..length]))
}
