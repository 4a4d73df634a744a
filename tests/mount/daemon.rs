//! The program itself, in the background, as people and mount(8) call it.
use crate::needs;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Exit codes of cryptfs(1).
const FAILURE: i32 = 1;
const BUSY: i32 = 14;
const PLACE: i32 = 16;
const USAGE: i32 = 64;

/// A volume with its keystore, and an empty mount point.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            home: tempfile::tempdir().expect("a directory"),
        };
        fs::create_dir(place.point()).expect("mkdir");
        let made = place.run(&["init", "--quiet", text(&place.volume())]);
        assert!(made.status.success(), "{made:?}");
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn point(&self) -> PathBuf {
        self.at("mount")
    }

    fn volume(&self) -> PathBuf {
        self.at("volume")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptfs"));
        command
            .env("CRYPTFS_KEYSTORE", self.at("keys"))
            .current_dir(self.home.path());
        command.args(arguments).output().expect("run cryptfs")
    }

    fn mount(&self, options: &str) -> Output {
        let list = format!("log={},{options}", text(&self.at("log")));
        self.run(&["mount", "volume", "mount", "-o", &list])
    }

    fn umount(&self) -> Output {
        self.run(&["umount", "mount"])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }

    fn mounts(&self) -> usize {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        table
            .lines()
            .filter(|line| line.contains(text(&self.point())))
            .count()
    }

    /// The daemon that serves the mount.
    fn daemon(&self) -> Pid {
        let home = text(self.home.path()).as_bytes().to_vec();
        let ours = |id: &i32| {
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let name = fs::read(format!("/proc/{id}/comm")).unwrap_or_default();
            name == b"cryptfs\n" && arguments.windows(home.len()).any(|part| part == home)
        };
        let mut ids = fs::read_dir("/proc").expect("procfs").flatten();
        let found = ids.find_map(|entry| entry.file_name().to_str()?.parse().ok().filter(ours));
        Pid::from_raw(found.expect("a daemon")).expect("not 0")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        while self.mounts() > 0 {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(self.point(), flags).is_err() {
                let mut fusermount = Command::new("fusermount3");
                let _ = fusermount.args(["-uz", "--"]).arg(self.point()).status();
                break;
            }
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

#[track_caller]
fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn failed(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words.iter().chain(&["cryptfs: error: ", "cryptfs: hint: "]) {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
}

#[track_caller]
fn soon(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn mount_returns_when_it_is_there_and_umount_when_all_is_written() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    for round in 0..5 {
        succeeded(&place.mount(""));
        assert_eq!(place.mounts(), 1);
        let file = place.point().join(round.to_string());
        fs::write(file, vec![round; 100_000]).expect("write");
        succeeded(&place.umount());
        assert_eq!(place.mounts(), 0);
        assert_eq!(
            place.log().matches("unmounted from").count(),
            usize::from(round) + 1
        );
    }
    succeeded(&place.mount("ro"));
    for round in 0..5 {
        let content = fs::read(place.point().join(round.to_string())).expect("read");
        assert!(content == vec![round; 100_000]);
    }
    let refused = File::create(place.point().join("new")).expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    succeeded(&place.umount());
}

/// umount(8) does not wait for the daemon, and what follows it in a script mounts again at once.
#[test]
fn a_mount_waits_for_the_end_of_the_one_before() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    for _ in 0..5 {
        succeeded(&place.mount(""));
        fs::write(place.point().join("file"), vec![1; 3 << 20]).expect("write");
        let umount = Command::new("umount")
            .arg(place.point())
            .output()
            .expect("umount");
        if !rustix::process::getuid().is_root() {
            return;
        }
        succeeded(&umount);
    }
}

/// Of files that are only known or open up there the daemon need not have one open.
#[test]
fn few_descriptors_do_for_many_files() {
    if !needs::fuse() {
        return;
    }
    const MANY: usize = 400;
    let place = Place::new();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 256 && exec \"$0\" mount volume mount"])
        .arg(env!("CARGO_BIN_EXE_cryptfs"))
        .env("CRYPTFS_KEYSTORE", place.at("keys"))
        .current_dir(place.home.path());
    succeeded(&shell.output().expect("run a shell"));
    let names = |directory: &str| {
        let directory = place.point().join(directory);
        (0..MANY).map(move |number| directory.join(number.to_string()))
    };
    for directory in ["one", "other"] {
        fs::create_dir(place.point().join(directory)).expect("mkdir");
    }
    let open: Vec<File> = names("one")
        .map(|name| File::create_new(name).expect("create"))
        .collect();
    for file in &open {
        std::io::Write::write_all(&mut &*file, b"content").expect("write");
    }
    for file in open {
        file.sync_all().expect("write back");
    }
    for (one, other) in names("one").zip(names("other")) {
        fs::hard_link(one, other).expect("link");
    }
    for name in names("one") {
        fs::remove_file(name).expect("unlink");
    }
    for name in names("other") {
        assert_eq!(fs::read(name).expect("read"), b"content");
    }
    succeeded(&place.umount());
}

#[test]
fn a_volume_is_mounted_once() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("other")).expect("mkdir");
    succeeded(&place.mount(""));
    failed(&place.mount(""), BUSY, &["already mounted on"]);
    let other = place.run(&["mount", "volume", "other"]);
    failed(&other, BUSY, &["already mounted"]);
    assert_eq!(place.mounts(), 1);
    succeeded(&place.umount());
    failed(&place.umount(), PLACE, &["nothing is mounted"]);
}

#[test]
fn a_bad_mount_point_is_refused_before_anything_is_done() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    let mount = |point: &str| place.run(&["mount", "volume", point]);
    failed(&mount("missing"), PLACE, &["does not exist"]);
    failed(&mount("volume"), PLACE, &["one in the other"]);
    fs::write(place.at("file"), "").expect("write");
    failed(&mount("file"), PLACE, &["not a directory"]);
    fs::write(place.point().join("file"), "").expect("write");
    failed(&mount("mount"), PLACE, &["not empty"]);
    failed(
        &place.mount("colour"),
        USAGE,
        &["unknown mount option 'colour'"],
    );
    assert_eq!(place.mounts(), 0);
    succeeded(&place.mount("nonempty"));
    assert!(!place.point().join("file").exists());
    succeeded(&place.umount());
}

#[test]
fn who_keeps_it_busy_is_named() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    succeeded(&place.mount(""));
    let file = File::create(place.point().join("open")).expect("create");
    let me = format!("({})", std::process::id());
    failed(&place.umount(), BUSY, &["in use by", &me]);
    kill_process(place.daemon(), Signal::TERM).expect("kill");
    soon("the daemon says why it stays", || {
        place.log().contains("still serving")
    });
    drop(file);
    kill_process(place.daemon(), Signal::TERM).expect("kill");
    soon("the daemon ends", || place.log().contains("unmounted from"));
    assert_eq!(place.mounts(), 0);
}

#[test]
fn a_dead_mount_is_replaced() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    succeeded(&place.mount(""));
    kill_process(place.daemon(), Signal::KILL).expect("kill");
    soon("the mount is dead", || fs::read_dir(place.point()).is_err());
    let again = place.mount("");
    succeeded(&again);
    assert!(String::from_utf8_lossy(&again.stderr).contains("removed the dead mount"));
    assert_eq!(place.mounts(), 1);
    kill_process(place.daemon(), Signal::KILL).expect("kill");
    soon("the mount is dead", || fs::read_dir(place.point()).is_err());
    // It goes, but whoever waits for "everything is written" must not believe that.
    failed(&place.umount(), FAILURE, &["not everything was written"]);
    assert_eq!(place.mounts(), 0);
}

#[test]
fn mount_calls_us_as_its_helper() {
    if !needs::fuse() || !needs::root("a remount") {
        return;
    }
    let place = Place::new();
    let (volume, point) = (place.volume(), place.point());
    let helper = |options| place.run(&[text(&volume), text(&point), "-o", options]);
    let flags = |flag: &str| {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let line = table
            .lines()
            .find(|line| line.contains(text(&point)))
            .expect("mounted");
        let options = line.split(' ').nth(5).expect("options");
        assert!(line.contains("fuse.cryptfs"), "{line}");
        options.split(',').any(|option| option == flag)
    };
    succeeded(&helper("rw,noatime,_netdev,x-systemd.automount"));
    assert!(flags("rw") && flags("noatime") && flags("nosuid") && flags("nodev"));
    succeeded(&helper("remount,ro,user_id=0"));
    assert!(flags("ro") && flags("noatime") && flags("nosuid") && flags("nodev"));
    File::create(point.join("new")).expect_err("read-only");
    succeeded(&helper("remount,rw,exec"));
    let file = File::create(point.join("new")).expect("writable");
    failed(&helper("remount,ro"), BUSY, &["in use by"]);
    drop(file);
    succeeded(&place.umount());
}

#[test]
fn signals_are_answered() {
    if !needs::fuse() {
        return;
    }
    let place = Place::new();
    succeeded(&place.mount("stats"));
    fs::write(place.point().join("a secret name"), "a secret text").expect("write");
    kill_process(place.daemon(), Signal::HUP).expect("kill");
    kill_process(place.daemon(), Signal::USR1).expect("kill");
    soon("the counters are in the log", || {
        place.log().contains("requests: LOOKUP=")
    });
    kill_process(place.daemon(), Signal::INT).expect("kill");
    soon("the daemon ends", || place.log().contains("unmounted from"));
    assert_eq!(place.log().matches("requests: ").count(), 2);
    assert!(!place.log().contains("secret"));
}
