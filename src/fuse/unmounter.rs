//! Detaches the daemon's own mount.
//!
//! A daemon that has given up its rights (see `crate::sys::sandbox`) can neither unmount nor run fusermount3. So a child
//! process that was made before any key was in memory does it. It takes a mount's number, never a path, and detaches
//! nothing else; it ends with the daemon.
use std::io;
use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Signal;

use super::contact::{Device, points};
use super::mountpoint;
use crate::sys::process::{Fork, Signals, fork};
use crate::sys::{descriptors, log};

/// The longest reason.
const MAX: usize = 4096;

/// Detaches a mount.
#[derive(Debug)]
pub struct Unmounter(Option<Mutex<OwnedFd>>);

impl Unmounter {
    /// In this process.
    pub fn here() -> Self {
        Self(None)
    }

    /// In a child process; to be called before any key is in memory.
    ///
    /// # Errors
    /// No child can be made.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        match fork()? {
            Fork::Parent(_) => Ok(Self(Some(Mutex::new(ours)))),
            Fork::Child => {
                drop(ours);
                let _ = serve(&theirs);
                std::process::exit(0)
            }
        }
    }

    /// Detaches every mount of the device in this mount namespace. `lazy`: even if it is in use.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn detach(&self, device: Device, lazy: bool) -> Result<(), String> {
        let Some(child) = &self.0 else {
            return detach(device, lazy);
        };
        let child = child.lock();
        let request = format!("{} {} {lazy}", device.0, device.1);
        let mut answer = [0; MAX];
        let length = rustix::io::write(&*child, request.as_bytes())
            .and_then(|_| rustix::io::retry_on_intr(|| rustix::io::read(&*child, &mut answer)));
        match length {
            Ok(1) => Ok(()),
            Ok(0) => Err("the process that unmounts has ended".to_owned()),
            Ok(length) => Err(String::from_utf8_lossy(&answer[..length]).into_owned()),
            Err(errno) => Err(io::Error::from(errno).to_string()),
        }
    }
}

/// The child, until the daemon has ended. Signals that end the daemon are for the daemon.
fn serve(parent: &OwnedFd) -> io::Result<()> {
    let _ = rustix::thread::set_name(c"cryptfs-umount");
    Signals::block(&[
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
    ])?;
    descriptors::close_others(std::os::fd::AsFd::as_fd(parent))?;
    log::to_nowhere();
    super::daemon::leave_terminal()?;
    let mut request = [0; MAX];
    loop {
        let length = rustix::io::retry_on_intr(|| rustix::io::read(parent, &mut request))?;
        if length == 0 {
            return Ok(());
        }
        let answer = match parse(&request[..length]) {
            Some((device, lazy)) => detach(device, lazy),
            None => Err("a request that makes no sense".to_owned()),
        };
        let text = answer.err().unwrap_or_default();
        // An empty packet would look like the end.
        let text = if text.is_empty() { "." } else { &text };
        rustix::io::write(parent, &text.as_bytes()[..text.len().min(MAX)])?;
    }
}

fn parse(request: &[u8]) -> Option<(Device, bool)> {
    let mut words = std::str::from_utf8(request).ok()?.split(' ');
    let device = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((device, words.next()?.parse().ok()?))
}

fn detach(device: Device, lazy: bool) -> Result<(), String> {
    for mount in points(device).iter().rev() {
        let done = match lazy {
            true => mountpoint::detach(&mount.point, true).map_err(|error| error.to_string()),
            false => mountpoint::detach_or_name(&mount.point).map_err(|error| error.to_string()),
        };
        done?;
    }
    Ok(())
}
