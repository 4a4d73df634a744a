//! The desktop's Secret Service (GNOME Keyring, KWallet), by secret-tool(1): keeps small texts under attributes.
use super::program::Program;
use std::io;
use std::path::Path;

const PROGRAM: Program<'_> = Program {
    path: "/usr/bin/secret-tool",
    keeps: &[BUS, RUNTIME],
    silent: "the keyring is locked, or has no such entry",
};
/// Where the session bus is; else it is `bus` in the runtime directory.
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
const RUNTIME: &str = "XDG_RUNTIME_DIR";

/// Why it cannot be used here.
pub fn missing() -> Option<String> {
    if let Some(why) = PROGRAM.missing() {
        return Some(format!("{why} (package libsecret-tools)"));
    }
    let runtime = std::env::var_os(RUNTIME).map(|dir| Path::new(&dir).join("bus").exists());
    let there = std::env::var_os(BUS).is_some() || runtime == Some(true);
    (!there).then(|| format!("there is no desktop session here ({BUS} is not set)"))
}

/// Keeps a text. `attributes`: names and values in turn, by which it is found.
pub fn store(label: &str, attributes: &[&str], text: &[u8]) -> io::Result<()> {
    let label = format!("--label={label}");
    let args = [&["store", &label], attributes].concat();
    PROGRAM.run(&args, text, &mut []).map(|_| ())
}

/// Reads it straight into `buffer`. The bytes that there were.
pub fn lookup(attributes: &[&str], buffer: &mut [u8]) -> io::Result<usize> {
    PROGRAM.run(&[&["lookup"], attributes].concat(), &[], buffer)
}

/// Removes it.
pub fn clear(attributes: &[&str]) -> io::Result<()> {
    let args = [&["clear"], attributes].concat();
    PROGRAM.run(&args, &[], &mut []).map(|_| ())
}
