//! How commands reach the daemon of a mount: a socket that lives as long as the daemon.
//!
//! Its name is in the abstract name space and carries the mount's device number: no file to leave behind. The name is
//! visible to every user of the network namespace, so both sides look at the other's credentials: a daemon answers only its
//! own user and root, and a command believes only a daemon that runs as one of those [`Daemon`] names. Neither side ever
//! waits for a stranger.
//!
//! | the command sends | the daemon answers |
//! | --- | --- |
//! | [`ABOUT`] | a text, see [`About`] |
//! | [`END`] | detaches the mount in its own mount namespace; [`BUSY`] if it is in use there |
//! | nothing | at its end one byte, [`CLEAN`] or [`UNCLEAN`] |
use std::io::{self, ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, geteuid};

use super::about::{About, VolumeId};
use super::processes::Process;
use crate::sys::mountinfo::Mount;

/// Asks what the daemon serves.
pub(super) const ABOUT: u8 = b'?';
/// Asks the daemon to end its session.
pub(super) const END: u8 = b'E';
/// Everything was written.
pub(super) const CLEAN: u8 = 0;
/// Something could not be written.
pub(super) const UNCLEAN: u8 = 1;
/// In use in the daemon's own mount namespace.
pub(super) const BUSY: u8 = 2;

const PREFIX: &str = "cryptfs/mount/";
/// How long a daemon may take to answer a question; it needs no disk for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// `st_dev` of a mount's files.
pub type Device = (u32, u32);

/// The name of the socket, without the NUL that marks an abstract one.
pub(super) fn name(device: Device) -> String {
    format!("{PREFIX}{}:{}", device.0, device.1)
}

/// A daemon that serves a mount, which may lie in another mount namespace.
#[derive(Debug)]
pub struct Daemon {
    stream: UnixStream,
    /// The process.
    pub process: Process,
    /// The user it runs as.
    pub user: u32,
    /// The mount.
    pub device: Device,
}

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was written.
    Clean,
    /// Something could not be written, or it died.
    Unclean,
    /// It goes on: its own mount namespace still uses the mount.
    Busy,
    /// It goes on, and has not said why.
    Waiting,
}

impl Daemon {
    /// The daemon of a mount that this process sees. `None`: there is none.
    ///
    /// # Errors
    /// Somebody answers who is neither root, nor this user, nor the one who mounted it.
    pub fn of(mount: &Mount) -> io::Result<Option<Self>> {
        let owner = mount
            .super_option("user_id")
            .and_then(|id| id.to_str()?.parse().ok());
        match connect(mount.device) {
            Ok(daemon) if daemon.credible(owner) => Ok(Some(daemon)),
            Ok(_) => Err(ErrorKind::PermissionDenied.into()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The daemons that serve a volume, wherever they have mounted it. `owner`: the user whose volume it is.
    pub fn all_of(volume: VolumeId, owner: u32) -> Vec<(Self, About)> {
        let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let mut devices: Vec<_> = table.lines().filter_map(listed).collect();
        devices.sort_unstable();
        devices.dedup();
        let found = devices.into_iter().filter_map(|device| {
            let mut daemon = connect(device).ok()?;
            let about = daemon.credible(Some(owner)).then(|| daemon.about())??;
            (about.volume == volume).then_some((daemon, about))
        });
        found.collect()
    }

    /// Root may rely on a volume's owner in what concerns that volume; everybody relies on root and on themselves.
    fn credible(&self, owner: Option<u32>) -> bool {
        let me = geteuid();
        self.user == 0 || self.user == me.as_raw() || me.is_root() && Some(self.user) == owner
    }

    /// What it serves.
    pub fn about(&mut self) -> Option<About> {
        self.stream.write_all(&[ABOUT]).ok()?;
        let mut text = Vec::new();
        while !text.ends_with(b"\n\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            text.push(byte[0]);
            if text.len() > 1 << 14 {
                return None;
            }
        }
        About::parse(&text)
    }

    /// Asks it to end its session, wherever the mount is still seen.
    pub fn end(&mut self) {
        // One that has ended meanwhile takes no question; its last word is waiting here.
        let _ = self.stream.write_all(&[END]);
    }

    /// Waits until the daemon has ended, at most so long.
    pub fn wait(&mut self, most: Duration) -> End {
        use ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let end = Instant::now() + most;
        let mut said = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return End::Waiting;
            }
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) if byte[0] == BUSY => return End::Busy,
                Ok(1) => said = Some(byte[0]),
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {}
                // Also ECONNRESET: it ended before it read the question.
                Ok(_) | Err(_) if said == Some(CLEAN) => return End::Clean,
                Ok(_) | Err(_) => return End::Unclean,
            }
        }
    }
}

/// A line of `/proc/net/unix` that ends with the name of one of our sockets.
fn listed(line: &str) -> Option<Device> {
    let name = line
        .rsplit(' ')
        .next()?
        .strip_prefix('@')?
        .strip_prefix(PREFIX)?;
    let (major, minor) = name.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Connects without ever waiting for the other side to accept: others may have filled its queue.
fn connect(device: Device) -> io::Result<Daemon> {
    let address = SocketAddrUnix::new_abstract_name(name(device).as_bytes())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let peer = socket_peercred(&socket)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Daemon {
        stream,
        process: Process::of(Pid::as_raw(Some(peer.pid)).cast_unsigned()),
        user: peer.uid.as_raw(),
        device,
    })
}

/// Binds the daemon's side. The daemon of an earlier mount with this number may not have noticed its end yet.
pub(super) fn listen(device: Device) -> Option<std::os::unix::net::UnixListener> {
    let address = SocketAddr::from_abstract_name(name(device)).ok()?;
    for _ in 0..100 {
        match std::os::unix::net::UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(_) => return None,
            Ok(listener) => return listener.set_nonblocking(true).is_ok().then_some(listener),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The mounts of a device in this process's namespace.
pub fn points(device: Device) -> Vec<Mount> {
    let mounts = crate::sys::mountinfo::mounts().unwrap_or_default();
    mounts
        .into_iter()
        .filter(|mount| mount.device == device)
        .collect()
}

/// The volume that a path names, and its owner.
///
/// # Errors
/// It cannot be examined.
pub fn volume_at(path: &Path) -> io::Result<(VolumeId, u32)> {
    use std::os::unix::fs::MetadataExt;
    let there = std::fs::metadata(path)?;
    Ok((VolumeId::of(&there), there.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_sockets_are_listed() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 12345 @cryptfs/mount/0:57";
        assert_eq!(listed(line), Some((0, 57)));
        assert_eq!(
            listed("0: 2 0 10000 0001 01 7 /run/cryptfs/mount/0:57"),
            None
        );
        assert_eq!(listed("0: 2 0 10000 0001 01 7 @cryptfs/mount/x"), None);
        assert_eq!(listed(""), None);
    }
}
