//! `cryptfs check`: a finding for every damage, at its place, and what a repair did about it.
use super::Bench;
use super::salvage::{CALLER, open};
use cryptfs::fs::{FileSystem, NodeId, OpenFlags, ROOT, SetXattr};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Files of 20000 bytes, a file with a long name, two directories and a link; their backing paths.
fn fill(bench: &Bench) -> BTreeMap<&'static str, PathBuf> {
    let tree = open(bench);
    let mut inos = BTreeMap::new();
    let mut file = |parent: NodeId, name: &str, known: &'static str| {
        let flags = OpenFlags {
            write: true,
            ..OpenFlags::default()
        };
        let made = tree.create(parent, OsStr::new(name), 0o644, flags, &CALLER);
        let (entry, handle) = made.expect("create");
        let written = tree.write(entry.node, handle, 0, &[7; 20_000], false);
        written.expect("write");
        tree.release(entry.node, handle).expect("release");
        inos.insert(entry.attr.ino, known);
        entry.node
    };
    for name in ["flipped", "zeroed", "cut", "beheaded", "moved", "good"] {
        file(ROOT, name, name);
    }
    let long = "n".repeat(200);
    file(ROOT, &long, "long");
    let dir = |name| {
        let made = tree.mkdir(ROOT, OsStr::new(name), 0o755, &CALLER);
        made.expect("mkdir")
    };
    let (dir, swapped) = (dir("dir"), dir("swapped"));
    let below = file(dir.node, "below", "below");
    let set = tree.setxattr(below, OsStr::new("user.a"), b"value", SetXattr::Either);
    set.expect("setxattr");
    let link = tree.symlink(ROOT, OsStr::new("link"), OsStr::new("to"), &CALLER);
    inos.extend([
        (dir.attr.ino, "dir"),
        (swapped.attr.ino, "swapped"),
        (link.expect("symlink").attr.ino, "link"),
    ]);
    tree.close().expect("close");
    let mut found = BTreeMap::new();
    let mut left = vec![bench.path("volume")];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).expect("readdir").flatten() {
            let stat = entry.metadata().expect("stat");
            if stat.is_dir() {
                left.push(entry.path());
            }
            if let Some(name) = inos.get(&stat.ino()) {
                found.insert(*name, entry.path());
            }
        }
    }
    found
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("open");
    file.write_all_at(bytes, at).expect("write");
}

/// One of each row of the damage matrix. What is said of it, and what a repair says that it did.
fn damage(bench: &Bench) -> Vec<(&'static str, Option<&'static str>)> {
    const ASIDE: Option<&str> = Some("put aside in .cryptfs/lost+found");
    let at = fill(bench);
    overwrite(&at["flipped"], 9000, b"XXXX");
    overwrite(&at["zeroed"], 2 * 4096, &[0; 4096]);
    overwrite(&at["beheaded"], 100, b"X");
    let cut = File::options().write(true).open(&at["cut"]).expect("open");
    cut.set_len(3 * 4096).expect("cut");
    let inside = |name: &str| at["dir"].join(at[name].file_name().expect("a name"));
    fs::rename(&at["moved"], inside("moved")).expect("move");
    let side = format!("{}+", at["long"].display());
    fs::remove_file(side).expect("remove the side file");
    let mut name = at["swapped"].clone().into_os_string();
    name.push("A");
    fs::rename(&at["swapped"], name).expect("change the id");
    fs::remove_file(&at["link"]).expect("remove");
    symlink("AAAA", &at["link"]).expect("another target");
    fs::write(bench.path("volume/stray.txt"), "x").expect("write");
    let list = std::process::Command::new("setfattr")
        .args(["-n", "user.cryptfs.AAAAAAAAAAAAAAAAAAAAAA", "-v", "bad"])
        .arg(&at["below"])
        .status();
    let attribute = list.is_ok_and(|status| status.success());
    fs::write(bench.path("volume/.cryptfs/header.1"), "bad").expect("write");
    let mut rows = vec![
        ("header copy .cryptfs/header.1: 3 bytes", Some("put right")),
        ("/flipped: bytes 8064 to 12128: authentication failed", None),
        ("/zeroed: bytes 8064 to 12128: missing", None),
        ("/beheaded: file does not open", None),
        (
            "/cut: file does not open: length differs",
            Some("length put right"),
        ),
        ("/dir: name ", ASIDE),
        ("volume: name ~", ASIDE),
        ("/link: link target: malformed", None),
        ("volume: stray.txt is not cryptfs's", ASIDE),
    ];
    if attribute {
        rows.push((
            "/dir/below: extended attribute: authentication failed",
            None,
        ));
    }
    rows
}

#[test]
fn every_damage_is_found_and_what_has_no_name_is_put_aside() {
    let (bench, _, _) = Bench::with_volume();
    let rows = damage(&bench);
    let said = bench.cryptfs(&["check", "volume"], "");
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    for (row, _) in &rows {
        assert!(said.out.contains(row), "no '{row}' in:\n{}", said.out);
    }
    assert!(!said.out.contains("/good"), "{}", said.out);
    assert!(said.err.contains("check --repair"), "{}", said.err);
    let files = bench.snapshot().len();

    let said = bench.cryptfs(&["check", "--repair", "volume"], "");
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    assert!(said.err.contains("--salvage"), "{}", said.err);
    for (row, repaired) in &rows {
        let line = said.out.lines().find(|line| line.contains(row));
        let line = line.unwrap_or_else(|| panic!("no '{row}' in:\n{}", said.out));
        match repaired {
            Some(how) => assert!(line.ends_with(&format!(" ({how})")), "{line}"),
            None => assert!(
                !line.contains("(put ") && !line.contains("put right"),
                "{line}"
            ),
        }
    }
    assert_eq!(bench.snapshot().len(), files, "a file came or went");
    let aside: Vec<_> = fs::read_dir(bench.path("volume/.cryptfs/lost+found"))
        .expect("what was put aside")
        .collect();
    assert_eq!(aside.len(), 4);

    // What was put aside may be removed; what is left is content that no repair brings back.
    fs::remove_dir_all(bench.path("volume/.cryptfs/lost+found")).expect("remove");
    let said = bench.cryptfs(&["check", "volume"], "");
    assert_eq!(said.code, 4);
    for (row, repaired) in &rows {
        assert_eq!(
            said.out.contains(row),
            repaired.is_none(),
            "{row}:\n{}",
            said.out
        );
    }
}

/// Put aside, it made the service think that the folder is not one of its own any more.
#[test]
fn what_a_synchronisation_service_keeps_for_itself_stays() {
    let (bench, _, _) = Bench::with_volume();
    let marker = bench.path("volume/.stfolder");
    std::fs::create_dir(&marker).expect("mkdir");
    std::fs::write(bench.path("volume/.stignore"), "(?d).DS_Store").expect("write");
    bench
        .cryptfs(&["check", "volume"], "")
        .says(&["0 findings"]);
    bench
        .cryptfs(&["check", "--repair", "volume"], "")
        .says(&["0 findings"]);
    assert!(marker.is_dir());
    std::fs::write(bench.path("volume/stray"), "x").expect("write");
    let said = bench.cryptfs(&["check", "--repair", "volume"], "");
    assert!(said.out.contains("stray"), "{}", said.out);
}
