//! Signals that change what a system call does, not what a program does.
use std::io;

use rustix::process::{Pid, Signal};

/// What [`interrupt`] sends. Nothing else uses it.
const WAKE: Signal = Signal::USR2;

/// Makes a write beyond the limit on file sizes (`ulimit -f`) fail with EFBIG. Without this the kernel kills the process,
/// and with a daemon goes the whole mount.
pub fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(Signal::XFSZ.as_raw(), libc::SIG_IGN) };
}

/// Lets [`interrupt`] end a system call that waits.
///
/// # Errors
/// Never, on Linux.
pub fn allow() -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, so that system calls are not restarted, and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = wake as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing, so it may run at any time.
    match unsafe { libc::sigaction(WAKE.as_raw(), &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn wake(_: libc::c_int) {}

/// Makes a system call in which this process's thread waits fail with EINTR. Does nothing if the thread has ended.
pub fn interrupt(thread: Pid) {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: tgkill takes three numbers; the signal has a handler that does nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, WAKE.as_raw()) };
}
