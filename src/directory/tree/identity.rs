//! What tells one backing inode from all others: its device, its number there and when it was made.
//!
//! A backing directory usually lies on one device, whose inode numbers are what programs see. On btrfs each subvolume is
//! a device of its own with the same small numbers, and on overlayfs each layer may be: their numbers get the device's
//! place in a list in their upper 16 bits, because programs take two files with one number for one file.
use super::super::backing;
use crate::fs::Time;
use parking_lot::RwLock;
use rustix::fd::BorrowedFd;
use rustix::fs::Statx;

/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAYFS: u64 = 0x794c_7630;

/// A backing inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The number that programs see.
    pub number: u64,
    /// The place of its device in the list; 0: the backing directory's own.
    pub device: u16,
    /// When it was made, where its file system tells and keeps to it: a number is used again.
    pub born: Option<Time>,
}

/// How a backing store tells inodes apart.
pub struct Identities {
    /// The backing directory's device.
    own: u64,
    others: RwLock<Vec<u64>>,
    /// A birth time belongs to the inode. On overlayfs it changes when the first write copies the file up.
    births: bool,
}

impl Identities {
    /// Of the store that holds `root`.
    pub fn of_store(root: BorrowedFd<'_>, stat: &Statx) -> Self {
        let kind = rustix::fs::fstatfs(root).map(|sizes| sizes.f_type as u64);
        Self {
            own: device(stat),
            others: RwLock::default(),
            births: kind != Ok(OVERLAYFS),
        }
    }

    /// The identity of an inode with these attributes.
    pub fn of(&self, stat: &Statx) -> Identity {
        let device = match device(stat) {
            own if own == self.own => 0,
            other => self.place(other),
        };
        Identity {
            number: numbered(stat.stx_ino, device),
            device,
            born: backing::born(stat).filter(|_| self.births),
        }
    }

    fn place(&self, device: u64) -> u16 {
        let find = |others: &[u64]| others.iter().position(|other| *other == device);
        let known = find(&self.others.read());
        let index = known.unwrap_or_else(|| {
            let mut others = self.others.write();
            find(&others).unwrap_or_else(|| {
                others.push(device);
                others.len() - 1
            })
        });
        // Numbers repeat after 65,534 subvolumes, which only costs their distinction.
        (index % usize::from(u16::MAX - 1)) as u16 + 1
    }
}

/// The number that programs see of the inode `ino` of a device.
pub fn numbered(ino: u64, device: u16) -> u64 {
    ino ^ u64::from(device) << 48
}

/// Whether both are attributes of one backing inode.
pub fn same(one: &Statx, other: &Statx) -> bool {
    (one.stx_ino, device(one)) == (other.stx_ino, device(other))
}

fn device(stat: &Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}
