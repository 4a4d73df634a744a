//! A volume mounted for a test, served by a process of its own: a server that shares a process with its clients would
//! wait for itself when that process is killed.
//!
//! The server is this test binary again, asked for the one test [`serve`].
use crate::kinds::{ALL, VolumeKind};
use cryptfs::fuse::{MountOptions, Session};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const KIND: &str = "CRYPTFS_TEST_KIND";
const VOLUME: &str = "CRYPTFS_TEST_VOLUME";
const POINT: &str = "CRYPTFS_TEST_POINT";
const READY: &str = "the volume is mounted";

/// A mount that ends with this value.
pub struct Live {
    point: PathBuf,
    server: Child,
    over: bool,
}

impl Live {
    /// Mounts the volume in `volume` on the empty directory `point`.
    pub fn mount(kind: &dyn VolumeKind, volume: &Path, point: &Path) -> Self {
        let mut server = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "live::serve", "--ignored", "--nocapture"])
            .env(KIND, kind.name())
            .env(VOLUME, volume)
            .env(POINT, point)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the server");
        let output = BufReader::new(server.stdout.take().expect("a pipe"));
        let mut lines = output.lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.contains(READY)),
            "the server did not mount"
        );
        // What the harness says later must not fill the pipe; panics are told on standard error.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            point: point.to_owned(),
            server,
            over: false,
        }
    }

    /// Unmounts and waits until the volume is closed.
    pub fn unmount(mut self) {
        self.detach();
        assert!(
            self.server.wait().expect("wait").success(),
            "the server failed"
        );
        self.over = true;
    }

    fn detach(&self) {
        if rustix::process::geteuid().is_root() {
            let flags = rustix::mount::UnmountFlags::DETACH;
            rustix::mount::unmount(&self.point, flags).expect("unmount");
        } else {
            let mut fusermount = Command::new("fusermount3");
            let done = fusermount.args(["-u", "-z"]).arg(&self.point).status();
            assert!(done.expect("fusermount3").success(), "fusermount3 -u");
        }
    }
}

impl Drop for Live {
    /// After a failed test: whatever waits on the mount gets an error once the server is dead.
    fn drop(&mut self) {
        if !self.over {
            let _ = self.server.kill();
            let _ = self.server.wait();
            let _ = Command::new("umount")
                .args(["-l"])
                .arg(&self.point)
                .stderr(Stdio::null())
                .status();
        }
    }
}

#[test]
#[ignore = "the server process of other tests"]
fn serve() {
    let (Some(kind), Some(volume), Some(point)) = (
        std::env::var_os(KIND),
        std::env::var_os(VOLUME),
        std::env::var_os(POINT),
    ) else {
        return; // `cargo test -- --ignored`
    };
    let died = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(died).expect("prctl");
    let kind = ALL
        .iter()
        .find(|known| kind == known.name())
        .expect("a kind of volume");
    let file_system = kind
        .open(Path::new(&volume), false)
        .expect("open the volume");
    let mut options = MountOptions::default();
    options.add("dev,suid".as_ref()).expect("known options"); // the model makes devices
    let session = Session::mount(Path::new(&point), &options).expect("mount");
    let mut output = std::io::stdout();
    writeln!(output, "{READY}")
        .and_then(|()| output.flush())
        .expect("tell the parent");
    session.run(&file_system).expect("serve");
    file_system.close().expect("close");
}
