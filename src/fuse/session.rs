//! A mount and the threads that serve it.
//!
//! fuser mounts and shakes hands. The loop is ours: fuser's own answers the newer operations (O_TMPFILE, statx, syncfs)
//! with ENOSYS before a file system could see them.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::{Config, InitFlags, KernelConfig, MountOption, SessionACL};
use rustix::mount::MountFlags;

use super::counters::Counters;
use super::late::Late;
use super::mtimes::Mtimes;
use super::options::escape;
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
#[derive(Debug)]
pub struct Session {
    session: fuser::Session<Handshake>,
    point: PathBuf,
    setxattr_ext: bool,
    threads: usize,
    counters: Arc<Counters>,
}

impl Session {
    /// Mounts on `point`, which [`super::mountpoint::check`] gave, and agrees with the kernel on the protocol.
    ///
    /// # Errors
    /// No FUSE here, or the kernel or fusermount3 refuses.
    pub fn mount(point: &Path, options: &MountOptions) -> Result<Self, Error> {
        check_device()?;
        let capabilities = Arc::new(AtomicU64::new(0));
        let handshake = Handshake {
            capabilities: Arc::clone(&capabilities),
        };
        let session = fuser::Session::new(handshake, point, &config(options))
            .map_err(|source| refused(point, source))?;
        tune_readahead(point);
        let granted = InitFlags::from_bits_retain(capabilities.load(Ordering::Relaxed));
        Ok(Self {
            session,
            point: point.to_owned(),
            setxattr_ext: granted.contains(InitFlags::FUSE_SETXATTR_EXT),
            threads: options.threads,
            counters: Arc::new(Counters::new(options.threads)),
        })
    }

    /// The request counters.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Where it is mounted.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Serves until it is unmounted.
    ///
    /// # Errors
    /// No worker could start, or one could not read requests any more.
    pub fn run(self, file_system: &Arc<dyn FileSystem>) -> io::Result<()> {
        let first = self.session.as_fd();
        // A descriptor for each worker spares them a lock; without it they share one.
        let clone = |_| sys::fuse::clone_device(first).ok();
        let clones: Vec<Option<OwnedFd>> = (1..self.threads).map(clone).collect();
        let clones = clones
            .iter()
            .map(|clone| clone.as_ref().map_or(first, AsFd::as_fd));
        let shared = Shared {
            file_system: &**file_system,
            mtimes: Mtimes::default(),
            setxattr_ext: self.setxattr_ext,
            counters: &self.counters,
        };
        crate::sys::process::share_heap();
        let ended = std::thread::scope(|scope| {
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
        for (node, mtime) in shared.mtimes.all() {
            shared.restore_mtime(node, mtime);
        }
        ended
    }
}

fn named(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

fn panicked() -> io::Error {
    io::Error::other("a worker panicked")
}

fn config(options: &MountOptions) -> Config {
    let flag = |flag, option| options.flags.contains(flag).then_some(option);
    let source = options
        .source
        .as_deref()
        .unwrap_or_else(|| "cryptfs".as_ref());
    // As root fuser hands the source to mount(2), otherwise to fusermount3 in a list.
    let source = if rustix::process::geteuid().is_root() {
        source.to_string_lossy().into_owned()
    } else {
        escape(source).to_string_lossy().into_owned()
    };
    let nosuid = options.flags.contains(MountFlags::NOSUID);
    let nodev = options.flags.contains(MountFlags::NODEV);
    let mut config = Config::default();
    config.acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    config.mount_options = vec![
        MountOption::DefaultPermissions,
        MountOption::FSName(source),
        // Not MountOption::Subtype: that one is lost when root mounts.
        MountOption::CUSTOM(format!("subtype={}", options.subtype.to_string_lossy())),
        if nosuid {
            MountOption::NoSuid
        } else {
            MountOption::Suid
        },
        if nodev {
            MountOption::NoDev
        } else {
            MountOption::Dev
        },
    ];
    config.mount_options.extend(
        [
            flag(MountFlags::RDONLY, MountOption::RO),
            flag(MountFlags::NOEXEC, MountOption::NoExec),
            flag(MountFlags::NOATIME, MountOption::NoAtime),
            flag(MountFlags::SYNCHRONOUS, MountOption::Sync),
            flag(MountFlags::DIRSYNC, MountOption::DirSync),
        ]
        .into_iter()
        .flatten(),
    );
    config
}

/// fuser's words for this would not say what to do.
/// Looks whether this process can mount: it may open `/dev/fuse`, and where the kernel lets it not
/// mount by itself there is a fusermount3 that may.
///
/// # Errors
/// What is missing.
pub fn available() -> Result<(), Error> {
    check_device()?;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()); // execvp's own
    let helper = |dir: PathBuf| dir.join("fusermount3").is_file();
    let may_mount = rustix::process::geteuid().is_root();
    match may_mount || std::env::split_paths(&path).any(helper) {
        true => Ok(()),
        false => Err(Error::NoFusermount),
    }
}

fn check_device() -> Result<(), Error> {
    match std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoDevice),
        Err(error) => Err(Error::Device(error)),
    }
}

fn refused(point: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::PermissionDenied if source.to_string().contains("user_allow_other") => {
            Error::AllowOther
        }
        io::ErrorKind::NotFound => Error::NoFusermount,
        _ => Error::Mount(point.to_owned(), source),
    }
}

/// Lets the kernel read two large requests ahead, so that two workers decrypt while the caller takes its data; its default
/// is 128 KiB. Root may, others do without.
fn tune_readahead(point: &Path) {
    if let Ok(Some(mount)) = sys::mountinfo::mount_at(point) {
        let (major, minor) = mount.device;
        let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        let _ = std::fs::write(file, (2 * MAX_IO / 1024).to_string());
    }
}
