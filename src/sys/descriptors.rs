//! Descriptors that this process was started with. A daemon that kept them would hold the caller's locks, pipes and
//! mounts for as long as it runs.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;

static INHERITED: OnceLock<Vec<RawFd>> = OnceLock::new();

/// The first descriptor after standard input, output and error.
const FIRST: RawFd = 3;

/// Remembers what is open from 3 on. To be called first of all: later it would find what this program opened itself.
pub fn remember_inherited() {
    INHERITED.get_or_init(|| open_ones().unwrap_or_default());
}

/// Closes what [`remember_inherited`] found. No descriptor that this program opened has one of these numbers: they were
/// taken the whole time.
pub fn close_inherited() {
    for &fd in INHERITED.get().into_iter().flatten() {
        // SAFETY: nothing in this process owns the descriptor, and nothing uses it after this call.
        unsafe { libc::close(fd) };
    }
}

/// Closes everything from 3 on but `kept`: for a child process that goes on without what its parent has.
///
/// # Errors
/// `/proc` is not there.
pub fn close_others(kept: BorrowedFd<'_>) -> io::Result<()> {
    for fd in open_ones()?
        .into_iter()
        .filter(|&fd| fd != kept.as_raw_fd())
    {
        // SAFETY: the caller is a child that has just been forked and drops nothing of what its parent opened.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

fn open_ones() -> io::Result<Vec<RawFd>> {
    let number =
        |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let found: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(number)
        .collect();
    // One of them was the listing itself.
    // SAFETY: F_GETFD only looks at a number.
    let is_open = |fd: &RawFd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
    Ok(found
        .into_iter()
        .filter(|&fd| fd >= FIRST)
        .filter(is_open)
        .collect())
}
