//! The thread that sees to everything but requests: it answers commands, and notices that the mount is gone.
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::geteuid;

use super::about::About;
use super::contact::{ABOUT, BUSY, CLEAN, Device, END, UNCLEAN, listen};
use super::ending::Ending;
use super::unmounter::Unmounter;
use crate::sys::log;
use crate::sys::mountinfo::Table;

/// Commands that wait at one time. All are of the daemon's own user or of root: nobody else gets in.
const MOST: usize = 64;

/// What it needs to know.
pub(super) struct Watched {
    /// The mount.
    pub(super) device: Device,
    /// What commands are told.
    pub(super) about: Option<About>,
    /// Ends the session.
    pub(super) ending: Arc<Ending>,
    /// Detaches the mount.
    pub(super) unmounter: Arc<Unmounter>,
}

/// The thread, while the daemon serves.
#[derive(Debug)]
pub(super) struct Monitor {
    thread: JoinHandle<Vec<UnixStream>>,
    stop: OwnedFd,
}

impl Monitor {
    /// Starts it. Opens what it needs first: the thread may not be allowed to.
    ///
    /// # Errors
    /// There is no pipe or no thread to be had.
    pub(super) fn start(watched: Watched) -> io::Result<Self> {
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let listener = listen(watched.device);
        if listener.is_none() {
            log::warning(format_args!(
                "cryptfs umount cannot wait for this mount's end: its socket's name is taken"
            ));
        }
        let table = Table::open().ok();
        let state = State {
            watched,
            listener,
            table,
            stopped,
            clients: Vec::new(),
            gone: false,
        };
        let thread = std::thread::Builder::new().name("monitor".into());
        let thread = thread.spawn(move || state.run())?;
        Ok(Self { thread, stop })
    }

    /// Call when the session has ended. The socket's name is free then: so is the device number, and another mount may have
    /// it.
    pub(super) fn finish(self) -> Watchers {
        drop(self.stop);
        Watchers(self.thread.join().unwrap_or_default())
    }
}

struct State {
    watched: Watched,
    listener: Option<UnixListener>,
    table: Option<Table>,
    stopped: OwnedFd,
    clients: Vec<UnixStream>,
    gone: bool,
}

impl State {
    fn run(mut self) -> Vec<UnixStream> {
        // The mount may have gone before the table was opened.
        self.look_at_mounts();
        loop {
            let [stop, table, listener, clients @ ..] = &self.wait()[..] else {
                return self.clients;
            };
            if *stop {
                self.accept();
                return self.clients;
            }
            if *table {
                self.look_at_mounts();
            }
            for at in (0..clients.len()).rev().filter(|&at| clients[at]) {
                if !self.answer(at) {
                    self.clients.swap_remove(at);
                }
            }
            if *listener {
                self.accept();
            }
        }
    }

    /// Which of them has something: the end, the table of mounts, the socket, and each client.
    fn wait(&self) -> Vec<bool> {
        let mut fds = vec![PollFd::new(&self.stopped, PollFlags::IN)];
        let none = self.stopped.as_fd();
        let table = self.table.as_ref().filter(|_| !self.gone);
        fds.push(match table {
            Some(table) => PollFd::from_borrowed_fd(table.as_fd(), PollFlags::PRI),
            None => PollFd::from_borrowed_fd(none, PollFlags::empty()),
        });
        fds.push(match &self.listener {
            Some(listener) => PollFd::new(listener, PollFlags::IN),
            None => PollFd::from_borrowed_fd(none, PollFlags::empty()),
        });
        fds.extend(
            self.clients
                .iter()
                .map(|client| PollFd::new(client, PollFlags::IN)),
        );
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                Err(_) => return Vec::new(),
                Ok(_) => break,
            }
        }
        let some = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let mut ready: Vec<bool> = fds.iter().map(some).collect();
        // The pipe's end is reported to whoever asks for nothing as well.
        ready[1] &= table.is_some();
        ready[2] &= self.listener.is_some();
        ready
    }

    /// Takes everyone who waits, and keeps those who may be here.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let me = geteuid().as_raw();
        while let Ok((client, _)) = listener.accept() {
            let user = socket_peercred(&client).map(|peer| peer.uid.as_raw());
            let known = user.is_ok_and(|user| user == 0 || user == me);
            if known && self.clients.len() < MOST && client.set_nonblocking(true).is_ok() {
                self.clients.push(client);
            }
        }
    }

    /// Serves a client; false: it is gone.
    fn answer(&mut self, at: usize) -> bool {
        let mut client = &self.clients[at];
        let mut question = [0];
        match client.read(&mut question) {
            Ok(0) => false,
            Ok(_) if question[0] == ABOUT => {
                let text = self.watched.about.as_ref().map(About::text);
                client
                    .write_all(&text.unwrap_or_else(|| b"\n\n".to_vec()))
                    .is_ok()
            }
            Ok(_) if question[0] == END => {
                if let Ok(client) = client.try_clone() {
                    self.detach_for(client);
                }
                true
            }
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Detaches the mount, in a thread: the kernel may have much to write first.
    fn detach_for(&self, mut client: UnixStream) {
        let (unmounter, device) = (Arc::clone(&self.watched.unmounter), self.watched.device);
        let ending = Arc::clone(&self.watched.ending);
        let detach = move || {
            if !ending.owns_device() {
                return;
            }
            if let Err(why) = unmounter.detach(device, false) {
                log::error(format_args!("still serving: {why}"));
                let _ = client.write_all(&[BUSY]);
            }
        };
        let _ = std::thread::Builder::new()
            .name("detach".into())
            .spawn(detach);
    }

    fn look_at_mounts(&mut self) {
        let Some(Ok(mounts)) = self.table.as_mut().map(Table::read) else {
            return;
        };
        if self.gone
            || mounts
                .iter()
                .any(|mount| mount.device == self.watched.device)
        {
            return;
        }
        self.gone = true;
        let ending = Arc::clone(&self.watched.ending);
        let _ = std::thread::Builder::new()
            .name("end".into())
            .spawn(move || end(&ending));
    }
}

/// Ends a session whose mount is gone from the daemon's own mount namespace.
///
/// Usually the kernel ends it. It does not where programs still have files open after `umount -l`, or where another mount
/// namespace (a container, `unshare -m`) got a copy of the mount: there the volume would stay unlocked although its owner
/// has locked it.
fn end(ending: &Ending) {
    if ending.ends_by_itself(Duration::from_millis(500)) {
        return;
    }
    log::warning(format_args!(
        "unmounted here, but still held by open files or in another mount namespace: the session is ended for these as well"
    ));
    ending.force();
}

/// Those who wait for the daemon's end, while it closes the volume.
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
