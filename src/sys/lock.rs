//! Locks that belong to an open file description (fcntl(2), "Open file description locks"), which rustix does not have.
use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;

/// Locks a whole file, alone; waits for it. Closing the last descriptor of this open file description gives it back.
///
/// # Errors
/// The descriptor is not open for writing, or its file system has no locks.
pub fn exclusive(file: BorrowedFd<'_>) -> io::Result<()> {
    // All fields zero: from the beginning to the end of the file, and no process ID, as these locks require.
    // SAFETY: every bit pattern is a valid `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed, and `lock` lives until the call returns.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw const lock) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
