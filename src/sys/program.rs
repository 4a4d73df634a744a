//! Runs an installed program that is given a secret or gives one: in pipes, never in its arguments or environment.
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program, and what is left of the environment for it.
pub struct Program<'a> {
    /// Absolute, not looked for in PATH: it gets secrets.
    pub path: &'a str,
    /// The variables that it keeps.
    pub keeps: &'a [&'a str],
    /// Why it failed, where it does not say.
    pub silent: &'a str,
}

impl Program<'_> {
    /// Why it cannot be run; whether it works shows when it is used.
    pub fn missing(&self) -> Option<String> {
        let missing = !Path::new(self.path).exists();
        missing.then(|| format!("{} is not installed", self.path))
    }

    /// Writes `input` to it and reads what it says into `output`, without a copy. The bytes that there were.
    pub fn run(&self, args: &[&str], input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let kept = self.keeps.iter();
        let kept = kept.filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(self.path)
            .args(args)
            .env_clear()
            .envs(kept)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut to) = child.stdin.take() {
            // One that reads nothing says why by its exit.
            let _ = to.write_all(input);
        }
        let mut length = 0;
        if let Some(mut from) = child.stdout.take() {
            length = read_up_to(&mut from, output)?;
        }
        let mut said = Vec::new();
        if let Some(mut from) = child.stderr.take() {
            from.read_to_end(&mut said)?;
        }
        match child.wait()?.success() {
            true => Ok(length),
            false => Err(self.failed(&String::from_utf8_lossy(&said))),
        }
    }

    fn failed(&self, said: &str) -> io::Error {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        // tpm2-tools end with "Unable to run tpm2_load", after the reason.
        let reason = said.lines().rfind(|line| !line.contains("Unable to run"));
        let reason = reason.unwrap_or(self.silent);
        let reason = reason.trim_start_matches(name).trim_start_matches(": ");
        io::Error::other(format!("{name}: {}", reason.trim_start_matches("ERROR: ")))
    }
}

/// Fills `buffer` as far as there is something. The bytes that there were.
pub fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

/// A file in memory, for what a program takes from a path or puts there. Nothing is left of it anywhere.
pub struct MemoryFile(File);

impl MemoryFile {
    /// Holds `bytes`. Not closed by exec: the programs started from now on have it.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create("cryptfs", MemfdFlags::empty())?);
        file.write_all(bytes)?;
        Ok(Self(file))
    }

    /// Its path, for a program that was started while it was there.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    /// What it holds.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
