//! Copying out without FUSE: every kind of entry with all its attributes, and damaged content up to the damage.
use super::Bench;
use cryptfs::codec::parse_json;
use cryptfs::fs::{Caller, FileSystem, OpenFlags, ROOT, SetAttr, SetTime, SetXattr, Time};
use cryptfs::recover::{How, directory};
use cryptfs::volume::{Keystore, Locked, Rollback};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who makes what is in it.
pub const CALLER: Caller = Caller {
    uid: 1234,
    gid: 567,
    umask: 0,
};

/// The volume's tree, without a mount.
pub fn open(bench: &Bench) -> cryptfs::directory::Directory {
    let keystore = Keystore::open(Some(&bench.path("keys"))).expect("a keystore");
    let locked = Locked::open(&bench.path("volume")).expect("a volume");
    let volume = locked
        .unlock_auto(&keystore, Rollback::Refuse)
        .expect("unlocked");
    directory(volume.into_opened().expect("keys"), false).expect("a tree")
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A file of 100 000 bytes, one with a hole, hard and symbolic links, a FIFO, odd names, attributes and old times.
fn fill(bench: &Bench) {
    let fs = open(bench);
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let dir = fs
        .mkdir(ROOT, OsStr::new("dir"), 0o750, &CALLER)
        .expect("mkdir")
        .node;
    let (file, handle) = fs
        .create(dir, OsStr::new("file"), 0o640, flags, &CALLER)
        .expect("create");
    fs.write(file.node, handle, 0, &content(100_000), false)
        .expect("write");
    fs.release(file.node, handle).expect("release");
    fs.setxattr(
        file.node,
        OsStr::new("user.note"),
        b"kept",
        SetXattr::Either,
    )
    .expect("xattr");
    fs.link(file.node, ROOT, OsStr::new("again")).expect("link");
    let (sparse, handle) = fs
        .create(
            ROOT,
            OsStr::from_bytes(b"sp\xff\x1barse"),
            0o600,
            flags,
            &CALLER,
        )
        .expect("create");
    fs.write(sparse.node, handle, 10_000_000, b"end", false)
        .expect("write");
    fs.release(sparse.node, handle).expect("release");
    fs.symlink(dir, OsStr::new("link"), OsStr::new("../nowhere"), &CALLER)
        .expect("symlink");
    fs.mknod(dir, OsStr::new("fifo"), 0o010_644, 0, &CALLER)
        .expect("mknod");
    let old = SetAttr {
        mtime: Some(SetTime::At(Time { sec: 1000, nsec: 5 })),
        ..SetAttr::default()
    };
    for node in [file.node, dir] {
        fs.setattr(node, &old).expect("setattr");
    }
    fs.close().expect("close");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn compare(out: &Path) {
    let file = out.join("dir/file");
    assert_eq!(std::fs::read(&file).expect("read"), content(100_000));
    let there = std::fs::metadata(&file).expect("stat");
    assert_eq!(
        (
            there.mode() & 0o7777,
            there.mtime(),
            there.mtime_nsec(),
            there.nlink()
        ),
        (0o640, 1000, 5, 2)
    );
    assert_eq!(
        there.ino(),
        std::fs::metadata(out.join("again")).expect("stat").ino()
    );
    if is_root() {
        assert_eq!((there.uid(), there.gid()), (1234, 567));
    }
    let dir = std::fs::metadata(out.join("dir")).expect("stat");
    assert_eq!(
        (dir.permissions().mode() & 0o7777, dir.mtime()),
        (0o750, 1000)
    );
    let sparse = out.join(OsStr::from_bytes(b"sp\xff\x1barse"));
    let bytes = std::fs::read(&sparse).expect("read");
    assert_eq!(
        (bytes.len(), &bytes[10_000_000..]),
        (10_000_003, &b"end"[..])
    );
    assert!(bytes[..10_000_000].iter().all(|&b| b == 0));
    assert!(
        std::fs::metadata(&sparse).expect("stat").blocks() < 1000,
        "the hole was filled"
    );
    let link = std::fs::read_link(out.join("dir/link")).expect("readlink");
    assert_eq!(link, PathBuf::from("../nowhere"));
    assert!(
        std::fs::metadata(out.join("dir/fifo"))
            .expect("stat")
            .file_type()
            .is_fifo()
    );
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&file, "user.note", &mut value[..]).expect("xattr");
    assert_eq!(&value[..length], b"kept");
}

#[test]
fn everything_comes_out_and_the_volume_is_not_written_to() {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    let before = bench.snapshot();
    let salvage = ["recover", "--salvage", "out", "volume"];
    bench.cryptfs(&salvage, &password).says(&["0 lost"]);
    compare(&bench.path("out"));
    bench
        .rescue(&["--salvage", "out2", "volume"], &password)
        .says(&["0 lost"]);
    compare(&bench.path("out2"));
    let inside = |name: &Path| name.starts_with(bench.path("volume"));
    let mut after = bench.snapshot();
    after.retain(|(name, _)| inside(name));
    let mut wanted = before;
    wanted.retain(|(name, _)| inside(name));
    assert!(after == wanted, "the volume was written to");
    bench
        .cryptfs(&salvage, &password)
        .fails(16, &["is not empty", "hint:"]);
    bench
        .cryptfs(&["recover", "--salvage", "volume/out", "volume"], &password)
        .fails(16, &["inside the volume", "hint:"]);
    assert!(!bench.path("volume/out").exists());
}

#[test]
fn an_interrupted_salvage_goes_on() {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    let salvage = [
        "recover",
        "--json",
        "--resume",
        "--salvage",
        "out",
        "volume",
    ];
    bench.cryptfs(&salvage, &password);
    std::fs::write(bench.path("out/dir/file"), b"half").expect("written");
    let said = bench.cryptfs(&salvage, &password);
    said.says(&[
        r#""path":"dir/fifo","verdict":"earlier""#,
        r#""path":"dir/file","verdict":"whole""#,
    ]);
    said.says(&[r#""path":"sp\\xff\\x1barse""#]);
    // The half-written copy was replaced, and its other name with it.
    assert_eq!(
        std::fs::read(bench.path("out/dir/file")).expect("read"),
        content(100_000)
    );
    assert_eq!(
        std::fs::read(bench.path("out/again")).expect("read"),
        content(100_000)
    );
}

#[test]
fn without_any_header_copy_a_kit_and_the_password_are_enough() {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    bench
        .cryptfs(&["kit", "volume", "kit"], "")
        .says(&["written"]);
    std::fs::remove_dir_all(bench.path("volume/.cryptfs")).expect("removed");
    std::fs::remove_file(bench.path("volume/cryptfs.volume")).expect("removed");
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    let salvage = ["--kit", "kit", "--salvage", "out", "volume"];
    bench.rescue(&salvage, &password).says(&["0 lost"]);
    compare(&bench.path("out"));
    assert!(!bench.path("volume/.cryptfs").exists());
}

/// The backing file of the one file of 100 000 bytes.
fn backing_file(bench: &Bench) -> PathBuf {
    let mut left = vec![bench.path("volume")];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir)
            .expect("readable")
            .map(|e| e.expect("an entry").path())
        {
            let there = std::fs::symlink_metadata(&entry).expect("stat");
            if there.is_dir() {
                left.push(entry);
            } else if (100_000..200_000).contains(&there.len()) {
                return entry;
            }
        }
    }
    panic!("no backing file");
}

#[test]
fn damage_costs_the_damaged_unit_and_is_named() {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    let path = backing_file(&bench);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[3 * 4096 + 100] ^= 1;
    bytes[10 * 4096 + 4095] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let said = bench.cryptfs(&["recover", "--salvage", "out", "volume"], &password);
    assert_eq!(said.code, 17, "{}{}", said.out, said.err);
    let range = |unit: usize| (unit * 4064 - 64, (unit + 1) * 4064 - 64);
    let (a, b) = (range(3), range(10));
    let wanted = format!("bytes lost: {}-{}, {}-{}", a.0, a.1 - 1, b.0, b.1 - 1);
    assert!(
        said.out.contains(&wanted),
        "no '{wanted}' in:\n{}",
        said.out
    );
    let mut good = content(100_000);
    good[a.0..a.1].fill(0);
    good[b.0..b.1].fill(0);
    assert!(std::fs::read(bench.path("out/dir/file")).expect("read") == good);
}

/// A volume with files, in one of which a bit of the fourth unit is wrong; and its recovery password.
fn with_a_flipped_bit() -> (Bench, String) {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    let path = backing_file(&bench);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[3 * 4096 + 100] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    (bench, password)
}

/// A copy with gaps had its times, and was not in the journal yet: the salvage that went on took it for whole. Here strace(1)
/// kills the first one before each of its writes in turn.
#[test]
fn cut_short_at_any_point_the_damage_is_told_when_it_goes_on() {
    if !crate::needs::program("strace") {
        return;
    }
    let (bench, password) = with_a_flipped_bit();
    let salvage = ["recover", "--resume", "--salvage", "out", "volume"];
    for cut in 1.. {
        let _ = std::fs::remove_dir_all(bench.path("out"));
        let inject = format!("inject=write:signal=KILL:when={cut}");
        let cryptfs = env!("CARGO_BIN_EXE_cryptfs");
        let words = ["-f", "-qq", "-o", "/dev/null", "-e", &inject, cryptfs];
        let strace = Path::new("/usr/bin/strace");
        let said = bench.run(strace, &[&words, &salvage[..]].concat(), &password);
        if said.code == 17 {
            assert!(cut > 1, "nothing to cut");
            return;
        }
        assert_eq!(said.code, -1, "cut {cut}: {}{}", said.out, said.err);
        let said = bench.cryptfs(&salvage, &password);
        assert_eq!(said.code, 17, "cut {cut}: {}{}", said.out, said.err);
        assert!(said.out.contains("bytes lost: 12128-16191"), "{}", said.out);
    }
}

/// XTS: a flipped bit garbles one cipher block, and the rest of its unit can still be read by whoever accepts that nobody
/// vouches for it.
#[test]
fn what_fails_its_check_can_be_had_unverified() {
    let (bench, password) = with_a_flipped_bit();
    let salvage = ["recover", "--unverified", "--salvage", "out", "volume"];
    let said = bench.cryptfs(&salvage, &password);
    assert_eq!(said.code, 17, "{}{}", said.out, said.err);
    assert!(said.out.contains("bytes lost"), "{}", said.out);
    let out = std::fs::read(bench.path("out/dir/file")).expect("read");
    let good = content(100_000);
    let wrong: Vec<_> = (0..good.len()).filter(|&i| out[i] != good[i]).collect();
    let block = 3 * 4064 - 64 + (100 - 32) / 16 * 16;
    assert!(
        !wrong.is_empty() && wrong.iter().all(|i| (block..block + 16).contains(i)),
        "{wrong:?}"
    );
}

/// fsck has found a directory without its name: everything in it still has one, and the files say what the directory was called.
#[test]
fn a_directory_from_lost_and_found_goes_back_to_its_place() {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    let volume = bench.path("volume");
    let stored = backing_file(&bench)
        .parent()
        .expect("a directory")
        .to_owned();
    std::fs::create_dir(volume.join("lost+found")).expect("made");
    let stored = match stored == volume {
        // The file's other name, at the root, was found first.
        true => std::fs::read_dir(&volume)
            .expect("readable")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.is_dir() && path.extension().is_some() && !path.ends_with(".cryptfs"))
            .expect("the directory"),
        false => stored,
    };
    std::fs::rename(stored, volume.join("lost+found/#4711")).expect("renamed");
    // Half a backup: the volume's own directory did not make it.
    bench
        .cryptfs(&["kit", "volume", "kit"], "")
        .says(&["written"]);
    std::fs::remove_dir_all(volume.join(".cryptfs")).expect("removed");
    std::fs::remove_file(volume.join("cryptfs.volume")).expect("removed");
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    let salvage = ["--json", "--kit", "kit", "--salvage", "out", "volume"];
    let said = bench.rescue(&salvage, &password);
    for (path, name) in [
        ("dir/file", "from content"),
        ("dir/fifo", "from content"),
        ("again", "kept"),
    ] {
        let line = said
            .out
            .lines()
            .find(|line| line.contains(&format!(r#""path":"{path}""#)));
        let line = line.unwrap_or_else(|| panic!("no {path} in:\n{}{}", said.out, said.err));
        assert!(line.contains(&format!(r#""name":"{name}""#)), "{line}");
    }
    compare(&bench.path("out"));
}

/// An image with 600 files in 5 directories, and what they hold.
fn image_of_files() -> (Bench, String, BTreeMap<String, Vec<u8>>) {
    let bench = Bench::empty();
    let said = bench.init(&["--image", "--size", "16M", "image"]);
    let keystore = Keystore::open(Some(&bench.path("keys"))).expect("a keystore");
    let locked = Locked::open(&bench.path("image")).expect("a volume");
    let volume = locked.unlock_auto(&keystore, Rollback::Refuse);
    let opened = volume.expect("unlocked").into_opened().expect("keys");
    let fs = cryptfs::recover::image(opened, &How::default()).expect("an image");
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let dirs: Vec<_> = (0..5)
        .map(|i| {
            let name = format!("directory {i}");
            let made = fs.mkdir(ROOT, OsStr::new(&name), 0o755, &CALLER);
            (made.expect("mkdir").node, name)
        })
        .collect();
    let mut files = BTreeMap::new();
    for i in 0..600 {
        let (dir, path) = &dirs[i % 5];
        let name = format!("file {i}");
        let mut bytes = content([100, 700, 3000, 9000, 20_000, 50][i % 6]);
        bytes.extend(name.as_bytes());
        let (file, handle) = fs
            .create(*dir, OsStr::new(&name), 0o644, flags, &CALLER)
            .expect("create");
        let written = fs.write(file.node, handle, 0, &bytes, false);
        written.expect("write");
        fs.release(file.node, handle).expect("release");
        files.insert(format!("{path}/{name}"), bytes);
    }
    fs.close().expect("close");
    (bench, said.field("Recovery password:"), files)
}

/// Salvages the image; the files of which the report says that they are not whole. All others are, byte by byte, and what is
/// there of those that lost ranges is right.
fn damaged_in_the_copy(
    bench: &Bench,
    password: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> Vec<String> {
    let _ = std::fs::remove_dir_all(bench.path("out"));
    let salvage = ["recover", "--json", "--salvage", "out", "image"];
    let said = bench.cryptfs(&salvage, password);
    let mut verdicts = BTreeMap::new();
    for line in said.out.lines() {
        let record = parse_json(line).expect("a line of JSON");
        crate::schema::check("salvage", &record);
        if let Some(path) = record["path"].as_str() {
            verdicts.insert(path.to_owned(), record);
        }
    }
    let mut damaged = Vec::new();
    for (path, bytes) in files {
        let Some(verdict) = verdicts.get(path) else {
            assert!(
                said.out.contains("pages of the tree cannot be read"),
                "no word of {path}"
            );
            damaged.push(path.clone());
            continue;
        };
        let mut wanted = bytes.clone();
        match verdict["verdict"].as_str().expect("a word") {
            "whole" => {}
            "lost" => {
                damaged.push(path.clone());
                continue;
            }
            _ => {
                damaged.push(path.clone());
                for range in verdict["detail"].as_array().expect("ranges") {
                    let [from, to] = [0, 1].map(|i| range[i].as_u64().expect("a number"));
                    wanted[from as usize..to as usize].fill(0);
                }
            }
        }
        let copied = std::fs::read(bench.path("out").join(path)).expect(path);
        assert!(copied == wanted, "{path}: {verdict}");
    }
    assert!(damaged.is_empty() || said.code == 17, "{}", said.err);
    damaged
}

/// Damage in an image costs what lies in it: content, or what a node of the tree held, which for the few nodes above the leaves
/// is much. A directory's leaf once took all the files in the directory along, none of which was named.
#[test]
fn a_damaged_image_comes_out_but_for_what_lay_in_the_damage() {
    let (bench, password, files) = image_of_files();
    assert!(damaged_in_the_copy(&bench, &password, &files).is_empty());
    let whole = std::fs::read(bench.path("image")).expect("read");
    let used: Vec<usize> = (0..whole.len() / 4096)
        .filter(|page| whole[page * 4096..][..4096] != [0; 4096])
        .collect();
    let (mut hit, mut above) = (0, 0);
    let middle = used[used.len() / 2];
    let pages = used.iter().step_by(used.len() / 40).map(|page| (*page, 1));
    for (page, count) in pages.chain([(middle, 16)]) {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + count) * 4096].fill(0xee);
        std::fs::write(bench.path("image"), bytes).expect("written");
        let damaged = damaged_in_the_copy(&bench, &password, &files);
        hit += usize::from(!damaged.is_empty());
        let leaf = 20; // files whose inodes are in it
        above += usize::from(damaged.len() > leaf * count);
    }
    assert!(hit > 20, "{hit}");
    assert!(above < 4, "{above}");
}

/// Recovery is for those who have no keystore: one that is open to others, or no directory, must not stop them.
#[test]
fn a_keystore_that_cannot_be_used_stops_no_recovery() {
    let (bench, password, _) = Bench::with_volume();
    fill(&bench);
    let keys = bench.path("keys");
    let spoil: [&dyn Fn(); 2] = [
        &|| std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o755)).expect("opened"),
        &|| {
            std::fs::remove_dir_all(&keys).expect("removed");
            std::fs::write(&keys, "no directory").expect("written");
        },
    ];
    for (round, spoil) in spoil.iter().enumerate() {
        spoil();
        let [first, second] = ["a", "b"].map(|name| format!("out {name}{round}"));
        for said in [
            bench.cryptfs(&["recover", "--salvage", &first, "volume"], &password),
            bench.rescue(&["--salvage", &second, "volume"], &password),
            bench.cryptfs(&["recover", "--verify", "volume"], &password),
            bench.rescue(&["--verify", "volume"], &password),
        ] {
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
            let warned = said.err.contains("going on without the keystore");
            assert!(warned, "{}", said.err);
        }
        compare(&bench.path(&first));
        compare(&bench.path(&second));
    }
}

/// A keystore on another disk, behind a link: whose the link is decides.
#[test]
fn a_keystore_may_be_a_link_of_the_right_user() {
    let (bench, password, _) = Bench::with_volume();
    std::fs::rename(bench.path("keys"), bench.path("elsewhere")).expect("moved");
    std::os::unix::fs::symlink("elsewhere", bench.path("keys")).expect("linked");
    bench.cryptfs(&["check", "volume"], "").says(&[]);
    let said = bench.cryptfs(&["recover", "volume"], &password);
    said.says(&["unlocks the volume by itself again"]);
    assert!(!said.err.contains("keystore:"), "{}", said.err);
    if crate::needs::root("a link of another user") {
        std::os::unix::fs::lchown(bench.path("keys"), Some(65534), Some(65534)).expect("owned");
        bench
            .cryptfs(&["check", "volume"], "")
            .fails(8, &["Not a directory"]);
    }
}
