//! Fork, and signals as a thread can wait for them.
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZero;

use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The parent, which waits for the child.
    Parent(Pid),
    /// The child.
    Child,
}

/// Forks. Refused when other threads run: they would not be in the child, but their locks would.
///
/// # Errors
/// There are other threads, or fork(2) fails.
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other("fork with several threads"));
    }
    // SAFETY: the process has one thread, so the child owns every lock and may go on as any program.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Pid::from_raw(pid).map_or(Fork::Child, Fork::Parent)),
    }
}

/// Whether another process has a capability, by its number (capabilities(7)); false if it cannot be asked.
pub fn has_capability(process: u32, number: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> number & 1 == 1)
}

/// One heap for all threads that are started from now on: what one of them frees another takes. A heap each made the daemon
/// of an image a third larger.
pub fn share_heap() {
    // SAFETY: changes a number in the C library, which only who starts the next thread reads.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives freed memory back to the system: the C library keeps what lies below anything that is still in use.
pub fn trim_heap() {
    // SAFETY: releases pages of the heap that nothing is allocated in.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A set of signals that are blocked, and waited for.
#[derive(Clone, Copy)]
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks `signals` in this thread and those it starts from now on.
    ///
    /// # Errors
    /// One of them is no signal.
    pub fn block(signals: &[rustix::process::Signal]) -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the set that it is given.
        let mut set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        for signal in signals {
            // SAFETY: the set is initialized.
            if unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the set is initialized; the old mask is not asked for.
        match unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
        } {
            0 => Ok(Self(set)),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Waits for one of them.
    ///
    /// # Errors
    /// Never, with a valid set.
    pub fn wait(&self) -> io::Result<rustix::process::Signal> {
        let mut number = 0;
        // SAFETY: the set is initialized, `number` lives until the call returns.
        let errno = unsafe { libc::sigwait(&raw const self.0, &raw mut number) };
        let named =
            NonZero::new(number).and_then(|n| rustix::process::Signal::from_named_raw(n.get()));
        named
            .filter(|_| errno == 0)
            .ok_or_else(|| io::Error::from_raw_os_error(errno))
    }
}
