//! systemd-creds(1): seals a small secret with the computer's own key, and with its TPM2 where there is one.
use super::program::Program;
use rustix::process::geteuid;
use std::io;

const PROGRAM: Program<'_> = Program {
    path: "/usr/bin/systemd-creds",
    keeps: &[],
    silent: "it gave no reason",
};
const MAX_SEALED: usize = 1 << 16;

/// Why it cannot be used here.
pub fn missing() -> Option<String> {
    let missing = PROGRAM.missing();
    let not_root = || (!geteuid().is_root()).then(|| "it works for root only".to_owned());
    missing.or_else(not_root)
}

/// Seals `secret` under a name, without which it does not open.
pub fn seal(name: &str, secret: &[u8]) -> io::Result<Vec<u8>> {
    let mut sealed = vec![0; MAX_SEALED];
    let name = format!("--name={name}");
    let length = PROGRAM.run(&["encrypt", &name, "-", "-"], secret, &mut sealed)?;
    sealed.truncate(length);
    Ok(sealed)
}

/// Opens what [`seal`] made, straight into `buffer`. The bytes that there were.
pub fn open(name: &str, sealed: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
    PROGRAM.run(
        &["decrypt", &format!("--name={name}"), "-", "-"],
        sealed,
        buffer,
    )
}
