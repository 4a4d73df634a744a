//! The internal keystore: what lets this computer unlock its volumes without anyone typing.
//!
//! One directory, 0700; its files 0600; owner and mode checked before anything in it is believed, as ssh does. Its own
//! random ID is in `id`. For each volume, by its UUID:
//!
//! | file | holds |
//! | --- | --- |
//! | `<uuid>.key` | the keyfile, in one of the forms of [`Protection`] (`.key.new` while a new one is being enrolled) |
//! | `<uuid>.header`, `.header.1`, `.header.2` | the last three headers, newest first |
//! | `<uuid>.state` | what was last seen of the volume, under a MAC |
//! | `<uuid>.path` | where it was last seen: a hint, not believed |
//!
//! A copy of a volume has its own files, `<uuid>@<place>`, so that what happens to one of them says nothing of the
//! other: see [`Seat`].
mod keyfiles;
mod protection;
mod seat;

pub use keyfiles::keyfile_at;
pub use protection::Protection;
pub use seat::Seat;

use super::durable::{self, Target};
use super::erase;
use super::error::{Error, Result};
use super::header::{Header, Image, SIZE};
use super::keyfile::Keyfile;
use super::keys::Uuid;
use super::protector::Protector;
use super::state::State;
use super::uuid;
use crate::crypto::secret::Secret;
use crate::crypto::{digest, random};
use rustix::fs::{self, Dir, Mode};
use rustix::process::geteuid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const HEADERS: [&str; 3] = ["header", "header.1", "header.2"];
/// Everything that is kept for a volume at a place; the keyfiles first, as they are destroyed first.
const KINDS: [&str; 7] = [
    "key", "key.new", "header", "header.1", "header.2", "state", "path",
];
/// The keystore's own ID.
const ID: &str = "id";
const MAX_STATE: usize = 1 << 16;

/// A keystore directory.
#[derive(Debug)]
pub struct Keystore {
    dir: OwnedFd,
    path: PathBuf,
    custom: bool,
}

impl Keystore {
    /// Where the keystore is: `explicit` (`--keystore`), else CRYPTFS_KEYSTORE, else the system's (root) or the user's.
    pub fn locate(explicit: Option<&Path>) -> Result<PathBuf> {
        if let Some(path) = custom(explicit) {
            return Ok(path);
        }
        if geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/cryptfs"));
        }
        xdg("XDG_DATA_HOME", ".local/share").ok_or(Error::KeystoreUnknown)
    }

    /// Opens the keystore; [`Error::KeystoreMissing`] if there is none.
    pub fn open(explicit: Option<&Path>) -> Result<Self> {
        let path = Self::locate(explicit)?;
        let dir = match open_own(&path) {
            Err(rustix::io::Errno::NOENT) => return Err(Error::KeystoreMissing(path)),
            other => other.map_err(Error::sys(&path))?,
        };
        check(dir.as_fd(), &path, DIR_MODE)?;
        let custom = custom(explicit).is_some();
        Ok(Self { dir, path, custom })
    }

    /// Opens the keystore, made if it is not there.
    pub fn create(explicit: Option<&Path>) -> Result<Self> {
        let path = Self::locate(explicit)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(&path)
            .map_err(Error::io(&path))?;
        Self::open(explicit)
    }

    /// Its directory's path: for messages, never for access.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// True if it was put elsewhere by `--keystore` or CRYPTFS_KEYSTORE: then its audit log lies in it.
    pub(crate) fn is_custom(&self) -> bool {
        self.custom
    }

    /// The keystore's ID, random, made when it is first asked for: tells which keyfile protectors are for this keystore.
    /// It was derived from /etc/machine-id and the keystore's path once, which change where the keystore stays, and are
    /// the same on machines that were cloned.
    pub fn host(&self) -> Result<[u8; 16]> {
        if let Some(id) = self.id() {
            return Ok(id);
        }
        let id: [u8; 16] = random::bytes();
        let path = self.path.join(ID);
        let target = Target::inside(self.dir.as_fd(), ID);
        durable::replace(&target, &id).map_err(Error::io(&path))?;
        Ok(id)
    }

    fn id(&self) -> Option<[u8; 16]> {
        durable::read(&self.dir, ID, 16).ok()?.try_into().ok()
    }

    /// Whether a keyfile protector was made for this keystore.
    pub(crate) fn made(&self, slot: &Protector) -> bool {
        match self.id() {
            Some(id) if slot.host == id => true,
            // By a version that had no such IDs.
            _ => slot.host == self.host_by_place(),
        }
    }

    fn host_by_place(&self) -> [u8; 16] {
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let sum = digest::sha256(&[
            b"cryptfs/v1/host\0",
            &machine,
            b"\0",
            path.as_os_str().as_bytes(),
        ]);
        let mut host = [0; 16];
        host.copy_from_slice(&sum[..16]);
        host
    }

    /// The volumes that it knows.
    pub fn volumes(&self) -> Result<Vec<Uuid>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(Error::sys(&self.path))? {
            let entry = entry.map_err(Error::sys(&self.path))?;
            let name = entry.file_name().to_str().unwrap_or_default();
            let known = name.strip_suffix(".header").or(name.strip_suffix(".key"));
            if let Some(id) = known.and_then(uuid::parse)
                && !found.contains(&id)
            {
                found.push(id);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Lists the volumes that it knows, each with every place where it is now, or else where it was last seen.
    pub fn known(&self) -> Result<Vec<(Uuid, Option<PathBuf>)>> {
        let mut known = Vec::new();
        for id in self.volumes()? {
            let places = self.present(&id);
            match places.is_empty() {
                true => known.push((id, None)),
                false => known.extend(places.into_iter().map(|path| (id, Some(path)))),
            }
        }
        Ok(known)
    }

    /// The headers kept for a volume at all its places, unchecked; of each place the newest first.
    pub fn headers(&self, volume: &Uuid) -> Vec<Vec<u8>> {
        let stems = self.stems(volume);
        stems
            .iter()
            .flat_map(|stem| self.headers_of(stem))
            .collect()
    }

    /// The headers kept for a volume at one place, newest first, unchecked.
    pub fn headers_at(&self, seat: &Seat) -> Vec<Vec<u8>> {
        self.headers_of(seat.stem())
    }

    fn headers_of(&self, stem: &str) -> Vec<Vec<u8>> {
        let read = |kind: &&str| durable::read(&self.dir, &name(stem, kind), SIZE).ok();
        HEADERS.iter().filter_map(read).collect()
    }

    /// Keeps a header as the newest. Older ones stay only as long as they revive no protector that was removed.
    pub(crate) fn save_header(&self, seat: &Seat, header: &Header, image: &Image) -> Result<()> {
        let stem = seat.stem();
        let kept = self.headers_of(stem);
        if kept.first().is_some_and(|newest| newest[..] == image[..]) {
            return Ok(());
        }
        let revives_nothing = |old: &&Vec<u8>| {
            Header::decode(old).is_ok_and(|old| {
                let ids: Vec<_> = header.protectors().map(|p| p.id).collect();
                old.protectors().all(|p| ids.contains(&p.id))
            })
        };
        let mut older = kept.iter().filter(revives_nothing);
        for kind in &HEADERS[1..] {
            match older.next() {
                Some(old) => self.put(stem, kind, old)?,
                None => {
                    durable::remove(&self.dir, &name(stem, kind)).map_err(Error::io(&self.path))?
                }
            }
        }
        self.put(stem, HEADERS[0], image)
    }

    /// What was last seen of a volume at a place; `None` if nothing is there that this key wrote.
    pub fn state(&self, seat: &Seat, key: &Secret<32>) -> Option<State> {
        let bytes = durable::read(&self.dir, &name(seat.stem(), "state"), MAX_STATE).ok()?;
        State::decode(&bytes, seat.volume(), key)
    }

    /// Remembers what was seen of a volume at a place.
    pub fn save_state(&self, seat: &Seat, key: &Secret<32>, state: &State) -> Result<()> {
        let stem = seat.stem();
        self.put_aside(seat)?;
        if self
            .path_of(stem)
            .is_none_or(|hint| hint.as_os_str().as_bytes() != state.path)
        {
            self.put(stem, "path", &state.path)?;
        }
        self.put(stem, "state", &state.encode(seat.volume(), key))
    }

    /// Where a volume was last seen. Not to be believed: only to choose what to try first, and to show.
    pub fn path_hint(&self, volume: &Uuid) -> Option<PathBuf> {
        self.path_of(&uuid::text(volume))
    }

    fn path_of(&self, stem: &str) -> Option<PathBuf> {
        let bytes = durable::read(&self.dir, &name(stem, "path"), 4096).ok()?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }

    /// Removes all that is kept for a volume.
    pub fn forget(&self, volume: &Uuid) -> Result<()> {
        for stem in self.stems(volume) {
            let _ = self.clear_entries(volume, &stem);
            for kind in KINDS {
                durable::remove(&self.dir, &name(&stem, kind)).map_err(Error::io(&self.path))?;
            }
        }
        self.drop_unused_id()
    }

    /// A keystore that keeps nothing has no ID.
    fn drop_unused_id(&self) -> Result<()> {
        match self.volumes()?.is_empty() {
            true => durable::remove(&self.dir, ID).map_err(Error::io(&self.path)),
            false => Ok(()),
        }
    }

    /// As [`Keystore::forget`], with every file overwritten first. What was there, and why an entry in the Secret
    /// Service still is.
    pub(crate) fn destroy(&self, volume: &Uuid) -> Result<(Vec<String>, Option<io::Error>)> {
        let (mut gone, mut left) = (Vec::new(), None);
        for stem in self.stems(volume) {
            left = left.or(self.clear_entries(volume, &stem).and_then(io::Result::err));
            self.shred(&stem, &mut gone)?;
        }
        self.drop_unused_id()?;
        Ok((gone, left))
    }

    fn shred(&self, stem: &str, gone: &mut Vec<String>) -> Result<()> {
        for kind in KINDS {
            let name = name(stem, kind);
            let path = self.path.join(&name);
            if erase::shred(&self.dir, &name).map_err(Error::io(&path))? {
                gone.push(name);
            }
        }
        Ok(())
    }

    fn put(&self, stem: &str, kind: &str, bytes: &[u8]) -> Result<()> {
        let name = name(stem, kind);
        let target = Target::inside(self.dir.as_fd(), &name);
        durable::replace(&target, bytes).map_err(Error::io(&self.path.join(&name)))
    }
}

/// Opens a directory. A symbolic link to it is followed where it belongs to root, to whom this process runs for, or to the
/// owner of the directory: whoever put that link there could have put the directory there.
fn open_own(path: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::io::Errno;
    let refused = match durable::open_dir(fs::CWD, path, false) {
        Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => errno,
        opened => return opened,
    };
    let link = fs::lstat(path)?.st_uid;
    let dir = durable::open_dir(fs::CWD, path, true)?;
    let owner = fs::fstat(&dir)?.st_uid;
    match [0, geteuid().as_raw(), owner].contains(&link) {
        true => Ok(dir),
        false => Err(refused),
    }
}

/// The directory named by an option or the environment.
pub(crate) fn custom(explicit: Option<&Path>) -> Option<PathBuf> {
    let from_environment =
        || std::env::var_os("CRYPTFS_KEYSTORE").filter(|value| !value.is_empty());
    explicit
        .map(Path::to_owned)
        .or_else(|| from_environment().map(PathBuf::from))
}

/// cryptfs's directory of a kind of the XDG base directories.
pub(crate) fn xdg(variable: &str, default: &str) -> Option<PathBuf> {
    let absolute =
        |value: std::ffi::OsString| Some(PathBuf::from(value)).filter(|p| p.is_absolute());
    let base = std::env::var_os(variable).and_then(absolute).or_else(|| {
        let said = std::env::var_os("HOME").and_then(absolute);
        home(said).map(|home| home.join(default))
    })?;
    Some(base.join("cryptfs"))
}

/// The user's home directory. `said` by HOME, unless another user's: mount(8) and services leave HOME out or set it to
/// root's, and then the user database knows better.
fn home(said: Option<PathBuf>) -> Option<PathBuf> {
    let user = geteuid();
    let foreign = |home: &Path| {
        std::fs::metadata(home).is_ok_and(|there| there.uid() != user.as_raw()) && !user.is_root()
    };
    match said {
        Some(home) if !foreign(&home) => Some(home),
        said => crate::sys::account::home_of(user).or(said),
    }
}

fn name(stem: &str, kind: &str) -> String {
    format!("{stem}.{kind}")
}

/// Owned by who asks (or by root), and closed to everyone else. Root may use anyone's.
fn check(fd: BorrowedFd<'_>, path: &Path, wanted: u32) -> Result<()> {
    let stat = fs::fstat(fd).map_err(Error::sys(path))?;
    let me = geteuid();
    if stat.st_uid != me.as_raw() && stat.st_uid != 0 && !me.is_root() {
        return Err(Error::Owner {
            path: path.to_owned(),
            owner: stat.st_uid,
        });
    }
    let mode = Mode::from_raw_mode(stat.st_mode).as_raw_mode();
    if mode & 0o077 != 0 {
        return Err(Error::Mode {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    Ok(())
}
