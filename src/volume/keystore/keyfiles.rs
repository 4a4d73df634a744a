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
        self.path.join(name(&uuid::text(volume), "key"))
    }

    /// A volume's keyfiles for all its places, as far as they can be had. Where none can, why.
    pub fn keyfiles(&self, volume: &Uuid) -> Result<Vec<Keyfile>> {
        let (mut found, mut failed) = (Vec::<Keyfile>::new(), None);
        for stem in self.stems(volume) {
            for kind in KINDS {
                match self.keyfile(volume, &stem, kind) {
                    // One that was put aside may be the one in use.
                    Ok(keyfile) if found.iter().any(|other| other.slot == keyfile.slot) => {}
                    Ok(keyfile) => found.push(keyfile),
                    Err(Error::KeyfileMissing(_)) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        match (found.is_empty(), failed) {
            (false, _) => Ok(found),
            (true, Some(error)) => Err(error),
            (true, None) => Err(Error::KeyfileMissing(self.keyfile_path(volume))),
        }
    }

    fn keyfile(&self, volume: &Uuid, stem: &str, kind: &str) -> Result<Keyfile> {
        let name = name(stem, kind);
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
        let stems = self.stems(volume);
        let names = stems
            .iter()
            .flat_map(|stem| KINDS.map(|kind| name(stem, kind)));
        let mut found = names.filter_map(|name| durable::open_file(&self.dir, &name).ok());
        form(&found.next()?).ok()
    }

    /// Keeps a keyfile beside the one in use, in the same form unless another one is named; [`Keystore::commit_keyfile`] puts it
    /// in its place once the header knows it.
    pub(crate) fn stage_keyfile(
        &self,
        seat: &Seat,
        keyfile: &Keyfile,
        wanted: Option<Protection>,
    ) -> Result<()> {
        let volume = &keyfile.volume;
        let form = wanted.or_else(|| self.protection(volume));
        let form = form.unwrap_or(Protection::File);
        let kept = form.seal(keyfile);
        let kept = kept.map_err(|source| Error::Sealing { form, source })?;
        let before = self.marked(seat.stem(), "key.new");
        self.put(seat.stem(), "key.new", &kept)?;
        self.clear(volume, before);
        Ok(())
    }

    pub(crate) fn commit_keyfile(&self, seat: &Seat) -> Result<()> {
        let stem = seat.stem();
        let before = self.marked(stem, "key");
        let (new, name) = (name(stem, "key.new"), name(stem, "key"));
        fs::renameat(&self.dir, new, &self.dir, name).map_err(Error::sys(&self.path))?;
        durable::sync_dir(&self.dir).map_err(Error::io(&self.path))?;
        self.clear(seat.volume(), before);
        Ok(())
    }

    pub(crate) fn drop_staged_keyfile(&self, seat: &Seat) -> Result<()> {
        self.drop_keyfile(seat.volume(), seat.stem(), "key.new")
    }

    /// A protector was removed from the volume: what the Secret Service has of it goes too.
    pub(crate) fn drop_entry(&self, seat: &Seat, protector: &Uuid) -> Result<()> {
        for kind in KINDS {
            if self.marked(seat.stem(), kind) == Some(*protector) {
                self.drop_keyfile(seat.volume(), seat.stem(), kind)?;
            }
        }
        Ok(())
    }

    fn drop_keyfile(&self, volume: &Uuid, stem: &str, kind: &str) -> Result<()> {
        let before = self.marked(stem, kind);
        durable::remove(&self.dir, &name(stem, kind)).map_err(Error::io(&self.path))?;
        self.clear(volume, before);
        Ok(())
    }

    /// Removes what the Secret Service has for a volume's keyfiles at a place. `None`: it has nothing.
    pub(super) fn clear_entries(&self, volume: &Uuid, stem: &str) -> Option<io::Result<()>> {
        let slots = KINDS.iter().filter_map(|kind| self.marked(stem, kind));
        let entries = slots.map(|slot| Entry::new(volume, &slot));
        entries.map(|entry| entry.clear()).reduce(io::Result::and)
    }

    /// The protector whose keyfile is in the Secret Service, where this file says so.
    fn marked(&self, stem: &str, kind: &str) -> Option<Uuid> {
        slot(&durable::read(&self.dir, &name(stem, kind), MARKER).ok()?)
    }

    /// Removes an entry of the Secret Service that no file names any more. Where the service does not answer, the
    /// entry stays: it opens nothing but older headers.
    fn clear(&self, volume: &Uuid, slot: Option<Uuid>) {
        let Some(slot) = slot else {
            return;
        };
        let stems = self.stems(volume);
        let mut files = stems.iter().flat_map(|stem| KINDS.map(|kind| (stem, kind)));
        if !files.any(|(stem, kind)| self.marked(stem, kind) == Some(slot)) {
            let _ = Entry::new(volume, &slot).clear();
        }
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
