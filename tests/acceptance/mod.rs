//! What a person is promised, through the real programs and a real mount: nothing leaks, lost header copies come back, and
//! what must be refused is refused with nothing changed. On a volume of each kind, by the same code.
mod copies;
mod identity;
mod leaks;
mod recover;
mod refusals;
mod umount;
mod unlocking;

use crate::needs;
use crate::transcripts::{Bench, Said};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a volume of each kind is made.
const DIRECTORY: &[&str] = &[];
const IMAGE: &[&str] = &["--image", "--size", "8M"];
/// Bytes of a header.
const HEADER: usize = 16384;
/// A recovery password of no volume here.
const OTHER: &str = "235818-357951-253979-013365-241120-245575-342914-591910";

/// A computer with a keystore, a volume that was in use, and an empty mount point.
struct Scene {
    bench: Bench,
    password: String,
    /// What `init` printed.
    sheet: Said,
    kind: &'static [&'static str],
}

/// Runs a test on a volume of each kind, if this machine can mount.
fn on_each_kind(test: impl Fn(&Scene)) {
    if needs::fuse() {
        [DIRECTORY, IMAGE].map(Scene::new).iter().for_each(test);
    }
}

impl Scene {
    fn new(kind: &'static [&'static str]) -> Self {
        let bench = Bench::empty();
        let sheet = bench.init(&[kind, &["volume"]].concat());
        assert_eq!(sheet.code, 0, "{}", sheet.err);
        let password = sheet.field("Recovery password:");
        fs::create_dir(bench.path("mount")).expect("mkdir");
        let scene = Self {
            bench,
            password,
            sheet,
            kind,
        };
        // What is said at each mount is soon overlooked.
        assert_eq!(scene.mount().err, "");
        fs::write(scene.point().join("letter"), "dear").expect("write");
        fs::create_dir(scene.point().join("papers")).expect("mkdir");
        scene.umount();
        scene
    }

    /// Another volume of the same kind.
    fn another(&self) -> Self {
        Self::new(self.kind)
    }

    fn is_image(&self) -> bool {
        self.kind == IMAGE
    }

    fn home(&self) -> PathBuf {
        self.bench.path("")
    }

    fn volume(&self) -> PathBuf {
        self.bench.path("volume")
    }

    fn point(&self) -> PathBuf {
        self.bench.path("mount")
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.bench.cryptfs(arguments, "")
    }

    /// `cryptfs mount volume mount`.
    fn try_mount(&self) -> Said {
        self.run(&["mount", "volume", "mount"])
    }

    fn mount(&self) -> Said {
        let said = self.try_mount();
        assert_eq!(said.code, 0, "{}", said.err);
        said
    }

    fn umount(&self) -> Said {
        let said = self.run(&["umount", "mount"]);
        assert_eq!(said.code, 0, "{}", said.err);
        said
    }

    /// Mounted, the letter can be read.
    fn holds_the_letter(&self) {
        let read = fs::read_to_string(self.point().join("letter"));
        assert_eq!(read.expect("the letter"), "dear");
    }

    /// What messages call the volume's own header copies; in a directory volume, where they are.
    fn copies(&self) -> [&'static str; 3] {
        match self.is_image() {
            true => ["at 0", "at 4 MiB", "at the end"],
            false => ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"],
        }
    }

    /// Where they are in an image.
    fn offset(copy: usize) -> usize {
        [0, 4 << 20, (8 << 20) - HEADER][copy]
    }

    /// A header copy's bytes.
    fn header(&self, copy: usize) -> Vec<u8> {
        if self.is_image() {
            return fs::read(self.volume()).expect("the image")[Self::offset(copy)..][..HEADER]
                .into();
        }
        fs::read(self.volume().join(self.copies()[copy])).unwrap_or_default()
    }

    fn headers(&self) -> [Vec<u8>; 3] {
        [0, 1, 2].map(|copy| self.header(copy))
    }

    /// Puts bytes in a copy's place. In an image a place cannot be shorter: what is missing is zeros.
    fn put_header(&self, copy: usize, bytes: &[u8]) {
        if !self.is_image() {
            return fs::write(self.volume().join(self.copies()[copy]), bytes).expect("write");
        }
        let mut bytes = bytes.to_vec();
        bytes.resize(HEADER, 0);
        let image = fs::File::options().write(true).open(self.volume());
        let written = image.and_then(|file| file.write_all_at(&bytes, Self::offset(copy) as u64));
        written.expect("write");
    }

    fn lose_header(&self, copy: usize) {
        match self.is_image() {
            true => self.put_header(copy, &[]),
            false => fs::remove_file(self.volume().join(self.copies()[copy])).expect("remove"),
        }
    }

    /// A daemon in the foreground, so that its end can be watched. Everything it says goes to `log`.
    fn mount_in_the_foreground(&self, log: &str) -> Child {
        let said = fs::File::create(self.bench.path(log)).expect("a log");
        let daemon = Command::new(env!("CARGO_BIN_EXE_cryptfs"))
            .args(["mount", "-f", "-o", "stats", "volume", "mount"])
            .current_dir(self.home())
            .env("CRYPTFS_KEYSTORE", self.bench.path("keys"))
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("dup"))
            .stderr(said)
            .spawn()
            .expect("cryptfs");
        soon("the mount is there", || is_mounted(&self.point()));
        daemon
    }

    /// A daemon in the background, with its log in `log`.
    fn mount_with_a_log(&self) -> Said {
        let log = self.bench.path("log");
        let options = format!("stats,log={}", log.to_str().expect("UTF-8"));
        let said = self.run(&["mount", "-o", &options, "volume", "mount"]);
        assert_eq!(said.code, 0, "{}", said.err);
        said
    }

    /// That daemon: its arguments name the log.
    fn daemon(&self) -> Pid {
        self.find_daemon().expect("a daemon")
    }

    fn find_daemon(&self) -> Option<Pid> {
        let home = self.home();
        let home = home.to_str().expect("UTF-8").trim_end_matches('/');
        let ours = |id: &i32| {
            let process = PathBuf::from(format!("/proc/{id}"));
            let name = fs::read(process.join("comm")).unwrap_or_default();
            let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
            name == b"cryptfs\n" && contains(&arguments, home.as_bytes())
        };
        let mut ids = fs::read_dir("/proc").expect("procfs").flatten();
        let found = ids.find_map(|entry| entry.file_name().to_str()?.parse().ok().filter(ours));
        found.and_then(Pid::from_raw)
    }
}

impl Drop for Scene {
    /// After a failed test.
    fn drop(&mut self) {
        if is_mounted(&self.point()) {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(self.point(), flags).is_err() {
                let mut fusermount = Command::new("fusermount3");
                let _ = fusermount.arg("-uz").arg(self.point()).status();
            }
        }
    }
}

fn is_mounted(point: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let point = point.to_str().expect("UTF-8");
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(point))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    contains_any(bytes, &[part]).is_some()
}

/// The first of some parts that is found; images are large, so all are looked for at once.
fn contains_any<'a, T: AsRef<[u8]>>(bytes: &[u8], parts: &'a [T]) -> Option<&'a T> {
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut starts = vec![false; 1 << 16];
    parts
        .iter()
        .for_each(|part| starts[start(part.as_ref())] = true);
    let places = bytes.windows(2).enumerate();
    let places = places.filter(|(_, two)| starts[start(two)]);
    places
        .map(|(at, _)| &bytes[at..])
        .find_map(|rest| parts.iter().find(|part| rest.starts_with(part.as_ref())))
}

#[track_caller]
fn soon(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(process: Pid, signal: Signal) {
    kill_process(process, signal).expect("kill");
}

/// An entry of a tree, with all that can be seen of it but its access time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    mtime: (i64, i64),
    /// A file's bytes or a link's target.
    bytes: Vec<u8>,
    attributes: Vec<(OsString, Vec<u8>)>,
}

/// Everything below a directory, itself included, in order; or a single file.
fn tree(top: &Path) -> Vec<Entry> {
    let mut found = vec![entry(top)];
    let mut left: Vec<_> = top.is_dir().then(|| top.to_owned()).into_iter().collect();
    while let Some(dir) = left.pop() {
        for child in fs::read_dir(dir).expect("a directory") {
            let child = entry(&child.expect("an entry").path());
            if child.mode & 0o170_000 == 0o040_000 {
                left.push(child.path.clone());
            }
            found.push(child);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn entry(path: &Path) -> Entry {
    let stat = fs::symlink_metadata(path).expect("stat");
    let bytes = if stat.is_file() {
        fs::read(path).expect("read")
    } else if stat.is_symlink() {
        fs::read_link(path)
            .expect("readlink")
            .into_os_string()
            .into_vec()
    } else {
        Vec::new()
    };
    Entry {
        path: path.to_owned(),
        mode: stat.mode(),
        owner: (stat.uid(), stat.gid()),
        size: stat.size(),
        mtime: (stat.mtime(), stat.mtime_nsec()),
        bytes,
        attributes: attributes(path),
    }
}

/// Extended attributes, a link's own too.
fn attributes(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut names = vec![0; 1 << 16];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else {
        return Vec::new();
    };
    let names = names[..length].split(|&b| b == 0).filter(|n| !n.is_empty());
    names
        .map(|name| {
            let name = OsString::from_vec(name.to_vec());
            let mut value = vec![0; 1 << 16];
            let read = rustix::fs::lgetxattr(path, name.as_os_str(), &mut value);
            value.truncate(read.expect("an attribute"));
            (name, value)
        })
        .collect()
}

/// The first entry that differs, in words.
fn difference(before: &[Entry], after: &[Entry]) -> Option<String> {
    if before == after {
        return None;
    }
    let names = |tree: &[Entry]| tree.iter().map(|e| e.path.clone()).collect::<Vec<_>>();
    if names(before) != names(after) {
        return Some(format!("{:?}\nbecame\n{:?}", names(before), names(after)));
    }
    let mut pairs = before.iter().zip(after);
    let (old, new) = pairs.find(|(old, new)| old != new)?;
    let brief = |e: &Entry| (e.mode, e.owner, e.size, e.mtime, e.attributes.len());
    let (old_brief, new_brief) = (brief(old), brief(new));
    Some(format!(
        "{}: {old_brief:?} became {new_brief:?}",
        old.path.display()
    ))
}
