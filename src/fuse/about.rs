//! What a daemon tells about itself.
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// A volume as the kernel knows it: the backing directory's or the image file's device and inode, or a block device's number.
/// Names do not do: `-o fsname=` shows another one, and anybody may mount something under any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeId(u64, u64);

impl VolumeId {
    /// Of the directory, file or block device that has these attributes.
    pub fn of(there: &Metadata) -> Self {
        match there.file_type().is_block_device() {
            true => Self(u64::MAX, there.rdev()),
            false => Self(there.dev(), there.ino()),
        }
    }

    /// Device and inode of the backing directory or image file; `None` for a block device.
    pub fn inode(self) -> Option<(u64, u64)> {
        (self.0 != u64::MAX).then_some((self.0, self.1))
    }
}

/// What a daemon serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The volume.
    pub volume: VolumeId,
    /// Its path, as the one who mounted it typed it, made absolute.
    pub path: PathBuf,
    /// When it was mounted, in seconds since 1970.
    pub since: u64,
    /// Not for writing.
    pub read_only: bool,
    /// A snapshot of an image, not the image itself.
    pub snapshot: Option<OsString>,
}

impl About {
    /// Of a volume that is mounted now.
    pub fn now(volume: VolumeId, path: PathBuf, read_only: bool, snapshot: Option<&OsStr>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let snapshot = snapshot.map(OsStr::to_owned);
        let since = since.map_or(0, |since| since.as_secs());
        Self {
            volume,
            path,
            since,
            read_only,
            snapshot,
        }
    }

    /// Fields that end with NUL, then an empty line. No path and no name holds a NUL.
    pub(super) fn text(&self) -> Vec<u8> {
        let VolumeId(device, inode) = self.volume;
        let access = if self.read_only { "ro" } else { "rw" };
        let mut text = format!("{device}\0{inode}\0{}\0{access}\0", self.since).into_bytes();
        text.extend(self.path.as_os_str().as_bytes());
        text.push(0);
        if let Some(name) = &self.snapshot {
            text.extend(name.as_bytes());
        }
        text.extend(b"\0\n\n");
        text
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|&byte| byte == 0);
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (volume, since) = (VolumeId(number()?, number()?), number()?);
        let read_only = fields.next()? == b"ro";
        let path = OsString::from_vec(fields.next()?.to_vec()).into();
        let snapshot = fields.next().filter(|name| !name.is_empty());
        let snapshot = snapshot.map(|name| OsString::from_vec(name.to_vec()));
        Some(Self {
            volume,
            path,
            since,
            read_only,
            snapshot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        for snapshot in [None, Some(OsStr::new("before"))] {
            let path = PathBuf::from("/a volume\n\nwith lines");
            let about = About::now(VolumeId(7, 8), path, snapshot.is_some(), snapshot);
            assert_eq!(About::parse(&about.text()), Some(about));
        }
        assert_eq!(About::parse(b""), None);
        assert_eq!(About::parse(b"1\x002\0x\0"), None);
    }
}
