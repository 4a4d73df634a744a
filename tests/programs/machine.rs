//! A machine with a keystore, a volume and a mount point, worked by the binaries as a person does.
use crate::needs;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Everything lies in one temporary directory, which goes with this value.
pub struct Machine {
    home: TempDir,
    volume: PathBuf,
    options: RefCell<Option<&'static str>>,
}

/// Runs a command that must succeed. Its output is read to the end: a daemon that kept it would hang this.
pub fn run(command: &mut Command) {
    said(command);
}

/// The same; gives its standard output.
pub fn said(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {errors}",
        output.status
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// How a volume of each kind is made.
pub const KINDS: [&[&str]; 2] = [&[], &["--image", "--size", "1G"]];

impl Machine {
    /// A machine with a new volume of a kind.
    pub fn new(kind: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let volume = home.path().join("volume");
        Self::with(home, volume, kind)
    }

    /// The same, with the volume on a disk of its own.
    pub fn on(disk: &Disk, kind: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        Self::with(home, disk.path().join("volume"), kind)
    }

    /// The same, with the volume as a new entry of this directory.
    pub fn within(dir: &Path, kind: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        Self::with(home, dir.join("volume"), kind)
    }

    fn with(home: TempDir, volume: PathBuf, kind: &[&str]) -> Self {
        let machine = Self {
            home,
            volume,
            options: RefCell::new(None),
        };
        std::fs::create_dir(machine.point()).expect("mkdir");
        run(machine
            .cryptfs(&["init", "--quiet", "--pbkdf2-iterations", "1000"])
            .args(kind)
            .arg(machine.volume()));
        machine
    }

    /// The volume.
    pub fn volume(&self) -> PathBuf {
        self.volume.clone()
    }

    fn point(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    /// A command of this machine's.
    pub fn cryptfs(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptfs"));
        command
            .args(arguments)
            .env("CRYPTFS_KEYSTORE", self.home.path().join("keystore"));
        command.stdin(Stdio::null());
        command
    }

    /// Where everything lies.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A new directory on the plain disk.
    pub fn plain(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir(&path).expect("mkdir");
        path
    }

    /// Mounts; gives the mount point.
    pub fn mount(&self) -> PathBuf {
        let mut command = self.cryptfs(&["mount"]);
        command.arg(self.volume()).arg(self.point());
        if let Some(options) = *self.options.borrow() {
            command.args(["-o", options]);
        }
        run(&mut command);
        self.point()
    }

    /// The same, so that devices and set-user-ID files work.
    pub fn mount_for_devices(&self) -> PathBuf {
        *self.options.borrow_mut() = Some("dev,suid");
        self.mount()
    }

    /// The same, so that other users may enter.
    pub fn mount_for_others(&self) -> PathBuf {
        *self.options.borrow_mut() = Some("allow_other,others_reach_ciphertext");
        self.mount()
    }

    /// Unmounts.
    pub fn umount(&self) {
        run(self.cryptfs(&["umount"]).arg(self.point()));
    }

    /// Kills the daemon that serves the mount: the process that was started with its path.
    pub fn kill_daemon(&self) {
        let point = self.point().into_os_string();
        let serves = |pid: &rustix::process::Pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = words.split(|byte| *byte == 0);
            words
                .next()
                .is_some_and(|program| program.ends_with(b"cryptfs"))
                && words.any(|word| word == point.as_encoded_bytes())
        };
        let numbers = std::fs::read_dir("/proc").expect("procfs");
        let names = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = names
            .filter_map(rustix::process::Pid::from_raw)
            .find(serves)
            .expect("a daemon");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }

    /// Unmounts and mounts again: nothing is left in any cache.
    pub fn remount(&self) {
        self.umount();
        self.mount();
    }
}

impl Drop for Machine {
    /// After a failed test.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut lazily = Command::new("umount");
            let _ = lazily
                .arg("-l")
                .arg(self.point())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// A small file system on a loop device, which can be lost. Root only.
pub struct Disk {
    home: TempDir,
    /// What the loop device reads and writes.
    medium: PathBuf,
}

impl Disk {
    /// A new ext4; `None`, and said so, where this machine cannot.
    pub fn new(bytes: u64) -> Option<Self> {
        Self::of(bytes, "mkfs.ext4", &["-q", "-m0"], "ext4")
    }

    /// A new btrfs, which has subvolumes.
    pub fn btrfs(bytes: u64) -> Option<Self> {
        Self::of(bytes, "mkfs.btrfs", &["-q"], "btrfs")
    }

    /// A new ext4 on a medium that has less space than it claims: what is written beyond that fails when the kernel writes it
    /// out, as on a disk that dies. So it does once [`Disk::wear_out`] was called.
    pub fn failing(bytes: u64, room: u64) -> Option<Self> {
        let how = ["-q", "-m0", "-O", "^has_journal"]; // whose failure would make it read-only
        Self::made(bytes, Some(room), ("mkfs.ext4", &how), "ext4")
    }

    /// A new exFAT, which has no holes; the kernel's or exfat-fuse.
    pub fn exfat(bytes: u64) -> Option<Self> {
        let kernel = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let kind = match kernel.contains("exfat") {
            true => "exfat",
            false => "exfat-fuse",
        };
        Self::of(bytes, "mkfs.exfat", &[], kind)
    }

    /// A new file system of any type.
    pub fn of(bytes: u64, mkfs: &str, how: &[&str], kind: &str) -> Option<Self> {
        Self::made(bytes, None, (mkfs, how), kind)
    }

    fn made(
        bytes: u64,
        room: Option<u64>,
        (mkfs, how): (&str, &[&str]),
        kind: &str,
    ) -> Option<Self> {
        if !needs::root("a disk of its own") || !needs::program(mkfs) {
            return None;
        }
        let home = tempfile::tempdir().expect("a directory");
        let below = home.path().join("below");
        std::fs::create_dir(&below).expect("mkdir");
        if let Some(room) = room {
            let size = format!("size={room}");
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(&below));
        }
        let medium = below.join("medium");
        let disk = Self { home, medium };
        let file = std::fs::File::create(&disk.medium).expect("create");
        file.set_len(bytes).expect("set the length");
        std::fs::create_dir(disk.path()).expect("mkdir");
        run(Command::new(mkfs).args(how).arg(&disk.medium));
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop", "-t", kind])
            .arg(&disk.medium)
            .arg(disk.path());
        let mounted = mount.stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(disk);
        }
        needs::say(&format!("no loop devices, or no {kind}"));
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    /// Changes how it is mounted: "ro", "rw".
    pub fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        run(Command::new("mount").args(["-o", &how]).arg(self.path()));
    }

    /// Uses up the space that the medium still has: see [`Disk::failing`].
    pub fn wear_out(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).expect("create");
        while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    }

    /// Gives it back.
    pub fn mend(&self) {
        std::fs::remove_file(self.ballast()).expect("remove");
    }

    fn ballast(&self) -> PathBuf {
        self.medium.with_file_name("ballast")
    }

    /// Takes the medium out: what is in no cache cannot be read any more, and nothing can be written.
    pub fn lose(&self) {
        let medium = std::fs::File::options().write(true).open(&self.medium);
        medium
            .and_then(|file| file.set_len(0))
            .expect("cut the medium");
        self.remount("abort");
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for place in [self.path(), self.home.path().join("below")] {
            let mut umount = Command::new("umount");
            let _ = umount.arg("-l").arg(place).stderr(Stdio::null()).status();
        }
    }
}
