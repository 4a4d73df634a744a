//! A socket that lives as long as the daemon, so that `umount` can wait until everything is written.
//!
//! Its name is in the abstract name space and carries the mount's device number: no file to leave behind. Whoever wants
//! to wait connects while the mount is there; at its end the daemon writes one byte, 0 for a clean end, and the kernel
//! closes the connection with the process. Only a socket of the mount's owner or of root is believed.
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use rustix::net::sockopt::socket_peercred;

use crate::sys::mountinfo::{Mount, mount_at};

const CLEAN: u8 = 0;
const UNCLEAN: u8 = 1;

fn address(mount: &Mount) -> Option<SocketAddr> {
    let (major, minor) = mount.device;
    SocketAddr::from_abstract_name(format!("cryptfs/mount/{major}:{minor}")).ok()
}

/// The daemon's side.
#[derive(Debug)]
pub(super) struct Presence(Option<UnixListener>);

impl Presence {
    /// For the mount on `point`. Nobody can wait if it fails; that is no reason not to serve.
    pub(super) fn new(point: &Path) -> Self {
        let mount = mount_at(point).ok().flatten();
        let listener = mount.and_then(|mount| UnixListener::bind_addr(&address(&mount)?).ok());
        Self(listener.filter(|listener| listener.set_nonblocking(true).is_ok()))
    }

    /// Tells those who wait how it ended.
    pub(super) fn end(self, clean: bool) {
        let byte = if clean { CLEAN } else { UNCLEAN };
        for mut stream in self
            .0
            .iter()
            .flat_map(UnixListener::incoming)
            .map_while(Result::ok)
        {
            let _ = stream.write_all(&[byte]);
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
