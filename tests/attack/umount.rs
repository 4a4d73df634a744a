//! What is unmounted is locked, wherever it is still seen, and nobody else can keep `umount` from returning.
use super::home::{Home, KINDS, NOBODY, can_attack, soon};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shell that has the mount in a mount namespace of its own, with a file open for writing.
struct Holder {
    shell: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn new(home: &Home) -> Self {
        let script = "cat mount/secret >/dev/null; exec 7>mount/open; printf unsynced >&7; echo ready; read line; \
                      cat mount/secret; ls .; ls mount; printf more >&7 && echo written";
        let mut command = home.command("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", script]);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare");
        let mut out = BufReader::new(shell.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        Self { shell, out }
    }

    /// What it can still see.
    fn sees(mut self) -> String {
        let mut stdin = self.shell.stdin.take().expect("piped");
        stdin.write_all(b"\n").expect("write");
        drop(stdin);
        let mut seen = String::new();
        self.out.read_to_string(&mut seen).expect("read");
        self.shell.wait().expect("wait");
        seen
    }
}

#[test]
fn another_mount_namespace_loses_what_is_unmounted() {
    if !can_attack("a mount namespace") {
        return;
    }
    for kind in KINDS {
        let home = Home::new(kind);
        home.mount("");
        fs::write(home.point().join("secret"), "the plan").expect("write");
        let holder = Holder::new(&home);
        home.succeeds(&["umount", "mount"]);
        let seen = holder.sees();
        assert!(seen.contains("keys"), "{seen}");
        for lost in ["the plan", "secret", "written"] {
            assert!(!seen.contains(lost), "{seen}");
        }
        home.mount("");
        let kept = fs::read_to_string(home.point().join("open")).expect("read");
        assert_eq!(kept, "unsynced", "what was written before is written");
        home.succeeds(&["umount", "mount"]);
        home.succeeds(&["check", "volume"]);
    }
}

/// `umount -l` takes the mount away and leaves open files; the session goes all the same.
#[test]
fn open_files_are_no_way_around_a_lazy_unmount() {
    if !can_attack("umount -l") {
        return;
    }
    for kind in KINDS {
        let home = Home::new(kind);
        home.mount("");
        fs::write(home.point().join("secret"), "the plan").expect("write");
        let mut open = fs::File::create(home.point().join("open")).expect("create");
        open.write_all(b"unsynced").expect("write");
        let mut secret = fs::File::open(home.point().join("secret")).expect("open");
        let lazy = home.command("umount").args(["-l", "mount"]).status();
        assert!(lazy.expect("umount").success());
        soon("the daemon has ended", || {
            home.log().contains("unmounted from")
        });
        assert!(
            home.log().contains("still held by open files"),
            "{}",
            home.log()
        );
        let mut seen = String::new();
        secret.read_to_string(&mut seen).expect_err("locked");
        drop(open);
        home.mount("");
        let kept = fs::read_to_string(home.point().join("open")).expect("read");
        assert_eq!(kept, "unsynced");
        home.succeeds(&["umount", "mount"]);
    }
}

/// Unmounting in a namespace of one's own ends the session of the daemon, which lives in another.
#[test]
fn umount_in_another_mount_namespace_ends_the_session_too() {
    if !can_attack("a mount namespace") {
        return;
    }
    let home = Home::new(KINDS[0]);
    home.mount("");
    let umount = |target: &str| {
        let mut command = home.command("unshare");
        command.args([
            "-m",
            "--propagation",
            "private",
            env!("CARGO_BIN_EXE_cryptfs"),
        ]);
        let said = command.args(["umount", target]).output().expect("unshare");
        (
            said.status.code(),
            String::from_utf8_lossy(&said.stderr).into_owned(),
        )
    };
    let file = fs::File::create(home.point().join("file")).expect("create");
    let (code, said) = umount("mount");
    assert_eq!(code, Some(14), "{said}");
    assert!(said.contains("in use where"), "{said}");
    assert!(home.is_mounted());
    drop(file);
    let (code, said) = umount("mount");
    assert_eq!(code, Some(0), "{said}");
    assert!(!home.is_mounted());
    home.mount("");
    let (code, said) = umount("volume");
    assert_eq!(code, Some(0), "{said}");
    assert!(!home.is_mounted());
}

/// The socket by which `umount` waits can be seen by everybody; more connections than its queue holds once blocked it.
#[test]
fn connections_of_strangers_do_not_block_umount() {
    if !can_attack("another user") {
        return;
    }
    let home = Home::new(KINDS[0]);
    home.mount("");
    let name = format!("cryptfs/mount/{}", home.device().expect("mounted"));
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: files.maximum,
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).expect("setrlimit");
    let (full, stop) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let attack = {
        let (full, stop) = (Arc::clone(&full), Arc::clone(&stop));
        move || {
            let nobody = rustix::process::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("setresuid");
            let address = SocketAddr::from_abstract_name(&name).expect("a name");
            let mut held = Vec::new();
            for _ in 0..6000 {
                if held.len() > 4000 {
                    full.store(true, Ordering::Relaxed);
                }
                // One that blocks for good is left to itself: the queue is full then.
                held.extend(UnixStream::connect_addr(&address));
            }
            while !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
    };
    std::thread::spawn(attack);
    soon("the queue would be full", || full.load(Ordering::Relaxed));
    std::thread::sleep(std::time::Duration::from_millis(100));
    home.succeeds(&["umount", "mount"]);
    stop.store(true, Ordering::Relaxed);
    assert!(home.log().contains("unmounted from"), "{}", home.log());
}

/// The volume will do in place of its mount point, and the other way round.
#[test]
fn a_volume_and_its_mount_point_stand_for_each_other() {
    if !crate::needs::fuse() {
        return;
    }
    for kind in KINDS {
        let home = Home::new(kind);
        home.mount("fsname=elsewhere,subtype=other");
        let volume = home.path("volume");
        home.succeeds(&["status", "mount"])
            .says(&[volume.to_str().expect("UTF-8")]);
        fs::create_dir(home.path("other")).expect("mkdir");
        let again = home.run(&["mount", "volume", "other"]);
        again.fails(14, &["has it mounted on", "umount "]);
        let check = home.run(&["check", "volume"]);
        let point = home.point();
        check.fails(14, &["already mounted", point.to_str().expect("UTF-8")]);
        home.succeeds(&["umount", "volume"]);
        assert!(!home.is_mounted());
        home.run(&["umount", "volume"])
            .fails(16, &["nothing is mounted"]);
    }
}
