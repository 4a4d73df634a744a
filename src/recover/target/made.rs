//! An entry that a salvage has made, held by a descriptor: whatever its name means by now, attributes are set on it alone.
use crate::fs::{Attr, Kind, Time};
use rustix::fs::{
    self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Begins what is said of an attribute that was left out on purpose.
const LEFT_OUT: &str = "left out: ";
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// What to do with metadata that gives power: set-user-ID and set-group-ID bits of files, device nodes, and attributes of
/// the namespaces `security` and `trusted`.
///
/// In a directory volume nobody has authenticated them: whoever can write to the backing directory, without any key, could
/// have a root shell or an open disk made in root's destination. An image authenticates its metadata, and yet they are left
/// out there too: its keys may be a user's, who may have written an image in which that user is root, and asks root to
/// rescue it. Nothing is lost, for the same salvage brings them back on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withhold {
    /// Leave it out, and say so.
    Power,
    /// Restore it: the person vouches for the volume.
    Nothing,
}

impl Withhold {
    /// True of a device node that is not to be made. The whiteout of overlayfs, 0:0, opens nothing.
    pub(crate) fn device(self, attr: &Attr) -> bool {
        let device = matches!(attr.kind, Kind::CharDevice | Kind::BlockDevice);
        let whiteout = attr.kind == Kind::CharDevice && attr.rdev == 0;
        self == Self::Power && device && !whiteout
    }

    fn attribute(self, name: &[u8]) -> bool {
        let power = name.starts_with(b"security.") || name.starts_with(b"trusted.");
        self == Self::Power && power
    }

    /// The mode to set, and what is missing in it. On a directory the set-group-ID bit only hands down the group.
    fn mode(self, attr: &Attr) -> (u32, Vec<&'static str>) {
        let mut mode = attr.mode;
        let mut missing = Vec::new();
        for (bit, what) in [(SETUID, "set-user-ID bit"), (SETGID, "set-group-ID bit")] {
            if self == Self::Power && attr.kind != Kind::Directory && mode & bit != 0 {
                mode &= !bit;
                missing.push(what);
            }
        }
        (mode, missing)
    }
}

/// How the report says that something was left out on purpose.
pub(crate) fn left_out(what: &str) -> String {
    format!("{LEFT_OUT}{what}")
}

/// Whether the report says so.
pub(crate) fn is_left_out(what: &str) -> bool {
    what.starts_with(LEFT_OUT)
}

/// A file, directory or other entry in the destination.
pub(crate) struct Made {
    file: File,
    /// Opened with O_PATH: some calls take it only by way of /proc.
    path_only: bool,
}

impl Made {
    /// A file or a directory that is open.
    pub(crate) fn open(fd: OwnedFd) -> Self {
        Self {
            file: fd.into(),
            path_only: false,
        }
    }

    /// What was made under this name a moment ago. Something of another kind in its place is an error.
    pub(super) fn at(dir: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(dir, name, flags, Mode::empty())?;
        let there = FileType::from_raw_mode(fs::fstat(&fd)?.st_mode);
        if there != FileType::from_raw_mode(kind.mode_bits()) {
            return Err(Errno::STALE);
        }
        Ok(Self {
            file: fd.into(),
            path_only: true,
        })
    }

    /// The file, to be written.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Sets the owner, then attributes, then the mode (which a change of owner cuts). Says what could not be set.
    pub(crate) fn dress(
        &self,
        attr: &Attr,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        withhold: Withhold,
    ) -> Vec<String> {
        let mut lost = Vec::new();
        let mut note = |what: &str, done: rustix::io::Result<()>| {
            if let Err(errno) = done {
                lost.push(format!("{what}: {}", std::io::Error::from(errno)));
            }
        };
        let owner = (Some(Uid::from_raw(attr.uid)), Some(Gid::from_raw(attr.gid)));
        let changed = fs::chownat(&self.file, c"", owner.0, owner.1, AtFlags::EMPTY_PATH);
        // Only root gives files away; everyone else's copies are their own.
        if changed != Err(Errno::PERM) {
            note("owner", changed);
        }
        let mut missing = Vec::new();
        for (name, value) in xattrs {
            let shown = format!("attribute {}", String::from_utf8_lossy(name));
            match withhold.attribute(name) {
                true => missing.push(left_out(&shown)),
                false => note(&shown, self.set_xattr(name, value)),
            }
        }
        if attr.kind != Kind::Symlink {
            let (mode, bits) = withhold.mode(attr);
            missing.extend(bits.into_iter().map(left_out));
            note("mode", self.set_mode(Mode::from_raw_mode(mode)));
        }
        lost.extend(missing);
        lost
    }

    /// Sets the times, by which a salvage that goes on knows that the entry is finished.
    pub(crate) fn date(&self, attr: &Attr) -> Vec<String> {
        let times = Timestamps {
            last_access: timespec(attr.atime),
            last_modification: timespec(attr.mtime),
        };
        let set = match self.path_only {
            true => fs::utimensat(CWD, self.path(), &times, AtFlags::empty()),
            false => fs::futimens(&self.file, &times),
        };
        let lost = set
            .err()
            .map(|errno| format!("times: {}", std::io::Error::from(errno)));
        lost.into_iter().collect()
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        let name = OsStr::from_bytes(name);
        match self.path_only {
            true => fs::setxattr(self.path(), name, value, XattrFlags::empty()),
            false => fs::fsetxattr(&self.file, name, value, XattrFlags::empty()),
        }
    }

    fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        match self.path_only {
            true => fs::chmod(self.path(), mode),
            false => fs::fchmod(&self.file, mode),
        }
    }

    /// Leads to the inode of the descriptor and not beyond it, even where that is a symbolic link.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl AsFd for Made {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn timespec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    }
}
