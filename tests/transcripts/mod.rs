//! What people type and see: the built programs, run as they are run by hand, on everything that needs no mount.
mod bad_input;
mod check;
pub mod cut;
mod deliver;
mod image;
mod keys;
mod life;
mod names;
mod records;
mod rungs;
mod salvage;
mod sheet;
pub mod terminal;
mod verdicts;

use rustix::process::{Pid, Signal};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A directory with a volume and a keystore in it.
pub struct Bench {
    dir: tempfile::TempDir,
}

/// What a program said.
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code.
    pub code: i32,
}

impl Bench {
    /// Nothing made yet.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir }
    }

    /// With a volume, and its recovery password and password ID.
    pub fn with_volume() -> (Self, String, String) {
        let bench = Self::empty();
        let said = bench.init(&["--label", "ledger", "volume"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let password = said.field("Recovery password:");
        let id = said.field("Password ID:");
        (bench, password, id)
    }

    /// A path in the bench.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `cryptfs init` at a cost that suits tests.
    pub fn init(&self, arguments: &[&str]) -> Said {
        let all = [&["init", "--pbkdf2-iterations", "1000"], arguments].concat();
        self.cryptfs(&all, "")
    }

    /// `cryptfs`, in the bench, with `input` on its standard input.
    pub fn cryptfs(&self, arguments: &[&str], input: &str) -> Said {
        self.run(Path::new(env!("CARGO_BIN_EXE_cryptfs")), arguments, input)
    }

    /// `cryptfs`, to which ctrl-C is sent once it has said so many lines. It cannot be far ahead of them: the pipe is full.
    #[cfg_attr(not(feature = "fuse"), allow(dead_code))] // the drill needs it
    pub fn interrupted(&self, arguments: &[&str], input: &str, lines: usize) -> Said {
        let mut child = self.start(Path::new(env!("CARGO_BIN_EXE_cryptfs")), arguments);
        let mut stdin = child.stdin.take().expect("piped");
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(said.by_ref().take(lines).count(), lines);
        rustix::process::kill_process(Pid::from_child(&child), Signal::INT).expect("signalled");
        child.wait_with_output().expect("the program ends").into()
    }

    /// `cryptfs-recover`, likewise.
    pub fn rescue(&self, arguments: &[&str], input: &str) -> Said {
        self.run(
            Path::new(env!("CARGO_BIN_EXE_cryptfs-recover")),
            arguments,
            input,
        )
    }

    fn start(&self, program: &Path, arguments: &[&str]) -> Child {
        Command::new(program)
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("CRYPTFS_KEYSTORE", self.path("keys"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs")
    }

    /// Any program, likewise.
    pub fn run(&self, program: &Path, arguments: &[&str], input: &str) -> Said {
        let mut child = self.start(program, arguments);
        let mut stdin = child.stdin.take().expect("piped");
        // A program that reads no input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("the program ends").into()
    }

    /// The volume's keyfile.
    pub fn keyfile(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.path("keys")).expect("a keystore");
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .find(|path| path.extension().is_some_and(|e| e == "key"))
            .expect("a keyfile")
    }

    /// Every file in the volume and the keystore, to see that nothing changed.
    pub fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut left = vec![self.dir.path().to_owned()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir)
                .expect("readable")
                .map(|e| e.expect("an entry").path())
            {
                if entry.is_dir() {
                    left.push(entry);
                } else if entry.file_name().is_none_or(|name| name != "audit.log") {
                    // Not the FIFOs: reading one waits for a writer.
                    let file = std::fs::symlink_metadata(&entry).expect("stat").is_file();
                    let bytes = if file {
                        std::fs::read(&entry).expect("read")
                    } else {
                        Vec::new()
                    };
                    found.push((entry, bytes));
                }
            }
        }
        found.sort();
        found
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

impl Said {
    /// What stands after `name` on standard output.
    pub fn field(&self, name: &str) -> String {
        let line = self
            .out
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in:\n{}", self.out))
            .trim()
            .to_owned()
    }

    /// Asserts the exit code and that standard error holds each of these.
    pub fn fails(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        for text in texts {
            assert!(self.err.contains(text), "no '{text}' in:\n{}", self.err);
        }
    }

    /// Asserts success, and that standard output holds each of these.
    pub fn says(&self, texts: &[&str]) -> &Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        for text in texts {
            assert!(self.out.contains(text), "no '{text}' in:\n{}", self.out);
        }
        self
    }
}
