//! systemd-creds(1): seals a small secret with the computer's own key, and with its TPM2 where there is one.
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Not looked for in PATH: it gets a secret.
const PROGRAM: &str = "/usr/bin/systemd-creds";

/// True if the program is there. Whether it works shows when it is used.
pub fn is_installed() -> bool {
    Path::new(PROGRAM).exists()
}

/// Seals `secret` under a name, without which it does not open.
pub fn seal(name: &str, secret: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = start("encrypt", name)?;
    give(&mut child, secret);
    let mut sealed = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut sealed)?;
    }
    end(child)?;
    Ok(sealed)
}

/// Opens what [`seal`] made, straight into `buffer`. The bytes that there were.
pub fn open(name: &str, sealed: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
    let mut child = start("decrypt", name)?;
    give(&mut child, sealed);
    let mut length = 0;
    if let Some(mut out) = child.stdout.take() {
        while length < buffer.len() {
            match out.read(&mut buffer[length..])? {
                0 => break,
                read => length += read,
            }
        }
    }
    end(child)?;
    Ok(length)
}

fn start(what: &str, name: &str) -> io::Result<Child> {
    Command::new(PROGRAM)
        .arg(what)
        .arg(format!("--name={name}"))
        .args(["-", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// A program that reads nothing says why by its exit.
fn give(child: &mut Child, bytes: &[u8]) {
    if let Some(mut to) = child.stdin.take() {
        let _ = to.write_all(bytes);
    }
}

fn end(mut child: Child) -> io::Result<()> {
    let mut said = String::new();
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut said)?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => {
            let last = said.lines().last().unwrap_or("it gave no reason");
            Err(io::Error::other(format!("systemd-creds: {last}")))
        }
    }
}
