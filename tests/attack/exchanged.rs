//! Somebody who may rename in the backing directory puts another file under the name of one of his own, and then changes
//! his own through the mount: the other file must stay as it is.
use crate::needs;
use crate::programs::machine::Machine;
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What must not change about the other file.
fn state(path: &Path) -> (u32, u32, u32, u64, i64, i64, i64) {
    let stat = fs::symlink_metadata(path).expect("stat");
    (
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.nlink(),
        stat.mtime(),
        stat.ctime(),
        stat.ctime_nsec(),
    )
}

/// A change of the node that is open.
type Change = fn(&File, &Path) -> io::Result<()>;

const CHANGES: [(&str, Change); 8] = [
    ("chmod", |mine, _| {
        Ok(rustix::fs::fchmod(mine, Mode::from_raw_mode(0o4777))?)
    }),
    ("chown", |mine, _| {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        Ok(rustix::fs::fchown(mine, Some(uid), Some(gid))?)
    }),
    ("utimes", |mine, _| {
        let zero = Timespec {
            tv_sec: 7,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: zero,
            last_modification: zero,
        };
        Ok(rustix::fs::futimens(mine, &times)?)
    }),
    ("setxattr", |mine, _| {
        Ok(rustix::fs::fsetxattr(
            mine,
            "user.planted",
            b"x",
            XattrFlags::empty(),
        )?)
    }),
    ("set an ACL", |mine, _| {
        // Version 2: user::rwx, group::rwx, other::rwx.
        let entry = |tag: u16| {
            let mut bytes = [tag.to_le_bytes(), 7_u16.to_le_bytes()].concat();
            bytes.extend(u32::MAX.to_le_bytes());
            bytes
        };
        let acl = [vec![2, 0, 0, 0], entry(1), entry(4), entry(0x20)].concat();
        let name = "system.posix_acl_access";
        Ok(rustix::fs::fsetxattr(
            mine,
            name,
            &acl,
            XattrFlags::empty(),
        )?)
    }),
    ("truncate", |mine, _| {
        Ok(rustix::fs::ftruncate(mine.as_fd(), 3)?)
    }),
    ("link", |mine, point| {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", mine.as_raw_fd());
        let to = point.join("further");
        let follow = AtFlags::SYMLINK_FOLLOW;
        Ok(rustix::fs::linkat(
            rustix::fs::CWD,
            path,
            rustix::fs::CWD,
            to,
            follow,
        )?)
    }),
    ("removexattr", |mine, _| {
        Ok(rustix::fs::fremovexattr(mine, "user.known")?)
    }),
];

/// Where the mount's files lie, by the inode number that it shows.
fn backing(volume: &Path) -> BTreeMap<u64, PathBuf> {
    let entries = fs::read_dir(volume).expect("readdir");
    let path = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").path();
    entries
        .map(path)
        .map(|path| (fs::symlink_metadata(&path).expect("stat").ino(), path))
        .collect()
}

#[test]
fn a_change_reaches_no_file_that_was_moved_under_the_name() {
    if !needs::fuse() {
        return;
    }
    for (what, change) in CHANGES {
        let machine = Machine::new(&[]);
        let point = machine.mount_for_devices();
        for name in ["mine", "other"] {
            fs::write(point.join(name), name.repeat(1000)).expect("write");
            let set =
                rustix::fs::setxattr(point.join(name), "user.known", b"here", XattrFlags::empty());
            set.expect("setxattr");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(point.join(name), mode).expect("chmod");
        }
        machine.umount();
        machine.mount_for_devices();
        let number = |name: &str| point.join(name).metadata().expect("stat").ino();
        let (mine, other) = (number("mine"), number("other"));
        let open = File::options()
            .read(true)
            .write(true)
            .open(point.join("mine"))
            .expect("open");
        let names = backing(&machine.volume());
        fs::rename(&names[&other], &names[&mine]).expect("rename");
        let before = state(&names[&mine]);
        let changed = change(&open, &point);
        assert_eq!(state(&names[&mine]), before, "{what}: {changed:?}");
        assert!(changed.is_err(), "{what}");
        drop(open);
        machine.umount();
    }
}

/// The same for what cannot be opened: a link, whose node the kernel keeps.
#[test]
fn a_link_is_compared_too() {
    if !needs::fuse() || !needs::root("giving a link away") {
        return;
    }
    let machine = Machine::new(&[]);
    let point = machine.mount();
    symlink("target", point.join("mine")).expect("symlink");
    fs::write(point.join("other"), "other").expect("write");
    let number = |name: &str| point.join(name).symlink_metadata().expect("stat").ino();
    let (mine, other) = (number("mine"), number("other"));
    let names = backing(&machine.volume());
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
    let open = rustix::fs::open(point.join("mine"), flags, Mode::empty()).expect("open");
    fs::rename(&names[&other], &names[&mine]).expect("rename");
    let before = state(&names[&mine]);
    let user = Some(rustix::fs::Uid::from_raw(65534));
    let given = rustix::fs::chownat(&open, "", user, None, AtFlags::EMPTY_PATH);
    assert_eq!(state(&names[&mine]), before, "{given:?}");
    given.expect_err("a file that is not this link");
    drop(open);
    machine.umount();
}
