//! The process that serves a mount: in the background, and quiet.
use crate::printable::printable;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, Signal};

use super::about::About;
use super::contact::Device;
use super::monitor::{Monitor, Watched, Watchers};
use super::{Counters, Error, MountOptions, Point, Session, Unmounter};
use crate::fs::FileSystem;
use crate::sys::process::{Fork, Signals, fork};
use crate::sys::{descriptors, log};

/// What the parent does with a child that ended without a status: killed.
const KILLED: u8 = 1;

/// How the child tells the parent, and the terminal, that the mount is there.
#[derive(Debug)]
pub struct Ready {
    /// To the parent; `None` in the foreground.
    parent: Option<OwnedFd>,
    /// Opened before anything is mounted, so that it never lies in the mount.
    log: Option<File>,
    /// Unmounts.
    unmounter: Arc<Unmounter>,
}

/// Runs `serve` in a child (or in the foreground), and returns the exit code for this process. The parent returns as soon
/// as `serve` says [`Ready::signal`], or with the exit code of a child that ended before; what the child prints until then
/// is seen on the terminal.
///
/// # Errors
/// No child can be made. In particular: call this before any thread is started.
pub fn run(foreground: bool, log: Option<File>, serve: impl FnOnce(Ready) -> u8) -> io::Result<u8> {
    raise_limits();
    let ready = |parent, log| Ready {
        parent,
        log,
        unmounter: Arc::new(Unmounter::start().unwrap_or_else(|_| Unmounter::here())),
    };
    if foreground {
        return Ok(serve(ready(None, log)));
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork()? {
        Fork::Child => {
            drop(reader);
            Ok(serve(ready(Some(writer), log)))
        }
        Fork::Parent(child) => {
            drop(writer);
            if rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut [0u8])) == Ok(1) {
                return Ok(0);
            }
            let end = rustix::io::retry_on_intr(|| {
                rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())
            })?;
            let status = end.and_then(|(_, status)| status.exit_status());
            Ok(status
                .and_then(|status| status.try_into().ok())
                .unwrap_or(KILLED))
        }
    }
}

/// As many open files, and as large ones, as the system allows.
fn raise_limits() {
    use rustix::process::{getrlimit, setrlimit};
    for what in [Resource::Nofile, Resource::Fsize] {
        let limit = getrlimit(what);
        let most = Rlimit {
            current: limit.maximum,
            ..limit
        };
        let _ = setrlimit(what, most);
    }
    // Root's own volume is not to end where the shell that mounted it would have.
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Fsize, none);
}

/// Leaves the caller's session, directory and terminal.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub(super) fn leave_terminal() -> io::Result<()> {
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

impl Ready {
    /// Unmounts what this process mounts.
    pub fn unmounter(&self) -> Arc<Unmounter> {
        Arc::clone(&self.unmounter)
    }

    /// Leaves the terminal and lets the parent go.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn signal(self) -> io::Result<()> {
        match (self.log, &self.parent) {
            (Some(file), _) => log::to_file(file),
            (None, Some(_)) => log::to_syslog(),
            (None, None) => {}
        }
        let Some(parent) = self.parent else {
            return Ok(());
        };
        std::panic::set_hook(Box::new(report_panic));
        leave_terminal()?;
        rustix::io::write(&parent, &[0])?;
        Ok(())
    }
}

/// Where, and not with which words: those might hold a name.
fn report_panic(panic: &PanicHookInfo<'_>) {
    match panic.location() {
        Some(place) => log::error(format_args!("internal error at {place}")),
        None => log::error(format_args!("internal error")),
    }
}

/// Keeps keys out of the swap, where the limit allows that for the whole process: under a smaller one a later
/// allocation would fail.
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    let unlimited = rustix::process::getrlimit(Resource::Memlock)
        .current
        .is_none();
    if unlimited || rustix::process::geteuid().is_root() {
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    }
}

/// What a daemon serves, and where.
#[derive(Debug)]
pub struct Service<'a> {
    /// Where to mount it.
    pub point: Point,
    /// How.
    pub options: &'a MountOptions,
    /// What commands are told about it.
    pub about: Option<About>,
    /// Unmounts it.
    pub unmounter: Arc<Unmounter>,
}

/// Mounts `file_system` and serves it until it is unmounted, then closes it. `ready` is called once the mount is there.
/// SIGTERM and SIGINT unmount, SIGUSR1 writes the request counters to the log, SIGHUP does nothing.
///
/// # Errors
/// It cannot be mounted, served or closed.
pub fn serve(
    file_system: Arc<dyn FileSystem>,
    service: Service<'_>,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), Error> {
    // A lock, a pipe or a directory of the caller's would be held for as long as the daemon runs. Not before: a password
    // may have come by one of them.
    descriptors::close_inherited();
    lock_memory();
    let point = service.point.path().to_owned();
    let served = mount_and_serve(&file_system, service, ready);
    let closed = file_system.close().map_err(Error::Close);
    let (watchers, served) = served?;
    // One does not hide the other: each may be the reason why something is lost.
    for error in [&served, &closed]
        .into_iter()
        .filter_map(|end| end.as_ref().err())
    {
        log::error(format_args!("{error}"));
    }
    let end = served.and(closed);
    if end.is_ok() {
        log::notice(format_args!("unmounted from '{}'", printable(&point)));
    }
    watchers.tell(end.is_ok());
    end
}

/// The outer error: it was never mounted. The inner one: it stopped being served.
fn mount_and_serve(
    file_system: &Arc<dyn FileSystem>,
    service: Service<'_>,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(Watchers, Result<(), Error>), Error> {
    let Service {
        point,
        options,
        about,
        unmounter,
    } = service;
    let session = Session::mount(&point, options, Arc::clone(&unmounter))?;
    let point = point.into_path();
    let signals = Signals::block(&[Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1]);
    let signals = signals.map_err(Error::Serve)?;
    let device = session.device();
    let monitor = Monitor::start(Watched {
        device,
        about,
        ending: session.ending(),
        unmounter: Arc::clone(&unmounter),
    });
    let monitor = monitor.map_err(Error::Serve)?;
    let signalled = Arc::new(Signalled {
        device,
        unmounter,
        counters: session.counters(),
        over: AtomicBool::new(false),
    });
    let watch = std::thread::Builder::new().name("signals".into());
    let answering = Arc::clone(&signalled);
    watch
        .spawn(move || answering.answer(&signals))
        .map_err(Error::Serve)?;
    ready().map_err(Error::Serve)?;
    log::notice(format_args!("mounted on '{}'", printable(&point)));
    let served = session.run(file_system);
    signalled.over.store(true, Ordering::Relaxed);
    let watchers = monitor.finish();
    if options.stats {
        log::notice(format_args!("requests: {}", signalled.counters));
    }
    Ok((watchers, served))
}

/// What signals are about.
struct Signalled {
    device: Device,
    unmounter: Arc<Unmounter>,
    counters: Arc<Counters>,
    /// The mount is gone; its number may be another's.
    over: AtomicBool,
}

impl Signalled {
    /// Until the process ends.
    fn answer(&self, signals: &Signals) {
        while let Ok(signal) = signals.wait() {
            match signal {
                Signal::TERM | Signal::INT => self.unmount(),
                Signal::USR1 => log::notice(format_args!("requests: {}", self.counters)),
                _ => {}
            }
        }
    }

    fn unmount(&self) {
        if !self.over.load(Ordering::Relaxed)
            && let Err(error) = self.unmounter.detach(self.device, false)
        {
            log::error(format_args!("still serving: {error}"));
        }
    }
}
