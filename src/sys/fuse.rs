//! What needs an ioctl: a call of `/dev/fuse`, and a request to the daemon behind a mount.
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `_IOR(229, 0, uint32_t)`.
const FUSE_DEV_IOC_CLONE: libc::Ioctl = 0x8004_e500;

/// A second descriptor of the connection `device`: it takes requests from the same queue, and answers those it took.
///
/// # Errors
/// `/dev/fuse` cannot be opened, or the kernel does not know the ioctl.
pub fn clone_device(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let clone = File::options().read(true).write(true).open("/dev/fuse")?;
    let source: u32 = device.as_raw_fd().cast_unsigned();
    // SAFETY: the ioctl reads one u32 from the pointer, which lives until it returns.
    let done = unsafe { libc::ioctl(clone.as_raw_fd(), FUSE_DEV_IOC_CLONE, &raw const source) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(clone.into())
}

/// Hands `text` to whoever serves the mount that `dir` lies in.
///
/// # Errors
/// What it answers; ENOTTY if nobody there knows the request.
pub fn ask(dir: BorrowedFd<'_>, request: u32, text: &[u8; 256]) -> io::Result<()> {
    // SAFETY: the request's number says that 256 bytes are read from the pointer, which lives until it returns.
    let done = unsafe { libc::ioctl(dir.as_raw_fd(), request.into(), text.as_ptr()) };
    match done {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
