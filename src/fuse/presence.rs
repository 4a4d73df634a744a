//! A socket that lives as long as the daemon, so that `umount` can wait until everything is written.
//!
//! Its name is in the abstract name space and carries the mount's device number: no file to leave behind. Whoever wants
//! to wait connects while the mount is there; at its end the daemon writes one byte, 0 for a clean end, and the kernel
//! closes the connection with the process. Only a socket of the mount's owner or of root is believed.
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;

use crate::sys::mountinfo::{Mount, mount_at};

const CLEAN: u8 = 0;
const UNCLEAN: u8 = 1;

fn address(mount: &Mount) -> Option<SocketAddr> {
    let (major, minor) = mount.device;
    SocketAddr::from_abstract_name(format!("cryptfs/mount/{major}:{minor}")).ok()
}

/// The daemon's side, while it serves.
#[derive(Debug)]
pub(super) struct Presence(Option<UnixListener>);

impl Presence {
    /// For the mount on `point`. Nobody can wait if it fails; that is no reason not to serve.
    pub(super) fn new(point: &Path) -> Self {
        let mount = mount_at(point).ok().flatten();
        let listener = mount.and_then(|mount| bind(&address(&mount)?));
        Self(listener.filter(|listener| listener.set_nonblocking(true).is_ok()))
    }

    /// Call when the mount is gone. The name is free then: so is the device number, and another mount may have it.
    pub(super) fn over(self) -> Watchers {
        let waiting = self.0.iter().flat_map(UnixListener::incoming);
        Watchers(waiting.map_while(Result::ok).collect())
    }
}

/// The daemon of an earlier mount with this number may not have noticed its end yet.
fn bind(address: &SocketAddr) -> Option<UnixListener> {
    for _ in 0..100 {
        match UnixListener::bind_addr(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            answer => return answer.ok(),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The daemon's side, while it closes the volume: those who wait for that.
#[derive(Debug)]
pub(super) struct Watchers(Vec<UnixStream>);

impl Watchers {
    /// Tells them how it ended.
    pub(super) fn tell(self, clean: bool) {
        for mut stream in self.0 {
            let _ = stream.write_all(&[if clean { CLEAN } else { UNCLEAN }]);
            // Closed only with the process: "ended" means that its locks are free as well.
            std::mem::forget(stream);
        }
    }
}

/// The side of the one who waits.
#[derive(Debug)]
pub(super) struct Watch(UnixStream);

impl Watch {
    /// Of the daemon that serves `mount`; `None` if it cannot be found.
    pub(super) fn new(mount: &Mount) -> Option<Self> {
        let stream = UnixStream::connect_addr(&address(mount)?).ok()?;
        let peer = socket_peercred(&stream).ok()?.uid.as_raw();
        let owner = mount.super_option("user_id")?.to_str()?.parse().ok();
        (peer == 0 || Some(peer) == owner).then_some(Self(stream))
    }

    /// Until the daemon has ended. Whether it wrote everything; one that died without a word did not.
    pub(super) fn wait(mut self) -> bool {
        let mut said = Vec::new();
        let _ = self.0.read_to_end(&mut said);
        said.first() == Some(&CLEAN)
    }
}
