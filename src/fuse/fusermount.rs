//! fusermount3, the set-user-ID program that mounts and unmounts for users who may not.
//!
//! It takes paths only. It enters the directory, checks by itself that the user may write there, and mounts on `.`; so
//! another directory that was put in place of the one that was checked is never one that the user could not have named.
//! Whether it was the same one is looked at afterwards.
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::options::escape;
use super::point::Point;
use super::{Error, MountOptions};

const PROGRAM: &str = "fusermount3";

/// Mounts, and returns the connection to the kernel.
///
/// Standard input is the socket by which fusermount3 hands over the connection: that reaches this child, and no other
/// program that is started meanwhile.
pub(super) fn mount(point: &Point, options: &MountOptions) -> Result<OwnedFd, Error> {
    let failed = |error| Error::Mount(point.path().to_owned(), error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new(PROGRAM);
    child
        .arg("-o")
        .arg(list(options))
        .arg("--")
        .arg(point.path());
    child
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null());
    let spawned = child.stderr(Stdio::piped()).spawn();
    // The socket's other end must not be left open here: its closing says that the program has ended.
    drop(child);
    let mut spawned = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoFusermount,
        _ => failed(error),
    })?;
    let connection = receive(&ours);
    let mut said = String::new();
    if let Some(mut from) = spawned.stderr.take() {
        from.read_to_string(&mut said).map_err(failed)?;
    }
    spawned.wait().map_err(failed)?;
    match connection {
        Ok(Some(connection)) => Ok(connection),
        _ if said.contains("user_allow_other") => Err(Error::AllowOther),
        Ok(None) => Err(failed(io::Error::other(said.trim().to_owned()))),
        Err(error) => Err(failed(error)),
    }
}

/// The descriptor that the program sends; `None`: it ended without.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::io::retry_on_intr(|| recvmsg(socket, &mut data, &mut control, flags))?;
    let mut sent = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(sent.next())
}

fn list(options: &MountOptions) -> std::ffi::OsString {
    let source = options
        .source
        .as_deref()
        .unwrap_or_else(|| "cryptfs".as_ref());
    let mut list = std::ffi::OsString::from("default_permissions,fsname=");
    list.push(escape(source));
    list.push(",subtype=");
    list.push(escape(&options.subtype));
    if options.allow_other {
        list.push(",allow_other");
    }
    let words = [
        (MountFlags::RDONLY, "ro", "rw"),
        (MountFlags::NOSUID, "nosuid", "suid"),
        (MountFlags::NODEV, "nodev", "dev"),
        (MountFlags::NOEXEC, "noexec", "exec"),
        (MountFlags::NOATIME, "noatime", "atime"),
        (MountFlags::SYNCHRONOUS, "sync", "async"),
    ];
    for (flag, set, unset) in words {
        list.push(",");
        list.push(if options.flags.contains(flag) {
            set
        } else {
            unset
        });
    }
    if options.flags.contains(MountFlags::DIRSYNC) {
        list.push(",dirsync");
    }
    list
}

/// Unmounts. `lazy`: even if it is in use.
pub(super) fn unmount(point: &Path, lazy: bool) -> io::Result<()> {
    let flags = if lazy { "-uz" } else { "-u" };
    let output = Command::new(PROGRAM)
        .arg(flags)
        .arg("--")
        .arg(point)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("busy") {
        return Err(Errno::BUSY.into());
    }
    Err(io::Error::other(said.trim().to_owned()))
}
