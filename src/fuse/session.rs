//! A mount and the threads that serve it.
//!
//! fuser shakes hands. Mounting and the loop are ours: fuser's own answers the newer operations (O_TMPFILE, statx, syncfs)
//! with ENOSYS before a file system could see them.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::{Config, InitFlags, KernelConfig, SessionACL};

use super::attach::{Attached, attach};
use super::contact::Device;
use super::counters::Counters;
use super::ending::Ending;
use super::late::Late;
use super::lost::Lost;
use super::mtimes::Mtimes;
use super::point::Point;
use super::unmounter::Unmounter;
use super::worker::{MAX_IO, Shared, Worker};
use super::{Error, MountOptions};
use crate::fs::FileSystem;
use crate::sys;

/// Requests that the kernel may send ahead without anybody waiting (read-ahead, write-back).
const MAX_BACKGROUND: u16 = 64;

/// What the kernel is asked for; what it does not know it does without.
const WANTED: [InitFlags; 10] = [
    // Small writes are gathered, and pages outlive a close: the mount is the only writer.
    InitFlags::FUSE_WRITEBACK_CACHE,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // We clear set-ID bits, so the kernel need not ask for security.capability before each write.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    // ACLs are enforced by the kernel; a default ACL overrides the umask, so that comes to us unapplied.
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_SETXATTR_EXT,
    InitFlags::FUSE_MAX_PAGES,
];

/// All that fuser gets to see of us.
#[derive(Debug)]
struct Handshake {
    /// The kernel's capabilities, once known.
    capabilities: Arc<AtomicU64>,
}

impl fuser::Filesystem for Handshake {
    fn init(&mut self, _: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        self.capabilities
            .store(config.capabilities().bits(), Ordering::Relaxed);
        for flag in WANTED {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_IO);
        if let Err(most) = config.set_max_readahead(MAX_IO) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }
}

/// A mounted file system, which nobody serves yet. Dropping it unmounts.
pub struct Session {
    /// `None` once it was served.
    session: Option<fuser::Session<Handshake>>,
    device: Device,
    unmounter: Arc<Unmounter>,
    setxattr_ext: bool,
    threads: usize,
    counters: Arc<Counters>,
    ending: Arc<Ending>,
}

impl Session {
    /// Mounts on `point` and agrees with the kernel on the protocol.
    ///
    /// # Errors
    /// No FUSE here, or the kernel or fusermount3 refuses.
    pub fn mount(
        point: &Point,
        options: &MountOptions,
        unmounter: Arc<Unmounter>,
    ) -> Result<Self, Error> {
        sys::interrupt::allow().map_err(Error::Serve)?;
        let Attached { connection, device } = attach(point, options)?;
        let mut mounted = Self {
            session: None,
            device,
            unmounter,
            setxattr_ext: false,
            threads: options.threads,
            counters: Arc::new(Counters::new(options.threads)),
            ending: Arc::default(),
        };
        let capabilities = Arc::new(AtomicU64::new(0));
        let handshake = Handshake {
            capabilities: Arc::clone(&capabilities),
        };
        let acl = match options.allow_other {
            true => SessionACL::All,
            false => SessionACL::Owner,
        };
        let session = fuser::Session::from_fd(handshake, connection, acl, Config::default());
        mounted.session = Some(session.map_err(|e| Error::Mount(point.path().to_owned(), e))?);
        tune_readahead(device);
        let granted = InitFlags::from_bits_retain(capabilities.load(Ordering::Relaxed));
        mounted.setxattr_ext = granted.contains(InitFlags::FUSE_SETXATTR_EXT);
        Ok(mounted)
    }

    /// The request counters.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// `st_dev` of its files.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Ends it while it is served.
    pub(super) fn ending(&self) -> Arc<Ending> {
        Arc::clone(&self.ending)
    }

    /// Opens the descriptors that [`Self::run`] needs: one for each worker spares them a lock. Where there are none they
    /// share one.
    fn clones(&self, first: BorrowedFd<'_>) -> Vec<Option<OwnedFd>> {
        let clone = |_| sys::fuse::clone_device(first).ok();
        (1..self.threads).map(clone).collect()
    }

    /// Serves until it is unmounted or ended.
    ///
    /// # Errors
    /// No worker could start, or one could not read requests any more; or data that a program had written was refused and is
    /// lost.
    pub fn run(mut self, file_system: &Arc<dyn FileSystem>) -> Result<(), Error> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        let first = session.as_fd();
        let clones = self.clones(first);
        let clones = clones
            .iter()
            .map(|clone| clone.as_ref().map_or(first, AsFd::as_fd));
        let notifier = first.try_clone_to_owned().map_err(Error::Serve)?;
        self.ending.serving(file_system, notifier);
        let shared = Shared {
            file_system: &**file_system,
            mtimes: Mtimes::default(),
            lost: Lost::default(),
            setxattr_ext: self.setxattr_ext,
            counters: &self.counters,
            ending: &self.ending,
        };
        crate::sys::process::share_heap();
        let ended: io::Result<()> = std::thread::scope(|scope| {
            let (postpone, postponed) = std::sync::mpsc::channel();
            let shared = &shared;
            let late = move || Late::new(shared).run(&postponed);
            let mut running = vec![named("fuse-late").spawn_scoped(scope, late)?];
            for (number, device) in std::iter::once(first).chain(clones).enumerate() {
                let worker = Worker::new(number, device, shared, postpone.clone());
                match named(&format!("fuse-{number}")).spawn_scoped(scope, move || worker.run()) {
                    Ok(worker) => running.push(worker),
                    Err(error) if number == 0 => return Err(error),
                    Err(_) => break,
                }
            }
            drop(postpone);
            let ends = running.into_iter().map(|thread| thread.join());
            let ends: Vec<_> = ends
                .map(|end| end.unwrap_or_else(|_| Err(panicked())))
                .collect();
            ends.into_iter().collect()
        });
        self.ending.served();
        for (node, times) in shared.mtimes.all() {
            shared.restore_times(node, times);
        }
        for node in shared.lost.files() {
            shared.drop_if_unlinked(node);
        }
        let lost = shared.lost.files().len();
        if ended.is_ok() {
            // Closes the connection: where it is still mounted, files can no longer be reached.
            self.session = None;
            self.threads = 0;
        }
        ended.map_err(Error::Serve)?;
        match lost {
            0 => Ok(()),
            files => Err(Error::Lost(files)),
        }
    }
}

impl Drop for Session {
    /// One that was served has no mount any more, or one that another mount namespace still shows.
    fn drop(&mut self) {
        if self.threads > 0 {
            self.session = None;
            let _ = self.unmounter.detach(self.device, true);
        }
    }
}

fn named(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

fn panicked() -> io::Error {
    io::Error::other("a worker panicked")
}

/// Lets the kernel read two large requests ahead, so that two workers decrypt while the caller takes its data; its default
/// is 128 KiB. Root may, others do without.
fn tune_readahead((major, minor): Device) {
    let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    let _ = std::fs::write(file, (2 * MAX_IO / 1024).to_string());
}
