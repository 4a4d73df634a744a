//! umask(2) of one thread.
use std::cell::Cell;

thread_local! {
    static CURRENT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Sets the calling thread's umask, leaving the other threads' alone: the backing store then applies umask and default
/// ACL as the kernel does for the caller itself.
pub fn set(mask: u32) {
    if CURRENT.get() == Some(mask) {
        return;
    }
    // SAFETY: unshare with CLONE_FS gives this thread its own umask, root and working directory; no memory is involved.
    #[allow(unsafe_code)]
    if CURRENT.get().is_none() && unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
        // The umask is then shared: a race could give a file another caller's mask. Nothing in Linux makes this fail.
        return;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask & 0o777));
    CURRENT.set(Some(mask));
}
