//! Ends a session while the kernel would go on with it.
//!
//! The connection to the kernel is aborted by closing every descriptor of it; that needs no rights, and no fusectl file
//! system. Before that, what programs have written must reach the volume, and afterwards nothing of it may be left in
//! the kernel's page cache, from where another namespace could go on reading it. One notification does both: the kernel
//! writes a file's changed pages to us, then drops all of its pages.
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;

use super::encode;
use super::wire::Reply;
use crate::fs::FileSystem;
use crate::sys::interrupt;

/// A session's way to its end, shared by its threads.
#[derive(Default)]
pub(super) struct Ending {
    /// Contents are no longer shown, and no request is postponed.
    begun: AtomicBool,
    /// Workers take no more requests.
    stopped: AtomicBool,
    /// The threads that read requests now.
    workers: Mutex<Vec<Pid>>,
    /// No worker runs any more.
    over: AtomicBool,
    /// Held while a postponed request waits for pages that the workers have to take.
    pub(super) waiting: Mutex<()>,
    /// What is being served, and a descriptor for notifications.
    served: Mutex<Option<(Arc<dyn FileSystem>, OwnedFd)>>,
}

impl Ending {
    /// Whether contents may no longer be shown.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether workers are to stop.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Call before the first worker runs.
    pub(super) fn serving(&self, file_system: &Arc<dyn FileSystem>, device: OwnedFd) {
        *self.served.lock() = Some((Arc::clone(file_system), device));
    }

    /// Call when no worker runs any more: the last descriptor of the connection must not be left here.
    pub(super) fn served(&self) {
        self.over.store(true, Ordering::Release);
        self.served.lock().take();
    }

    /// Returns true while the kernel keeps the session's connection, and with it its device number. Once the last mount
    /// is gone, the number may be that of another volume's mount, which must not be touched.
    pub(super) fn owns_device(&self) -> bool {
        if self.over.load(Ordering::Acquire) {
            return false;
        }
        let served = self.served.lock();
        served.as_ref().is_none_or(|(_, device)| {
            let mut fds = [PollFd::new(device, PollFlags::empty())];
            let now = rustix::event::Timespec::default();
            let polled = rustix::event::poll(&mut fds, Some(&now));
            polled.is_ok() && !fds[0].revents().contains(PollFlags::ERR)
        })
    }

    /// A thread begins to read requests.
    pub(super) fn enter(&self) {
        self.workers.lock().push(rustix::thread::gettid());
    }

    /// It reads no more.
    pub(super) fn leave(&self) {
        let me = rustix::thread::gettid();
        self.workers.lock().retain(|&worker| worker != me);
    }

    /// Waits a moment for the kernel to end the session; true if it did.
    pub(super) fn ends_by_itself(&self, most: Duration) -> bool {
        let end = Instant::now() + most;
        while Instant::now() < end {
            if self.served.lock().is_none() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Ends the session: gets what the kernel still has to write, makes it forget contents, stops the workers.
    pub(super) fn force(&self) {
        self.begun.store(true, Ordering::Release);
        // A postponed request may wait for workers; from now on none will.
        drop(self.waiting.lock());
        self.take_pages();
        self.stopped.store(true, Ordering::Release);
        loop {
            // A thread between its look at `stopped` and its system call is met by the next round.
            let workers = self.workers.lock().clone();
            if workers.is_empty() {
                return;
            }
            workers.into_iter().for_each(interrupt::interrupt);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn take_pages(&self) {
        let served = self.served.lock();
        let Some((file_system, device)) = &*served else {
            return;
        };
        let mut reply = Reply::new(4096);
        for node in file_system.referenced() {
            let _ = rustix::io::write(device, encode::drop_pages(&mut reply, node));
        }
        // Names and attributes; kernels before 6.16 keep them until their time is over.
        let _ = rustix::io::write(device, encode::next_epoch(&mut reply));
    }
}
