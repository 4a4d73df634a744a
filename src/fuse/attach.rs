//! Mounts: by system calls where this process may, else by fusermount3. Both mount on the directory that was checked, by
//! its descriptor, and not on what its path leads to now.
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::{getgid, getuid};

use super::contact::Device;
use super::point::Point;
use super::{Error, MountOptions, fusermount};
use crate::sys::mountinfo::mount_at;

/// A mount, and the kernel's connection to whoever serves it.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) connection: OwnedFd,
    pub(super) device: Device,
}

/// Mounts on `point`. Nobody answers requests yet.
pub(super) fn attach(point: &Point, options: &MountOptions) -> Result<Attached, Error> {
    let device = open_device()?;
    match by_system_calls(point, options, &device) {
        Ok(number) => Ok(Attached {
            connection: device.into(),
            device: number,
        }),
        // In a container root may lack the right; a kernel or a filter may lack the calls.
        Err(Errno::PERM | Errno::NOSYS) => by_program(point, options),
        Err(errno) => Err(Error::Mount(point.path().to_owned(), errno.into())),
    }
}

/// By fusermount3, which takes the path. If that did not lead to the directory that was checked, the mount is taken away
/// again.
fn by_program(point: &Point, options: &MountOptions) -> Result<Attached, Error> {
    let connection = fusermount::mount(point, options)?;
    let mount = mount_at(point.path()).ok().flatten();
    match mount.filter(|_| point.is_where_it_was()) {
        Some(mount) => Ok(Attached {
            connection,
            device: mount.device,
        }),
        None => {
            drop(connection);
            let _ = fusermount::unmount(point.path(), true);
            let what = "another directory was put in its place";
            Err(Error::Mount(
                point.path().to_owned(),
                io::Error::other(what),
            ))
        }
    }
}

/// Looks whether this process can mount: it may open `/dev/fuse`, and where the kernel lets it not
/// mount by itself there is a fusermount3 that may.
///
/// # Errors
/// What is missing.
pub fn available() -> Result<(), Error> {
    open_device()?;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()); // execvp's own
    let helper = |dir: PathBuf| dir.join("fusermount3").is_file();
    let may_mount = rustix::process::geteuid().is_root();
    match may_mount || std::env::split_paths(&path).any(helper) {
        true => Ok(()),
        false => Err(Error::NoFusermount),
    }
}

fn open_device() -> Result<File, Error> {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(device) => Ok(device),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoDevice),
        Err(error) => Err(Error::Device(error)),
    }
}

fn by_system_calls(
    point: &Point,
    options: &MountOptions,
    device: &File,
) -> rustix::io::Result<Device> {
    let fs = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let source = options
        .source
        .as_deref()
        .unwrap_or_else(|| "cryptfs".as_ref());
    fsconfig_set_string(&fs, "source", source)?;
    fsconfig_set_string(&fs, "subtype", options.subtype.as_os_str())?;
    fsconfig_set_string(&fs, "fd", device.as_raw_fd().to_string())?;
    fsconfig_set_string(&fs, "rootmode", "40000")?;
    fsconfig_set_string(&fs, "user_id", getuid().as_raw().to_string())?;
    fsconfig_set_string(&fs, "group_id", getgid().as_raw().to_string())?;
    fsconfig_set_flag(&fs, "default_permissions")?;
    if options.allow_other {
        fsconfig_set_flag(&fs, "allow_other")?;
    }
    for (flag, name) in [
        (MountFlags::RDONLY, "ro"),
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::DIRSYNC, "dirsync"),
    ] {
        if options.flags.contains(flag) {
            fsconfig_set_flag(&fs, name)?;
        }
    }
    fsconfig_create(&fs)?;
    let mount = fsmount(
        &fs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes(options.flags),
    )?;
    let number = device_of(mount.as_fd())?;
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", point, "", how)?;
    Ok(number)
}

/// `st_dev` of the mount. What the kernel knows by itself will do: nobody answers requests yet.
fn device_of(mount: BorrowedFd<'_>) -> rustix::io::Result<Device> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(mount, "", flags, StatxFlags::empty())?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

fn attributes(flags: MountFlags) -> MountAttrFlags {
    let pairs = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    ];
    let set = pairs.into_iter().filter(|&(flag, _)| flags.contains(flag));
    set.fold(MountAttrFlags::empty(), |all, (_, attribute)| {
        all | attribute
    })
}
