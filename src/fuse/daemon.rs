//! The process that serves a mount: in the background, and quiet.
use crate::printable::printable;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, Signal};

use super::presence::{Presence, Watchers};
use super::{Counters, Error, MountOptions, Session, mountpoint};
use crate::fs::FileSystem;
use crate::sys::log;
use crate::sys::process::{Fork, Signals, fork};

/// What the parent does with a child that ended without a status: killed.
const KILLED: u8 = 1;

/// How the child tells the parent, and the terminal, that the mount is there.
#[derive(Debug)]
pub struct Ready {
    /// To the parent; `None` in the foreground.
    parent: Option<OwnedFd>,
    /// Opened before anything is mounted, so that it never lies in the mount.
    log: Option<File>,
}

/// Runs `serve` in a child (or in the foreground), and returns the exit code for this process. The parent returns as soon
/// as `serve` says [`Ready::signal`], or with the exit code of a child that ended before; what the child prints until then
/// is seen on the terminal.
///
/// # Errors
/// No child can be made. In particular: call this before any thread is started.
pub fn run(foreground: bool, log: Option<File>, serve: impl FnOnce(Ready) -> u8) -> io::Result<u8> {
    raise_file_limit();
    if foreground {
        return Ok(serve(Ready { parent: None, log }));
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork()? {
        Fork::Child => {
            drop(reader);
            Ok(serve(Ready {
                parent: Some(writer),
                log,
            }))
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

/// As many open files as the system allows.
fn raise_file_limit() {
    let files = rustix::process::getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: files.maximum,
        ..files
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, most);
}

impl Ready {
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
        let _ = rustix::process::setsid();
        rustix::process::chdir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
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

/// Mounts `file_system` on `point` (which [`mountpoint::check`] gave) and serves it until it is unmounted, then closes
/// it. `ready` is called once the mount is there. SIGTERM and SIGINT unmount, SIGUSR1 writes the request counters to the
/// log, SIGHUP does nothing.
///
/// # Errors
/// It cannot be mounted, served or closed.
pub fn serve(
    file_system: Arc<dyn FileSystem>,
    point: &Path,
    options: &MountOptions,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), Error> {
    lock_memory();
    let served = mount_and_serve(&file_system, point, options, ready);
    let closed = file_system.close().map_err(Error::Close);
    let (watchers, served) = served?;
    let end = served.and(closed);
    match &end {
        Ok(()) => log::notice(format_args!("unmounted from '{}'", printable(point))),
        Err(error) => log::error(format_args!("{error}")),
    }
    watchers.tell(end.is_ok());
    end
}

/// The outer error: it was never mounted. The inner one: it stopped being served.
fn mount_and_serve(
    file_system: &Arc<dyn FileSystem>,
    point: &Path,
    options: &MountOptions,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(Watchers, Result<(), Error>), Error> {
    let session = Session::mount(point, options)?;
    let signals = Signals::block(&[Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1]);
    let signals = signals.map_err(Error::Serve)?;
    let presence = Presence::new(point);
    let watched = Arc::new(Watched {
        point: point.to_owned(),
        counters: session.counters(),
        over: AtomicBool::new(false),
    });
    let watch = std::thread::Builder::new().name("signals".into());
    let answering = Arc::clone(&watched);
    watch
        .spawn(move || answering.answer(&signals))
        .map_err(Error::Serve)?;
    ready().map_err(Error::Serve)?;
    log::notice(format_args!("mounted on '{}'", printable(point)));
    let served = session.run(file_system).map_err(Error::Serve);
    watched.over.store(true, Ordering::Relaxed);
    let watchers = presence.over();
    if options.stats {
        log::notice(format_args!("requests: {}", watched.counters));
    }
    Ok((watchers, served))
}

/// What signals are about.
struct Watched {
    point: PathBuf,
    counters: Arc<Counters>,
    /// The mount is gone; another may be there.
    over: AtomicBool,
}

impl Watched {
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
            && let Err(error) = mountpoint::detach_or_name(&self.point)
        {
            log::error(format_args!("still serving: {error}"));
        }
    }
}
