//! Whose a file is that root makes where someone else is at home. Files of a volume, of a keystore and beside them are closed
//! to everyone but their owner: one that root's help left behind as root's would lock out the person who was helped.
//!
//! Owners are only ever set through descriptors of files that were just made, or that are known to have one name.
use rustix::fs::{self, AtFlags, FileType, Gid, Stat, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::io;
use std::os::fd::AsFd;

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

/// The owner of a directory that is not root's; `None` where this process could not give anything away, or need not.
pub(crate) fn of_dir(dir: impl AsFd) -> Option<Owner> {
    if !geteuid().is_root() {
        return None;
    }
    of(&fs::fstat(dir).ok()?)
}

/// Who is to own a file that replaces `name` in a directory: the owner it has, or else the directory's.
pub(crate) fn of_file(dir: impl AsFd, name: &str) -> Option<Owner> {
    let in_place = of_dir(&dir);
    if !geteuid().is_root() {
        return None;
    }
    let there = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    let there = there.filter(is_file).and_then(|stat| of(&stat));
    there.or(in_place)
}

/// Gives a file that was just made away.
pub(crate) fn give(file: impl AsFd, owner: Option<Owner>) -> io::Result<()> {
    let Some(Owner { uid, gid }) = owner else {
        return Ok(());
    };
    match fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        // File systems without owners, and servers that do not let root do this: everyone's files are the same there.
        Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        given => Ok(given?),
    }
}

/// As [`give`], of a file that may have been there before: only if it is a file of root's with this one name.
pub(crate) fn give_found(file: impl AsFd, owner: Option<Owner>) -> io::Result<()> {
    let stat = fs::fstat(&file)?;
    match is_file(&stat) && stat.st_nlink == 1 && stat.st_uid == 0 {
        true => give(file, owner),
        false => Ok(()),
    }
}

/// Gives a kit, a sheet or a backup of a volume, which was just made in `dir`, to the directory's owner: where the volume is
/// that person's too. What opens someone else's volume is not given away.
pub(crate) fn give_beside(file: impl AsFd, dir: impl AsFd, volume: Option<u32>) -> io::Result<()> {
    let owner = of_dir(dir).filter(|owner| Some(owner.uid) == volume);
    give(file, owner)
}

fn of(stat: &Stat) -> Option<Owner> {
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    (uid != 0).then_some(Owner { uid, gid })
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
