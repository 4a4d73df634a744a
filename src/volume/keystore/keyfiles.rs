//! Keyfiles in the keystore: as they are, or sealed to this computer.
use super::*;
use crate::sys::creds;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

const MAX_SEALED: u64 = 1 << 16;

/// In which form a keyfile lies in the keystore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// As it is, mode 0600.
    Plain,
    /// Sealed by systemd-creds(1) with this computer's key, and its TPM2 where there is one.
    SystemdCreds,
}

impl Keystore {
    /// The keyfile's path, for messages.
    pub fn keyfile_path(&self, volume: &Uuid) -> PathBuf {
        self.path.join(name(volume, "key"))
    }

    /// A volume's keyfiles: the one in use and, after an enrolment that was cut short, the new one.
    pub fn keyfiles(&self, volume: &Uuid) -> Result<Vec<Keyfile>> {
        let mut found = Vec::new();
        for kind in ["key", "key.new"] {
            let name = name(volume, kind);
            let path = self.path.join(&name);
            let file = match durable::open_file(&self.dir, &name) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(Error::io(&path))?,
            };
            let keyfile = read_keyfile(file, &path, Some(volume))?;
            if keyfile.volume != *volume {
                let volume = keyfile.volume;
                return Err(Error::KeyfileForeign { path, volume });
            }
            found.push(keyfile);
        }
        match found.is_empty() {
            true => Err(Error::KeyfileMissing(self.keyfile_path(volume))),
            false => Ok(found),
        }
    }

    /// In which form the volume's keyfile lies here; `None`: there is none.
    pub fn protection(&self, volume: &Uuid) -> Option<Protection> {
        let kinds = ["key", "key.new"].iter();
        let mut found =
            kinds.filter_map(|kind| durable::open_file(&self.dir, &name(volume, kind)).ok());
        form(&found.next()?).ok()
    }

    /// Keeps a keyfile beside the one in use, in the same form unless another one is named; [`Keystore::commit_keyfile`] puts it
    /// in its place once the header knows it.
    pub(crate) fn stage_keyfile(
        &self,
        keyfile: &Keyfile,
        wanted: Option<Protection>,
    ) -> Result<()> {
        let known = || self.protection(&keyfile.volume);
        match wanted.or_else(known).unwrap_or(Protection::Plain) {
            Protection::Plain => self.put(&keyfile.volume, "key.new", keyfile.encode().expose()),
            Protection::SystemdCreds => {
                let sealed = creds::seal(&credential(&keyfile.volume), keyfile.encode().expose());
                let path = self.keyfile_path(&keyfile.volume);
                let sealed = sealed.map_err(|source| Error::Sealing { path, source })?;
                self.put(&keyfile.volume, "key.new", &sealed)
            }
        }
    }

    pub(crate) fn commit_keyfile(&self, volume: &Uuid) -> Result<()> {
        let (new, name) = (name(volume, "key.new"), name(volume, "key"));
        fs::renameat(&self.dir, new, &self.dir, name).map_err(Error::sys(&self.path))?;
        durable::sync_dir(&self.dir).map_err(Error::io(&self.path))
    }

    pub(crate) fn drop_staged_keyfile(&self, volume: &Uuid) -> Result<()> {
        durable::remove(&self.dir, &name(volume, "key.new")).map_err(Error::io(&self.path))
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
    let damaged = || Error::KeyfileDamaged(path.to_owned());
    let read = match form(&file).map_err(Error::io(path))? {
        Protection::Plain => {
            Keyfile::decode(|buffer| read_up_to(&mut file, buffer)).map_err(Error::io(path))
        }
        Protection::SystemdCreds => {
            let volume = volume.ok_or_else(damaged)?;
            let mut sealed = Vec::new();
            let whole = file.take(MAX_SEALED).read_to_end(&mut sealed);
            whole.map_err(Error::io(path))?;
            let opened =
                Keyfile::decode(|buffer| creds::open(&credential(volume), &sealed, buffer));
            opened.map_err(|source| Error::Sealing {
                path: path.to_owned(),
                source,
            })
        }
    };
    read?.ok_or_else(damaged)
}

/// What systemd-creds makes is base64: its first line tells it from a keyfile, and from a damaged one.
fn form(file: &File) -> io::Result<Protection> {
    let mut head = [0; 64];
    let length = file.read_at(&mut head, 0)?;
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\n".contains(byte);
    match length == head.len() && head.iter().all(base64) {
        true => Ok(Protection::SystemdCreds),
        false => Ok(Protection::Plain),
    }
}

/// Under which name a keyfile is sealed.
fn credential(volume: &Uuid) -> String {
    format!("cryptfs-{}", uuid::text(volume))
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}
