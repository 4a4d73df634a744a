//! A user's volume, and commands as that user.
use crate::needs;
use crate::transcripts::{Bench, Said};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An ordinary user that every system has.
pub const NOBODY: u32 = 65534;

/// How a volume of each kind is made.
pub const KINDS: [&[&str]; 2] = [&[], &["--image", "--size", "16M"]];

/// A user with a keystore, a volume and an empty mount point.
pub struct Home {
    bench: Bench,
    user: u32,
}

impl Home {
    /// Of the user who runs the test.
    pub fn new(kind: &[&str]) -> Self {
        Self::of(rustix::process::geteuid().as_raw(), kind)
    }

    /// Of another user; only root can do that.
    pub fn of(user: u32, kind: &[&str]) -> Self {
        let home = Self {
            bench: Bench::empty(),
            user,
        };
        chown(home.path(""), Some(user), Some(user)).expect("chown");
        let cheap = ["init", "--quiet", "--pbkdf2-iterations", "1000"];
        home.succeeds(&[&cheap[..], kind, &["volume"]].concat());
        fs::create_dir(home.point()).expect("mkdir");
        chown(home.point(), Some(user), Some(user)).expect("chown");
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    pub fn point(&self) -> PathBuf {
        self.path("mount")
    }

    /// A program as this user, in this home; it gets a minute.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "60"]);
        if self.user != rustix::process::geteuid().as_raw() {
            let (uid, gid) = (
                format!("--reuid={}", self.user),
                format!("--regid={}", self.user),
            );
            command.args(["setpriv", &uid, &gid, "--clear-groups"]);
        }
        command.arg(program).current_dir(self.path(""));
        command
            .env("CRYPTFS_KEYSTORE", self.path("keys"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_cryptfs"));
        command
            .args(arguments)
            .output()
            .expect("the program runs")
            .into()
    }

    #[track_caller]
    pub fn succeeds(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
        said
    }

    /// Mounts, with its log in `log`.
    #[track_caller]
    pub fn mount(&self, options: &str) {
        let log = self.path("log");
        let options = format!("log={},{options}", log.to_str().expect("UTF-8"));
        self.succeeds(&["mount", "-o", &options, "volume", "mount"]);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `st_dev` of the mount, as the table of mounts has it.
    pub fn device(&self) -> Option<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let point = self.point();
        let line = table
            .lines()
            .find(|line| line.split(' ').nth(4) == point.to_str());
        line.and_then(|line| line.split(' ').nth(2))
            .map(str::to_owned)
    }

    pub fn is_mounted(&self) -> bool {
        self.device().is_some()
    }
}

impl Drop for Home {
    /// After a failed test.
    fn drop(&mut self) {
        while self.is_mounted() {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(self.point(), flags).is_err() {
                let _ = Command::new("fusermount3")
                    .arg("-uz")
                    .arg(self.point())
                    .status();
                break;
            }
        }
    }
}

#[track_caller]
pub fn soon(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(30), "not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Root with FUSE: attacks need two users or two mount namespaces.
pub fn can_attack(what: &str) -> bool {
    needs::fuse() && needs::root(what) && needs::program("setpriv") && needs::program("unshare")
}

/// Lets another user reach what lies in a temporary directory.
pub fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}
