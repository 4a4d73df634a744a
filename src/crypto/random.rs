//! Random bytes from the kernel, getrandom(2).

/// Fills `bytes`. Aborts the process where the kernel has no randomness: nothing that follows could be safe.
pub fn fill(bytes: &mut [u8]) {
    if getrandom::fill(bytes).is_err() {
        std::process::abort();
    }
}

/// `N` random bytes that are not secret: ids, salts.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}
