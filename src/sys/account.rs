//! The user database.
use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::process::Uid;

/// The home directory that the user database has for a user.
pub fn home_of(user: Uid) -> Option<PathBuf> {
    // SAFETY: all-zero is a valid passwd: null pointers and numbers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    let mut buffer = vec![0; 1 << 14];
    // SAFETY: entry, buffer and found live until the call returns; the buffer's length is its own.
    let done = unsafe {
        libc::getpwuid_r(
            user.as_raw(),
            &raw mut entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        )
    };
    if done != 0 || found.is_null() || entry.pw_dir.is_null() {
        return None;
    }
    // SAFETY: a string in `buffer`, which is still there.
    let home = unsafe { CStr::from_ptr(entry.pw_dir) };
    Some(PathBuf::from(OsString::from_vec(home.to_bytes().to_vec())))
}
