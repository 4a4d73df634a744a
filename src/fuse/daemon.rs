//! The process that serves a mount: in the background, quiet, and leaving nothing in a core dump.
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use super::presence::{Presence, Waiting};
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

/// Makes this process fit to hold keys, then runs `serve` in a child (or in the foreground), and returns the exit code
/// for this process. The parent returns as soon as `serve` says [`Ready::signal`], or with the exit code of a child
/// that ended before; what the child prints until then is seen on the terminal.
///
/// # Errors
/// No child can be made. In particular: call this before any thread is started.
pub fn run(foreground: bool, log: Option<File>, serve: impl FnOnce(Ready) -> u8) -> io::Result<u8> {
    harden()?;
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

/// No core dumps, no debugger of the same user, and as many open files as the system allows.
fn harden() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    let files = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            ..files
        },
    );
    Ok(())
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
    let served = mount_and_serve(&file_system, point, options, ready);
    let closed = file_system.close().map_err(Error::Close);
    let (waiting, served) = served?;
    let end = served.and(closed);
    match &end {
        Ok(()) => log::notice(format_args!("unmounted from '{}'", point.display())),
        Err(error) => log::error(format_args!("{error}")),
    }
    waiting.end(end.is_ok());
    end
}

/// The outer error: it was never mounted. The inner one: it stopped being served.
fn mount_and_serve(
    file_system: &Arc<dyn FileSystem>,
    point: &Path,
    options: &MountOptions,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(Waiting, Result<(), Error>), Error> {
    let session = Session::mount(point, options)?;
    let signals = Signals::block(&[Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1]);
    let signals = signals.map_err(Error::Serve)?;
    let presence = Presence::new(point);
    let (counters, watched) = (session.counters(), point.to_owned());
    let watch = std::thread::Builder::new().name("signals".into());
    let answer = Arc::clone(&counters);
    watch
        .spawn(move || answer_signals(&signals, &watched, &answer))
        .map_err(Error::Serve)?;
    ready().map_err(Error::Serve)?;
    log::notice(format_args!("mounted on '{}'", point.display()));
    let served = session.run(file_system).map_err(Error::Serve);
    if options.stats {
        log::notice(format_args!("requests: {counters}"));
    }
    Ok((presence.mount_is_gone(), served))
}

/// Until the process ends.
fn answer_signals(signals: &Signals, point: &Path, counters: &Counters) {
    while let Ok(signal) = signals.wait() {
        match signal {
            Signal::TERM | Signal::INT => {
                if let Err(error) = mountpoint::detach_or_name(point) {
                    log::error(format_args!("still serving: {error}"));
                }
            }
            Signal::USR1 => log::notice(format_args!("requests: {counters}")),
            _ => {}
        }
    }
}
