//! Moving through a tree of directories with one descriptor open, however deep the tree is: up by `..`, which counts only
//! where it leads back to the directory that was left. A path may be longer than a system call takes, and a descriptor for
//! each level more than a process may have open.
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{Errno, Result, fcntl_dupfd_cloexec};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens a directory to be listed and searched. A symbolic link is not followed.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Device and inode number.
pub(crate) type Identity = (u64, u64);

/// Which file a descriptor is open on.
pub(crate) fn identity(fd: impl AsFd) -> Result<Identity> {
    let stat = fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Opens a directory that exists.
pub(crate) fn existing(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    fs::openat(dir, name, DIRECTORY, Mode::empty())
}

/// A place in a tree, and the directories above it.
pub(crate) struct Climb {
    at: OwnedFd,
    above: Vec<Identity>,
}

impl Climb {
    /// Begins at the top.
    pub(crate) fn new(top: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self {
            at: fcntl_dupfd_cloexec(top, 0)?,
            above: Vec::new(),
        })
    }

    /// The directory.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.at.as_fd()
    }

    /// Goes into a directory that `open` opens in this one. Stays where that fails.
    pub(crate) fn down(
        &mut self,
        open: impl FnOnce(BorrowedFd<'_>) -> Result<OwnedFd>,
    ) -> Result<()> {
        let here = identity(&self.at)?;
        self.at = open(self.at.as_fd())?;
        self.above.push(here);
        Ok(())
    }

    /// Goes back to the directory above; gives the one that is left. Fails where someone has moved it meanwhile.
    pub(crate) fn up(&mut self) -> Result<OwnedFd> {
        let wanted = self.above.last().ok_or(Errno::NOENT)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = fs::openat(&self.at, c"..", flags, Mode::empty())?;
        if identity(&above)? != *wanted {
            return Err(Errno::STALE);
        }
        self.above.pop();
        Ok(std::mem::replace(&mut self.at, above))
    }
}

/// A tree in which every directory has a number, its parent's comes before it, and the top's is 0.
pub(crate) trait Tree {
    /// The directory above.
    fn parent(&self, dir: usize) -> usize;
    /// Its name in that.
    fn name(&self, dir: usize) -> &OsStr;
    /// How many directories are above it.
    fn depth(&self, dir: usize) -> usize;
}

/// Goes from directory to directory of a [`Tree`] on the shortest way: in the order of a tree that is one step for each.
pub(crate) struct Walker<'a> {
    top: BorrowedFd<'a>,
    climb: Climb,
    at: usize,
}

impl<'a> Walker<'a> {
    /// Begins at the top.
    pub(crate) fn new(top: BorrowedFd<'a>) -> Result<Self> {
        let climb = Climb::new(top)?;
        Ok(Self { top, climb, at: 0 })
    }

    /// Goes to a directory, opening each on the way down with `open`.
    pub(crate) fn go(
        &mut self,
        tree: &impl Tree,
        to: usize,
        open: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<OwnedFd>,
    ) -> Result<BorrowedFd<'_>> {
        let mut ahead = to;
        let mut way = Vec::new();
        while tree.depth(ahead) > tree.depth(self.at) {
            way.push(ahead);
            ahead = tree.parent(ahead);
        }
        while ahead != self.at {
            if tree.depth(ahead) == tree.depth(self.at) {
                way.push(ahead);
                ahead = tree.parent(ahead);
            }
            if self.climb.up().is_ok() {
                self.at = tree.parent(self.at);
                continue;
            }
            // Someone moved a directory, or closed it: from the top, by names.
            (self.climb, self.at) = (Climb::new(self.top)?, 0);
            while ahead != 0 {
                way.push(ahead);
                ahead = tree.parent(ahead);
            }
        }
        for dir in way.into_iter().rev() {
            self.climb.down(|above| open(above, tree.name(dir)))?;
            self.at = dir;
        }
        Ok(self.climb.fd())
    }
}
