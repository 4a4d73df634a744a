//! A TPM2 and a desktop of a test's own.
use crate::transcripts::Said;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A computer's TPM2, in software, and as new.
pub struct Tpm {
    process: Child,
    dir: tempfile::TempDir,
}

impl Tpm {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| format!("type=unixio,path={}/{name}", dir.path().display());
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", dir.path().display()))
            .args(["--server", &path("socket"), "--ctrl", &path("socket.ctrl")])
            .args(["--flags", "not-need-init,startup-clear", "--log"])
            .arg(format!("file={}/log,level=20", dir.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm runs");
        let mut tpm = Self { process, dir };
        let patience = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(tpm.dir.path().join("socket.ctrl")).is_err() {
            let end = tpm.process.try_wait().expect("a child");
            assert!(end.is_none() && Instant::now() < patience, "{end:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        tpm
    }

    /// What has passed on the bus, in hexadecimal digits.
    pub fn bus(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).expect("a log");
        log.split_whitespace().collect()
    }

    pub fn variable(&self) -> String {
        let socket = self.dir.path().join("socket");
        format!("TPM2TOOLS_TCTI=swtpm:path={}", socket.display())
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A desktop's session with its keyring, unlocked.
pub struct Desktop {
    process: Child,
    bus: String,
    _home: tempfile::TempDir,
}

impl Desktop {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let script =
            "printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null
            echo \"$DBUS_SESSION_BUS_ADDRESS\"
            cat >/dev/null";
        let mut process = Command::new("dbus-run-session")
            .args(["--", "sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-run-session runs");
        let mut bus = String::new();
        let out = process.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut bus).expect("a line");
        Self {
            process,
            bus: bus.trim().to_owned(),
            _home: home,
        }
    }

    pub fn variable(&self) -> String {
        format!("DBUS_SESSION_BUS_ADDRESS={}", self.bus)
    }

    /// What the keyring has of a volume.
    pub fn entries(&self, volume: &str) -> String {
        let search = [
            "search",
            "--all",
            "application",
            "cryptfs",
            "volume",
            volume,
        ];
        let said = Command::new("secret-tool")
            .args(search)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .output()
            .expect("secret-tool runs");
        // The secret on standard output, its attributes on standard error.
        let said = Said::from(said);
        said.out + &said.err
    }

    pub fn lock(&self) {
        let call = "org.freedesktop.Secret.Service.Lock";
        let what = "array:objpath:/org/freedesktop/secrets/collection/login";
        let locked = Command::new("dbus-send")
            .args([
                "--session",
                "--print-reply",
                "--dest=org.freedesktop.secrets",
            ])
            .args(["/org/freedesktop/secrets", call, what])
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .output()
            .expect("dbus-send runs");
        assert!(locked.status.success(), "{locked:?}");
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // With its input the session ends, and with the bus the keyring.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
