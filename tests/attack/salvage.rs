//! Salvage by root: of a volume that someone else could write to, to a place where someone else can.
use crate::needs;
use crate::transcripts::Bench;
use cryptfs::fs::{Caller, FileSystem, NodeId, OpenFlags, ROOT, SetXattr};
use cryptfs::recover::{How, file_system};
use cryptfs::volume::{Keystore, Locked, Rollback};
use rustix::fs::{Mode, OFlags, openat};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const USER: u32 = 65534;
const CALLER: Caller = Caller {
    uid: USER,
    gid: USER,
    umask: 0,
};

/// A volume of each kind, and its recovery password.
fn volumes() -> [(Bench, String); 2] {
    let image = &["--image", "--size", "32M", "volume"][..];
    [&["volume"][..], image].map(|how| {
        let bench = Bench::empty();
        let said = bench.init(how);
        (bench, said.field("Recovery password:"))
    })
}

fn tree(bench: &Bench) -> Arc<dyn FileSystem> {
    let keystore = Keystore::open(Some(&bench.path("keys"))).expect("a keystore");
    let locked = Locked::open(&bench.path("volume")).expect("a volume");
    let volume = locked.unlock_auto(&keystore, Rollback::Refuse);
    let opened = volume.expect("unlocked").into_opened().expect("keys");
    file_system(opened, &How::default()).expect("a tree")
}

fn make(fs: &dyn FileSystem, dir: NodeId, name: &str, mode: u32, content: &[u8]) -> NodeId {
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let (file, handle) = fs
        .create(dir, OsStr::new(name), mode, flags, &CALLER)
        .expect("created");
    let written = fs.write(file.node, handle, 0, content, false);
    written.expect("written");
    fs.release(file.node, handle).expect("released");
    file.node
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const SALVAGE: [&str; 4] = ["recover", "--salvage", "out", "volume"];

/// Its owner could exchange what root has just written by a link to a file of root's.
#[test]
fn root_takes_no_destination_that_others_can_write_to() {
    if !needs::root("a destination of someone else") {
        return;
    }
    let (bench, password, _) = Bench::with_volume();
    let out = bench.path("out");
    std::fs::create_dir(&out).expect("made");
    for (owner, mode) in [(USER, 0o755), (0, 0o777), (0, 0o775)] {
        chown(&out, Some(owner), Some(USER)).expect("given away");
        std::fs::set_permissions(&out, PermissionsExt::from_mode(mode)).expect("mode");
        bench
            .cryptfs(&SALVAGE, &password)
            .fails(16, &["others can exchange", "hint: name a directory"]);
        assert_eq!(std::fs::read_dir(&out).expect("a directory").count(), 0);
    }
    // The hint's other way.
    let elsewhere = ["recover", "--salvage", "elsewhere", "volume"];
    bench.cryptfs(&elsewhere, &password).says(&["0 lost"]);
}

/// A link of someone else to a directory of root's: what lies there is no earlier salvage.
#[test]
fn only_an_earlier_salvage_is_gone_on_with() {
    let (bench, password, _) = Bench::with_volume();
    std::fs::create_dir(bench.path("etc")).expect("made");
    std::fs::write(bench.path("etc/passwd"), "root").expect("written");
    std::os::unix::fs::symlink("etc", bench.path("out")).expect("linked");
    let resume = ["recover", "--resume", "--salvage", "out", "volume"];
    bench
        .cryptfs(&resume, &password)
        .fails(16, &["holds no earlier salvage", "hint:"]);
    assert_eq!(
        std::fs::read(bench.path("etc/passwd")).expect("read"),
        b"root"
    );
}

/// The directories of an earlier salvage belong to users by now, who could exchange names in them.
#[test]
fn a_salvage_that_goes_on_takes_directories_back_while_it_works() {
    if !needs::root("files of several users") {
        return;
    }
    let [_, (bench, password)] = volumes();
    let fs = tree(&bench);
    let dir = fs
        .mkdir(ROOT, OsStr::new("dir"), 0o755, &CALLER)
        .expect("made");
    for number in 0..400 {
        make(
            &*fs,
            dir.node,
            &format!("a file with a longer name {number}"),
            0o644,
            b"x",
        );
    }
    fs.close().expect("closed");
    bench.cryptfs(&SALVAGE, &password).says(&["0 lost"]);
    let dir = bench.path("out/dir");
    let owner = || std::fs::metadata(&dir).expect("a directory").uid();
    assert_eq!(owner(), USER);
    // Its report is not read at first: it stops in the middle of the directory.
    let mut child = Command::new(env!("CARGO_BIN_EXE_cryptfs"))
        .args([
            "recover",
            "--resume",
            "--json",
            "--salvage",
            "out",
            "volume",
        ])
        .current_dir(bench.path(""))
        .env("CRYPTFS_KEYSTORE", bench.path("keys"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut report = child.stdout.take().expect("piped");
    rustix::pipe::fcntl_setpipe_size(&report, 4096).expect("a small pipe");
    until("root has the directory", || owner() == 0);
    let mode = std::fs::metadata(&dir).expect("a directory").mode();
    assert_eq!(mode & 0o7777, 0o700);
    let mut text = String::new();
    report.read_to_string(&mut text).expect("read");
    assert!(child.wait().expect("ended").success(), "{text}");
    assert_eq!(owner(), USER);
}

/// Nobody has authenticated the metadata of a directory volume, and an image's may have been written by the user who asks
/// root for help.
#[test]
fn what_gives_power_is_left_out_until_it_is_asked_for() {
    if !needs::root("device nodes") {
        return;
    }
    for (bench, password) in volumes() {
        let fs = tree(&bench);
        let shell = make(&*fs, ROOT, "shell", 0o6755, b"#!");
        let xattr = |node, name: &str| {
            fs.setxattr(node, OsStr::new(name), b"x", SetXattr::Either)
                .expect("set");
        };
        xattr(shell, "trusted.power");
        xattr(shell, "user.note");
        fs.mknod(ROOT, OsStr::new("disk"), 0o060_666, 7 << 8, &CALLER)
            .expect("made");
        fs.mknod(ROOT, OsStr::new("whiteout"), 0o020_666, 0, &CALLER)
            .expect("made");
        fs.close().expect("closed");

        let said = bench.cryptfs(&SALVAGE, &password);
        said.fails(17, &["--privileges"]);
        for text in [
            "disk: lost: left out: device node",
            "left out: set-user-ID bit",
        ] {
            assert!(said.out.contains(text), "no '{text}' in:\n{}", said.out);
        }
        let out = bench.path("out");
        let mode = || std::fs::metadata(out.join("shell")).expect("stat").mode() & 0o7777;
        let has = |name: &str| rustix::fs::getxattr(out.join("shell"), name, &mut [0; 9][..]);
        assert_eq!(mode(), 0o755);
        assert!(has("trusted.power").is_err() && has("user.note").is_ok());
        assert!(!out.join("disk").exists() && out.join("whiteout").exists());

        let hint = said.err.split("could write to the volume: cryptfs ").nth(1);
        let hint: Vec<&str> = hint.expect("a hint").split_whitespace().collect();
        bench
            .cryptfs(&hint, &password)
            .says(&["0 with attributes lost, 0 lost"]);
        assert_eq!(mode(), 0o6755);
        assert!(has("trusted.power").is_ok());
        let disk = std::fs::metadata(out.join("disk")).expect("a device");
        assert!(disk.file_type().is_block_device());
    }
}

/// The backing files of at least so many bytes get a bit flipped in their fourth unit.
fn damage(dir: &Path, size: u64) {
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let there = std::fs::symlink_metadata(&path).expect("stat");
        if there.is_dir() {
            damage(&path, size);
        } else if there.len() >= size {
            let mut bytes = std::fs::read(&path).expect("read");
            bytes[3 * 4096 + 100] ^= 1;
            std::fs::write(&path, bytes).expect("written");
        }
    }
}

/// It took the journal's place, and a second run called a file with lost ranges whole.
#[test]
fn a_file_called_like_the_journal_is_not_believed() {
    const NAME: &str = "cryptfs-salvage.json";
    for (bench, password) in volumes() {
        let fs = tree(&bench);
        make(&*fs, ROOT, NAME, 0o644, b"{}");
        make(&*fs, ROOT, "big", 0o644, &[7; 100_000]);
        fs.close().expect("closed");
        let is_directory = bench.path("volume").is_dir();
        if is_directory {
            damage(&bench.path("volume"), 100_000);
        }
        let resume = ["recover", "--resume", "--salvage", "out", "volume"];
        for how in [&SALVAGE[..], &resume] {
            let said = bench.cryptfs(how, &password);
            if is_directory {
                assert_eq!(said.code, 17, "{}{}", said.out, said.err);
                assert!(said.out.contains("big: bytes lost"), "{}", said.out);
                let journal = std::fs::read_to_string(bench.path("out").join(NAME));
                assert!(journal.expect("a journal").contains("\"big\""));
            }
            let file = bench.path("out").join(format!("{NAME}+"));
            assert_eq!(std::fs::read(file).expect("the file"), b"{}");
        }
    }
}

/// A descriptor for each level is more than a process may have open, and the path is longer than a system call takes.
#[test]
fn a_tree_deeper_than_descriptors_and_paths_comes_out() {
    const DEPTH: usize = 1200;
    if !needs::program("prlimit") {
        return;
    }
    for (bench, password) in volumes() {
        let fs = tree(&bench);
        let mut dir = ROOT;
        for level in 0..DEPTH {
            let name = format!("{:04}", level);
            dir = fs
                .mkdir(dir, OsStr::new(&name), 0o755, &CALLER)
                .expect("made")
                .node;
        }
        make(&*fs, dir, "bottom", 0o644, b"found");
        fs.close().expect("closed");
        let few = ["--nofile=256:256", env!("CARGO_BIN_EXE_cryptfs")];
        let salvage = [&few[..], &SALVAGE].concat();
        let said = bench.run(Path::new("/usr/bin/prlimit"), &salvage, &password);
        said.says(&[&format!("{} whole, ", DEPTH + 2)]);
        let mut at = rustix::fs::open(bench.path("out"), OFlags::DIRECTORY, Mode::empty());
        for level in 0..DEPTH {
            let above = at.expect("a directory");
            at = openat(
                &above,
                format!("{level:04}"),
                OFlags::DIRECTORY,
                Mode::empty(),
            );
        }
        let at = at.expect("the deepest");
        let file = openat(at.as_fd(), "bottom", OFlags::RDONLY, Mode::empty());
        let mut text = String::new();
        std::fs::File::from(file.expect("the file"))
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "found");
        // The standard library opens a descriptor for each level.
        let mut remove = Command::new("rm");
        remove
            .arg("-rf")
            .args(["out", "volume"].map(|name| bench.path(name)));
        assert!(remove.status().expect("rm").success());
    }
}
