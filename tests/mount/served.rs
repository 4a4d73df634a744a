//! A file system that this process mounts and serves.
use cryptfs::fs::FileSystem;
use cryptfs::fuse::{Counters, Error, MountOptions, Point, Session, Unmounter, mountpoint};
use rustix::mount::UnmountFlags;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a list of mount options means.
pub fn options(list: &str) -> MountOptions {
    let mut options = MountOptions::default();
    options.add(OsStr::new(list)).expect("known options");
    options
}

/// A mount. Dropping it detaches what is left of it.
pub struct Served {
    point: PathBuf,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Mounts on an empty directory. Others may enter and devices and set-ID bits work where root runs the test.
    pub fn new(fs: Arc<dyn FileSystem>, point: &Path, more: &str) -> Self {
        let mut list = options(more);
        if rustix::process::getuid().is_root() {
            list.add(OsStr::new("allow_other,dev,suid"))
                .expect("known options");
        }
        Self::with(fs, point, &list).expect("mount")
    }

    /// Mounts with these options and no others.
    pub fn with(
        fs: Arc<dyn FileSystem>,
        point: &Path,
        options: &MountOptions,
    ) -> Result<Self, Error> {
        let point = Point::check(point, Path::new("/nonexistent"), options)?;
        let session = Session::mount(&point, options, Arc::new(Unmounter::here()))?;
        let point = point.path().to_owned();
        let counters = session.counters();
        let thread = std::thread::spawn(move || {
            session.run(&fs).expect("serve");
            fs.close().expect("close");
        });
        Ok(Self {
            point,
            counters,
            thread: Some(thread),
        })
    }

    pub fn point(&self) -> &Path {
        &self.point
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Unmounts; everything is written then.
    pub fn unmount(mut self) {
        // Another test's child holds our descriptors between its fork and its exec.
        let mut tries = 0;
        while let Err(error) = mountpoint::unmount(&self.point) {
            tries += 1;
            let busy = matches!(error, cryptfs::fuse::Error::Busy(..));
            assert!(busy && tries < 200, "unmount: {error}");
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        self.thread
            .take()
            .expect("once")
            .join()
            .expect("a clean end");
    }
}

impl Drop for Served {
    /// The thread ends with the last open file, which may be dropped after this.
    fn drop(&mut self) {
        if self.thread.is_some()
            && rustix::mount::unmount(&self.point, UnmountFlags::DETACH).is_err()
        {
            let mut fusermount = std::process::Command::new("fusermount3");
            let _ = fusermount
                .args(["-u", "-z", "--"])
                .arg(&self.point)
                .status();
        }
    }
}
