//! Targets of symbolic links (man/cryptfs.5, "SYMBOLIC LINKS").
//!
//! stored = base64url(nonce (12) + AES-256-SIV(target)); associated data: nonce. What does not fit into a link of the backing
//! store lies in `.cryptfs/targets/<id>`, and the link says `~<id>`.
use super::*;
use crate::crypto::{random, siv};
use data_encoding::BASE64URL_NOPAD;
use rustix::fd::BorrowedFd;
use rustix::fs::Statx;
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// PATH_MAX, without the NUL.
const MAX_TARGET: usize = 4095;
const OVERHEAD: usize = 12 + siv::OVERHEAD;
/// Length of `~<id>`. No sealed target is that short.
const LONG_LENGTH: u64 = 17;
const FOLDER: &CStr = c"targets";

/// `.cryptfs/targets`, once there is one.
pub struct LongTargets(Mutex<Option<Arc<OwnedFd>>>);

impl LongTargets {
    /// Looks for it.
    pub fn find(own: BorrowedFd<'_>) -> Result<Self> {
        match Backing::default().open_dir(own, FOLDER) {
            Ok(folder) => Ok(Self(Mutex::new(Some(Arc::new(folder))))),
            Err(Errno::NOENT) => Ok(Self(Mutex::new(None))),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The target in what is sealed: nonce and ciphertext.
pub fn open(keys: &Keys, sealed: &[u8]) -> Result<Vec<u8>, Damage> {
    let (nonce, sealed) = sealed.split_first_chunk::<12>().ok_or(Damage::Malformed)?;
    let target = keys.links().open(&[nonce], sealed);
    let target = target.map_err(|_| Damage::Tag)?;
    if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
        return Err(Damage::Malformed);
    }
    Ok(target)
}

impl Directory {
    pub(super) fn read_link(&self, node: &Arc<Node>) -> Result<Vec<u8>> {
        if node.kind != Kind::Symlink {
            return Err(Error::Invalid);
        }
        let place = node.place().ok_or(Error::Stale)?;
        let handle = self.handle(&place.parent)?;
        self.target(&backing::read_link(handle.as_fd(), &place.name)?)
    }

    /// The target that a stored link stands for.
    pub(super) fn target(&self, stored: &CStr) -> Result<Vec<u8>> {
        let sealed = match stored.to_bytes().strip_prefix(b"~") {
            Some(_) => self.read_long(stored)?,
            None => BASE64URL_NOPAD
                .decode(stored.to_bytes())
                .map_err(|_| Damage::Malformed)?,
        };
        Ok(open(&self.store.keys, &sealed)?)
    }

    /// The target's length, from the stored length where that tells.
    pub(super) fn link_size(&self, node: &Node, stored: u64) -> u64 {
        if stored != LONG_LENGTH {
            return (stored * 3 / 4).saturating_sub(OVERHEAD as u64);
        }
        let long = node.place().and_then(|place| {
            let handle = self.handle(&place.parent).ok()?;
            self.target(&backing::read_link(handle.as_fd(), &place.name).ok()?)
                .ok()
        });
        long.map_or(0, |target| target.len() as u64)
    }

    /// What the backing link says. The file of a long target is durable when this returns.
    pub(super) fn seal_target(&self, target: &[u8]) -> Result<CString> {
        match target.len() {
            0 => return Err(Error::NotFound),
            1..=MAX_TARGET => {}
            _ => return Err(Error::NameTooLong),
        }
        let nonce: [u8; 12] = random::bytes();
        let sealed = [&nonce[..], &self.store.keys.links().seal(&[&nonce], target)].concat();
        let text = BASE64URL_NOPAD.encode(&sealed);
        if text.len() <= MAX_TARGET {
            return CString::new(text).map_err(|_| Error::Invalid);
        }
        let name = CString::new(format!("~{}", BASE64URL_NOPAD.encode(&nonce)))
            .map_err(|_| Error::Invalid)?;
        let folder = self.long_folder()?;
        crate::sys::umask::set(0);
        let file = self.backing().create_own(folder.as_fd(), &name)?;
        self.backing().write(file.as_fd(), &sealed, 0)?;
        self.backing().sync(file.as_fd(), false)?;
        self.backing().sync_dir(folder.as_fd())?;
        Ok(name)
    }

    fn long_folder(&self) -> Result<Arc<OwnedFd>> {
        let mut known = self.long_targets.0.lock();
        if let Some(folder) = &*known {
            return Ok(folder.clone());
        }
        crate::sys::umask::set(0);
        match self.backing().mkdir_own(self.own.as_fd(), FOLDER) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.backing().sync_dir(self.own.as_fd())?;
        let folder = Arc::new(self.backing().open_dir(self.own.as_fd(), FOLDER)?);
        *known = Some(folder.clone());
        Ok(folder)
    }

    fn read_long(&self, name: &CStr) -> Result<Vec<u8>> {
        let folder = self.long_targets.0.lock().clone().ok_or(Damage::Missing)?;
        let file = match self.backing().open_file(folder.as_fd(), name, false) {
            Err(Errno::NOENT) => return Err(Damage::Missing.into()),
            file => file?,
        };
        let mut sealed = vec![0; MAX_TARGET + OVERHEAD];
        let length = backing::read(file.as_fd(), &mut sealed, 0)?;
        sealed.truncate(length);
        Ok(sealed)
    }

    /// The file of a long target that goes away with its last link.
    pub(super) fn long_target(
        &self,
        handle: BorrowedFd<'_>,
        name: &CStr,
        stat: &Statx,
    ) -> Option<CString> {
        let is_link = Kind::from_mode(u32::from(stat.stx_mode)) == Some(Kind::Symlink);
        (is_link && stat.stx_size == LONG_LENGTH && stat.stx_nlink == 1)
            .then(|| backing::read_link(handle, name).ok())
            .flatten()
    }

    /// Best effort: the file of a target without a link says nothing to anyone, and check lists it.
    pub(super) fn drop_long_target(&self, name: Option<CString>) {
        let folder = self.long_targets.0.lock().clone();
        if let (Some(name), Some(folder)) = (name, folder) {
            let _ = self.backing().unlink(folder.as_fd(), &name);
        }
    }
}
