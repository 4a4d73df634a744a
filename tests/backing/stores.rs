//! Backing stores that are themselves stacked or remote: they know no rename flags, cache attributes of each name by
//! itself, keep no attributes, give inodes other birth times, or have several devices.
use crate::needs;
use crate::programs::machine::{Machine, run, said};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Only root may let others in everywhere, which bindfs does unless it is told not to.
fn bindfs_for_oneself() -> Command {
    let mut bindfs = Command::new("bindfs");
    bindfs.arg("--no-allow-other");
    bindfs
}

/// A store mounted in a directory of its own.
struct Store {
    home: TempDir,
}

impl Store {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        for name in ["lower", "upper", "work", "store"] {
            fs::create_dir(home.path().join(name)).expect("mkdir");
        }
        Self { home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn bindfs() -> Option<Self> {
        needs::program("bindfs").then(|| {
            let store = Self::new();
            run(bindfs_for_oneself().args([store.at("lower"), store.at("store")]));
            store
        })
    }

    fn encfs() -> Option<Self> {
        needs::program("encfs").then(|| {
            let store = Self::new();
            let mut encfs = Command::new("encfs");
            encfs.args(["--standard", "--stdinpass"]);
            encfs.args([store.at("lower"), store.at("store")]);
            encfs.stdin(Stdio::piped()).stdout(Stdio::null());
            let mut child = encfs.spawn().expect("encfs");
            let mut words = child.stdin.take().expect("a pipe");
            words.write_all(b"password\n").expect("write");
            drop(words);
            assert!(child.wait().expect("encfs").success());
            store
        })
    }

    fn sshfs() -> Option<Self> {
        const SERVER: &str = "/usr/lib/openssh/sftp-server";
        if !needs::program("sshfs") {
            return None;
        }
        if !Path::new(SERVER).exists() {
            needs::say("no sftp-server");
            return None;
        }
        let store = Self::new();
        let ssh = store.at("ssh");
        fs::write(&ssh, format!("#!/bin/sh\nexec {SERVER}\n")).expect("write");
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("chmod");
        let mut sshfs = Command::new("sshfs");
        // Its own cache would show the old length of a file's other name for 20 seconds.
        let options = format!("dir_cache=no,ssh_command={}", ssh.display());
        sshfs.arg("-o").arg(options);
        sshfs.arg(format!("localhost:{}", store.at("lower").display()));
        run(sshfs.arg(store.at("store")));
        Some(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for (program, flag) in [("umount", "-l"), ("fusermount3", "-uz")] {
            let mut umount = Command::new(program);
            umount.arg(flag).arg(self.at("store")).stderr(Stdio::null());
            if umount.status().is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// What any program may do; the store may refuse extended attributes and nothing else.
fn work(machine: &Machine, point: &Path) {
    // Directories with and without a long name.
    let long = "n".repeat(200);
    for (old, new) in [("old", "new"), ("short", &long), (&long, "short again")] {
        let (old, new) = (point.join(old), point.join(new));
        fs::create_dir_all(&old).expect("mkdir");
        fs::write(old.join("inside"), old.as_os_str().as_encoded_bytes()).expect("write");
        fs::rename(&old, &new).expect("rename a directory");
        let inside = fs::read(new.join("inside")).expect("read");
        assert_eq!(inside, old.as_os_str().as_encoded_bytes());
    }
    // One name of two goes away, and a fresh mount sees the other.
    let (one, other) = (point.join("one"), point.join("other"));
    let mut open = File::options()
        .append(true)
        .create(true)
        .open(&one)
        .expect("create");
    open.write_all(&[1; 10_000]).expect("write");
    fs::hard_link(&one, &other).expect("link");
    open.write_all(&[1; 3000]).expect("append");
    drop(open);
    fs::remove_file(&one).expect("unlink");
    machine.remount();
    assert_eq!(other.metadata().expect("stat").len(), 13_000);
    assert_eq!(fs::read(&other).expect("read"), [1; 13_000]);
    // A file without a name.
    let mut nameless = File::options()
        .read(true)
        .append(true)
        .open(&other)
        .expect("open");
    fs::remove_file(&other).expect("unlink");
    nameless.write_all(b"end").expect("append");
    nameless.rewind().expect("seek");
    let mut content = Vec::new();
    nameless.read_to_end(&mut content).expect("read");
    assert!(content.len() == 13_003 && content.ends_with(b"end"));
    drop(nameless);
    repository(&point.join("repository"));
    machine.remount();
    let status = git(&point.join("repository"), &["status", "--porcelain"]);
    assert_eq!(status, "");
    git(&point.join("repository"), &["fsck", "--full", "--strict"]);
    machine.umount();
    checked(machine);
}

#[track_caller]
fn checked(machine: &Machine) {
    let mut check = machine.cryptfs(&["check"]);
    let done = check.arg(machine.volume()).output().expect("run check");
    let found = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{found}");
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example"]);
    git.arg("-C").arg(dir).args(arguments);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    said(&mut git)
}

fn repository(at: &Path) {
    if !needs::program("git") {
        return;
    }
    fs::create_dir(at).expect("mkdir");
    git(at, &["init", "-q"]);
    for commit in 0..2 {
        for file in 0..20 {
            let text = format!("{commit} {file}\n").repeat(file * 30);
            fs::write(at.join(file.to_string()), text).expect("write");
        }
        git(at, &["add", "-A"]);
        git(at, &["commit", "-qm", "more"]);
    }
    git(at, &["gc", "-q"]);
}

fn on(store: Option<Store>) {
    let Some(store) = store else { return };
    let machine = Machine::within(&store.at("store"), &[]);
    let point = machine.mount();
    work(&machine, &point);
}

#[test]
fn bindfs() {
    on(needs::fuse().then(Store::bindfs).flatten());
}

#[test]
fn encfs() {
    on(needs::fuse().then(Store::encfs).flatten());
}

#[test]
fn sshfs_which_keeps_no_attributes() {
    on(needs::fuse().then(Store::sshfs).flatten());
}

/// Files that lie on the lower layer are copied up when they are first changed, which gives them another birth time, and
/// those with two names another number.
#[test]
fn overlayfs_with_files_to_copy_up() {
    if !needs::fuse() || !needs::root("overlayfs") {
        return;
    }
    let store = Store::new();
    // The volume is made on the lower layer and seen through the overlay at the same path.
    let lower = store.at("lower");
    run(Command::new("mount")
        .arg("--bind")
        .args([&lower, &store.at("store")]));
    let machine = Machine::within(&store.at("store"), &[]);
    let point = machine.mount();
    for name in ["read", "append", "open", "twice"] {
        fs::write(point.join(name), name.repeat(2000)).expect("write");
    }
    fs::hard_link(point.join("twice"), point.join("again")).expect("link");
    machine.umount();
    run(Command::new("umount").arg(store.at("store")));
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        store.at("upper").display(),
        store.at("work").display()
    );
    let mut overlay = Command::new("mount");
    overlay.args(["-t", "overlay", "overlay", "-o", &layers]);
    if !overlay
        .arg(store.at("store"))
        .status()
        .is_ok_and(|status| status.success())
    {
        needs::say("no overlayfs here");
        return;
    }
    machine.mount();
    let mut open = File::options()
        .read(true)
        .append(true)
        .open(point.join("open"))
        .expect("open");
    let reading = File::open(point.join("append")).expect("open");
    let mut appending = File::options()
        .append(true)
        .open(point.join("append"))
        .expect("open");
    appending.write_all(b"more").expect("append");
    drop(appending);
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(point.join("append"), mode).expect("chmod");
    let mut text = String::new();
    (&reading).read_to_string(&mut text).expect("read");
    assert_eq!(text, "append".repeat(2000) + "more");
    fs::remove_file(point.join("open")).expect("unlink");
    open.write_all(b"more").expect("append");
    let mut text = String::new();
    open.rewind().expect("seek");
    open.read_to_string(&mut text).expect("read");
    assert_eq!(text, "open".repeat(2000) + "more");
    let mut twice = File::options()
        .read(true)
        .append(true)
        .open(point.join("twice"))
        .expect("open");
    fs::remove_file(point.join("twice")).expect("unlink");
    fs::remove_file(point.join("again")).expect("unlink");
    twice.write_all(b"more").expect("append");
    assert_eq!(twice.metadata().expect("stat").len(), 10_004);
    drop((open, reading, twice));
    work(&machine, &point);
}

/// On btrfs each subvolume is a device of its own, with the same small inode numbers.
#[test]
fn btrfs_subvolumes_below_a_volume() {
    use crate::programs::machine::Disk;
    if !needs::fuse() || !needs::program("btrfs") {
        return;
    }
    let Some(disk) = Disk::btrfs(300 << 20) else {
        return;
    };
    let machine = Machine::on(&disk, &[]);
    let point = machine.mount();
    fs::create_dir(point.join("dir")).expect("mkdir");
    machine.umount();
    // The directory becomes a subvolume, as a snapshot tool makes one.
    let entries = fs::read_dir(machine.volume()).expect("readdir");
    let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").path();
    let sealed = entries
        .map(path)
        .find(|path| path.is_dir() && !path.ends_with(".cryptfs"));
    let sealed = sealed.expect("the directory");
    fs::remove_dir(&sealed).expect("rmdir");
    run(Command::new("btrfs")
        .args(["-q", "subvolume", "create"])
        .arg(&sealed));
    machine.mount();
    let mut numbers = std::collections::HashMap::new();
    for dir in ["", "dir"] {
        for file in 0..300 {
            let path = point.join(dir).join(file.to_string());
            fs::write(&path, format!("{dir} {file}")).expect("write");
            let number = path.metadata().expect("stat").ino();
            let before = numbers.insert(number, path.clone());
            assert_eq!(before, None, "{number} is also {}", path.display());
        }
    }
    let mut open: Vec<_> = (0..300)
        .map(|file| File::open(point.join("dir").join(file.to_string())).expect("open"))
        .collect();
    for file in 0..300 {
        let name = file.to_string();
        fs::remove_file(point.join("dir").join(&name)).expect("unlink");
        fs::rename(point.join(&name), point.join("moved")).expect("rename");
        fs::rename(point.join("moved"), point.join(&name)).expect("rename");
    }
    for (number, file) in open.iter_mut().enumerate() {
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, format!("dir {number}"));
    }
    drop(open);
    machine.umount();
    checked(&machine);
}

/// The backing store says ENOTCONN: that is not what a mount whose own daemon died says, and the mount stays.
#[test]
fn a_store_that_went_away_leaves_the_mount() {
    if !needs::fuse() || !needs::program("bindfs") {
        return;
    }
    let store = Store::new();
    let mut bindfs = bindfs_for_oneself();
    bindfs
        .arg("-f")
        .args([store.at("lower"), store.at("store")]);
    let mut bindfs = bindfs.spawn().expect("bindfs");
    let device = || store.at("store").metadata().expect("stat").dev();
    let below = store.at("lower").metadata().expect("stat").dev();
    let start = std::time::Instant::now();
    while device() == below {
        assert!(start.elapsed().as_secs() < 20, "bindfs does not mount");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let machine = Machine::within(&store.at("store"), &[]);
    let point = machine.mount();
    fs::write(point.join("file"), "content").expect("write");
    bindfs.kill().expect("kill");
    bindfs.wait().expect("wait");
    let error = rustix::fs::statvfs(&point)
        .map(drop)
        .expect_err("nothing is below");
    assert_eq!(error, rustix::io::Errno::IO);
    let mut mount = machine.cryptfs(&["mount"]);
    let again = mount.arg(machine.volume()).arg(&point).output();
    assert!(!again.expect("run").status.success());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    assert!(table.contains(&format!(" {} ", point.display())));
    let mut end = machine.cryptfs(&["umount"]);
    end.arg(&point).output().expect("run umount"); // not everything can be written
}
