//! Nothing that was put into a volume, and none of its secrets, is found outside: not on the backing store, in logs, in what
//! commands print, in the daemon's arguments or environment, or in a core dump.
use super::{Scene, contains, contains_any, is_mounted, on_each_kind, signal, tree};
use crate::needs;
use crate::transcripts::Said;
use rustix::process::Signal;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A string that is nowhere else, and the forms in which a careless program would store it.
struct Marker {
    text: String,
    forms: Vec<Vec<u8>>,
}

impl Marker {
    fn new(what: &str) -> Self {
        let drawn: [u8; 6] = cryptfs::crypto::random::bytes();
        let drawn: String = drawn.iter().map(|b| format!("{b:02x}")).collect();
        let text = format!("Marker-{what}-{drawn}");
        let forms = forms(text.as_bytes());
        Self { text, forms }
    }
}

/// Plain, in hexadecimal digits, and in base64 and base32 at each alignment.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![
        bytes.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
    ];
    for skip in 0..3 {
        let whole = (bytes.len() - skip) / 3 * 3;
        let part = &bytes[skip..skip + whole];
        forms.push(encoded(part, 6, BASE64));
        forms.push(encoded(part, 6, BASE64URL));
    }
    for skip in 0..5 {
        let whole = (bytes.len() - skip) / 5 * 5;
        forms.push(encoded(&bytes[skip..skip + whole], 5, BASE32HEX));
    }
    forms
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32HEX: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

fn encoded(bytes: &[u8], bits: u32, alphabet: &[u8]) -> Vec<u8> {
    let (mut out, mut held, mut have) = (Vec::new(), 0u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        have += 8;
        while have >= bits {
            have -= bits;
            out.push(alphabet[(held >> have) as usize & (alphabet.len() - 1)]);
        }
    }
    out
}

/// Everything that is looked through, with its name for the report.
#[derive(Default)]
struct Haystack(Vec<(String, Vec<u8>)>);

impl Haystack {
    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), bytes.into()));
    }

    fn add_said(&mut self, command: &str, said: &Said) {
        self.add(
            &format!("standard output of {command}"),
            said.out.as_bytes(),
        );
        self.add(&format!("standard error of {command}"), said.err.as_bytes());
    }

    /// Paths, contents, link targets and attributes below a directory.
    fn add_tree(&mut self, top: &Path) {
        for entry in tree(top) {
            let path = entry.path.strip_prefix(top).expect("below").to_owned();
            let name = path.display();
            self.add(&format!("path {name}"), path.as_os_str().as_bytes());
            self.add(&format!("bytes of {name}"), entry.bytes);
            for (attribute, value) in entry.attributes {
                self.add(&format!("attribute name at {name}"), attribute.as_bytes());
                self.add(&format!("attribute value at {name}"), value);
            }
        }
    }

    /// The daemon, as far as other processes can see it. Those of the same user see little: it is not dumpable.
    fn add_process(&mut self, id: i32) {
        for what in ["cmdline", "comm", "environ", "maps"] {
            match fs::read(format!("/proc/{id}/{what}")) {
                Ok(bytes) => self.add(&format!("/proc/PID/{what}"), bytes),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{what}");
                    assert!(["environ", "maps"].contains(&what), "{what}: {error}");
                    assert!(!rustix::process::geteuid().is_root());
                }
            }
        }
    }

    fn without(&self, forms: &[Vec<u8>], what: &str) {
        for (name, bytes) in &self.0 {
            let found = contains_any(bytes, forms);
            assert!(found.is_none(), "{what} found in {name}");
        }
    }
}

/// Marks everything that can be given a name or a content. Paths are gone through as people's programs do it.
fn plant(point: &Path) -> Vec<Marker> {
    let kinds = "content small name directory long attribute value target late";
    let markers: Vec<_> = kinds.split(' ').map(Marker::new).collect();
    let [
        content,
        small,
        name,
        dir,
        long,
        attribute,
        value,
        target,
        late,
    ] = &markers[..]
    else {
        unreachable!("nine kinds");
    };
    let dir = point.join(&dir.text);
    fs::create_dir(&dir).expect("mkdir");
    fs::write(dir.join("large"), content.text.repeat(10_000)).expect("write");
    fs::write(dir.join("small"), &small.text).expect("write");
    fs::write(dir.join(&name.text), "x").expect("write");
    let long = format!("{}{}", long.text, "l".repeat(255 - long.text.len()));
    fs::write(dir.join(long), "x").expect("write");
    let attribute = format!("user.{}", attribute.text);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("small"), attribute, value.text.as_bytes(), flags).expect("set");
    std::os::unix::fs::symlink(&target.text, dir.join("link")).expect("symlink");
    // Renamed and removed things leave nothing either.
    let before = dir.join(format!("{}-before", late.text));
    fs::write(&before, &late.text).expect("write");
    fs::rename(&before, dir.join(format!("{}-after", late.text))).expect("rename");
    fs::write(dir.join("gone"), late.text.repeat(1000)).expect("write");
    fs::remove_file(dir.join("gone")).expect("remove");
    fs::File::open(&dir)
        .and_then(|d| d.sync_all())
        .expect("sync");
    markers
}

#[test]
fn no_marker_is_found_outside_of_the_mount() {
    on_each_kind(|scene| {
        let mut hay = Haystack::default();
        let said = scene.mount_with_a_log();
        hay.add_said("mount", &said);
        let mut markers = plant(&scene.point());
        let daemon = scene.daemon();
        hay.add_process(daemon.as_raw_nonzero().get());
        hay.add_tree(&scene.volume()); // while it is mounted, too
        signal(daemon, Signal::USR1);
        hay.add_said("a second mount", &scene.try_mount());
        if scene.is_image() {
            let kept = Marker::new("snapshot");
            let create = ["snapshot", "create", "volume", &kept.text];
            assert_eq!(scene.run(&create).code, 0);
            assert_eq!(scene.run(&["backup", "volume", "copy"]).code, 0);
            hay.add("copy", fs::read(scene.bench.path("copy")).expect("copy"));
            markers.push(kept);
        }
        for command in [
            &["status", "volume"][..],
            &["status", "--json", "volume"],
            &["umount", "mount"],
            &["doctor", "volume"],
            &["check", "volume"],
            &["check", "--json", "volume"],
            &["key", "list", "volume"],
            &["kit", "volume", "kit"],
            &["header", "backup", "volume", "saved"],
            &["recovery-keys"],
        ] {
            let said = scene.run(command);
            assert_eq!(said.code, 0, "{command:?}: {}", said.err);
            hay.add_said(&format!("{command:?}"), &said);
        }
        errors_are_logged_without_names(scene, &mut hay);
        hay.add_tree(&scene.volume());
        hay.add_tree(&scene.bench.path("keys"));
        for file in ["log", "kit", "saved"] {
            hay.add(file, fs::read(scene.bench.path(file)).expect(file));
        }
        for marker in &markers {
            hay.without(&marker.forms, &marker.text);
        }
        // The search is able to find: the mount itself is full of them.
        scene.mount();
        let mut mounted = Haystack::default();
        mounted.add_tree(&scene.point());
        if scene.is_image() {
            mounted.add_said("snapshot list", &scene.run(&["snapshot", "list", "volume"]));
        }
        for marker in &markers {
            let found = mounted
                .0
                .iter()
                .any(|(_, bytes)| contains(bytes, marker.text.as_bytes()));
            assert!(found, "{} is not in the mount", marker.text);
        }
        scene.umount();
    });
}

/// Damage makes the daemon log; it may say what happened, not where in the tree.
fn errors_are_logged_without_names(scene: &Scene, hay: &mut Haystack) {
    let (victim, inside) = place_of_large(scene);
    let flip = || {
        let mut bytes = fs::read(&victim).expect("read");
        bytes[inside] ^= 1;
        fs::write(&victim, bytes).expect("write");
    };
    flip();
    let said = scene.mount_with_a_log();
    hay.add_said("mount", &said);
    let before = fs::read_to_string(scene.bench.path("log")).expect("log");
    let path = large(scene);
    let error = fs::read(path).expect_err("damaged");
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::IO.raw_os_error())
    );
    hay.add_said("umount", &scene.umount());
    let after = fs::read_to_string(scene.bench.path("log")).expect("log");
    let logged = &after[before.len()..];
    assert!(logged.contains("error: "), "nothing logged: {logged}");
    flip();
}

/// The large file of [`plant`], in the mount.
fn large(scene: &Scene) -> PathBuf {
    let dirs = fs::read_dir(scene.point()).expect("readdir").flatten();
    let mut paths = dirs.map(|entry| entry.path().join("large"));
    paths.find(|path| path.exists()).expect("the large file")
}

/// Where its content lies: a file of the volume and a place inside. In an image, the longest run of pages that change when
/// the file is written again.
fn place_of_large(scene: &Scene) -> (PathBuf, usize) {
    let stored = tree(&scene.volume());
    if !scene.is_image() {
        let large = stored.iter().find(|entry| entry.size > 100_000);
        return (large.expect("the large file").path.clone(), 50_000);
    }
    scene.mount();
    let content = fs::read(large(scene)).expect("read");
    fs::write(large(scene), content).expect("write");
    scene.umount();
    let now = fs::read(scene.volume()).expect("read");
    let pages = stored[0].bytes.chunks(4096).zip(now.chunks(4096));
    let (mut run, mut longest) = (0, (0, 0));
    for (page, (before, after)) in pages.enumerate() {
        run = if before == after { 0 } else { run + 1 };
        longest = longest.max((run, page));
    }
    (scene.volume(), (longest.1 - longest.0 / 2) * 4096)
}

/// A recovery password as it is typed and stored: grouped, without its dashes, and its 16 bytes.
fn password_forms(password: &str) -> Vec<Vec<u8>> {
    let groups: Vec<_> = password.split('-').collect();
    let number = |group: &&str| group.parse::<u32>().expect("digits") / 11;
    let bytes: Vec<u8> = groups
        .iter()
        .flat_map(|group| (number(group) as u16).to_le_bytes())
        .collect();
    let mut all = forms(&bytes);
    all.extend([password.into(), groups.concat().into_bytes()]);
    // Two groups side by side are no accident.
    all.extend(
        groups
            .windows(2)
            .flat_map(|pair| [pair.join("-").into(), pair.concat().into()]),
    );
    all
}

#[test]
fn the_secrets_are_only_where_they_belong() {
    on_each_kind(|scene| {
        let keyfile = fs::read(scene.bench.keyfile()).expect("the keyfile");
        let key = &keyfile[40..72];
        let mut secrets = password_forms(&scene.password);
        secrets.extend(forms(key));
        secrets.extend(forms(&key[..16]));
        let mut hay = Haystack::default();
        hay.add("standard error of init", scene.sheet.err.as_bytes());
        let said = scene.mount_with_a_log();
        hay.add_said("mount", &said);
        hay.add_process(scene.daemon().as_raw_nonzero().get());
        hay.add_said("umount", &scene.umount());
        let verify = scene
            .bench
            .cryptfs(&["recover", "--verify", "volume"], &scene.password);
        verify.says(&["opens volume"]);
        hay.add_said("recover --verify", &verify);
        let wrong = scene.password[..48].to_owned();
        hay.add_said(
            "a password that lacks digits",
            &scene.bench.cryptfs(&["recover", "volume"], &wrong),
        );
        for command in [
            &["status", "--json", "volume"][..],
            &["doctor", "volume"],
            &["key", "list", "--json", "volume"],
            &["kit", "volume", "kit"],
            &["header", "backup", "volume", "saved"],
            &["check", "volume"],
        ] {
            hay.add_said(&format!("{command:?}"), &scene.run(command));
        }
        // Where it belongs: shown on standard output, after the audit log.
        let shown = scene.run(&["recovery-keys"]);
        shown.says(&[&scene.password]);
        hay.add("standard error of recovery-keys", shown.err);
        let recovered = scene.bench.cryptfs(&["recover", "volume"], &scene.password);
        recovered.says(&["by itself again"]);
        hay.add_said("recover", &recovered);
        hay.add_tree(&scene.volume());
        for file in ["log", "kit", "saved"] {
            hay.add(file, fs::read(scene.bench.path(file)).expect(file));
        }
        // The keystore, without the keyfiles: the one above was replaced by `recover`.
        let new = fs::read(scene.bench.keyfile()).expect("the keyfile");
        assert!(new != keyfile);
        secrets.extend(forms(&new[40..72]));
        for entry in tree(&scene.bench.path("keys")) {
            if entry.path.extension().is_none_or(|e| e != "key") {
                hay.add(&format!("{}", entry.path.display()), entry.bytes);
            }
        }
        hay.without(&secrets, "a secret");
        let modes = tree(&scene.bench.path("keys"))
            .into_iter()
            .map(|e| e.mode & 0o7777);
        assert!(modes.into_iter().all(|mode| mode == 0o600 || mode == 0o700));
    });
}

/// RLIMIT_CORE alone would not do where cores go to a program; a process that is not dumpable has none either way.
#[test]
fn no_core_can_be_had() {
    on_each_kind(|scene| {
        let mut daemon = scene.mount_in_the_foreground("said");
        fs::write(scene.point().join("kept"), "synced").expect("write");
        fs::File::open(scene.point().join("kept"))
            .and_then(|f| f.sync_all())
            .expect("sync");
        let id = daemon.id();
        let limits = fs::read_to_string(format!("/proc/{id}/limits")).expect("limits");
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let words: Vec<_> = core.expect("a limit").split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"]);
        if !rustix::process::geteuid().is_root() {
            let memory = fs::File::open(format!("/proc/{id}/mem")).expect_err("not dumpable");
            assert_eq!(memory.kind(), std::io::ErrorKind::PermissionDenied);
        }
        signal(rustix::process::Pid::from_child(&daemon), Signal::ABORT);
        let end = daemon.wait().expect("wait");
        assert_eq!(end.signal(), Some(Signal::ABORT.as_raw()));
        assert!(!end.core_dumped(), "the kernel wrote a core");
        assert_eq!(cores(&scene.home()), Vec::<PathBuf>::new());
        // A program that does allow it, ended in the same way in the same place: could a core have been had at all?
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -c unlimited && kill -ABRT $$"]);
        let end = shell.current_dir(scene.home()).status().expect("sh");
        if !end.core_dumped() {
            needs::say("this machine writes no core of any program, so none was to be expected");
        }
        // What was synced is there after the crash, and the dead mount is no obstacle.
        assert!(is_mounted(&scene.point()));
        scene.mount();
        scene.holds_the_letter();
        assert_eq!(
            fs::read_to_string(scene.point().join("kept")).expect("read"),
            "synced"
        );
        scene.umount();
    });
}

/// Not into the mount, which is dead.
fn cores(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_bytes().starts_with(b"core"))
        })
        .collect()
}
