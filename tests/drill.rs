//! The drill: a volume of 5 000 files, and one disaster after the other. What comes back is compared byte by byte.
use crate::transcripts::terminal::at_a_terminal;
use crate::transcripts::{Bench, Said};
use cryptfs::codec::{Json, parse_json};
use cryptfs::directory::layout;
use cryptfs::directory::unit::{PAYLOAD, UNIT};
use cryptfs::fs::{Caller, FileSystem, NodeId, OpenFlags, ROOT};
use cryptfs::recover::directory;
use cryptfs::volume::{Keystore, Locked, Rollback};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FILES: usize = 5000;
const COPIES: [&str; 3] = ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"];

type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// A generator whose sequence a failing run can be told by (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn content(dice: &mut Dice) -> Vec<u8> {
    let length = match dice.roll(50) {
        0 => 0,
        1..40 => dice.roll(6000),
        40..49 => dice.roll(40_000),
        _ => dice.roll(400_000),
    };
    let seed = dice.roll(251);
    (0..length)
        .map(|i| (i * 31 + i / 253 + seed) as u8)
        .collect()
}

/// Fills the volume by way of its file system: 5 000 files in 61 directories, four deep.
fn fill(bench: &Bench) -> Tree {
    let fs = open(bench);
    let caller = Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0,
    };
    let mut dirs: Vec<(NodeId, PathBuf)> = vec![(ROOT, PathBuf::new())];
    for i in 1..=60 {
        let (above, path) = dirs[i / 4].clone();
        let name = OsString::from(format!("directory {i}"));
        let made = fs.mkdir(above, &name, 0o755, &caller).expect("mkdir");
        dirs.push((made.node, path.join(&name)));
    }
    let mut dice = Dice(1);
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let mut tree = Tree::new();
    for i in 0..FILES {
        let (dir, path) = &dirs[i % dirs.len()];
        // Some names are so long that they have a side file.
        let long = if i % 97 == 0 { 200 } else { 0 };
        let name = OsString::from(format!("file {i}{}", "x".repeat(long)));
        let bytes = content(&mut dice);
        let (file, handle) = fs
            .create(*dir, &name, 0o644, flags, &caller)
            .expect("create");
        fs.write(file.node, handle, 0, &bytes, false)
            .expect("write");
        fs.release(file.node, handle).expect("release");
        fs.forget(file.node, 1);
        tree.insert(path.join(&name), bytes);
    }
    fs.close().expect("close");
    tree
}

fn open(bench: &Bench) -> cryptfs::directory::Directory {
    let keystore = Keystore::open(Some(&bench.path("keys"))).expect("a keystore");
    let locked = Locked::open(&bench.path("volume")).expect("a volume");
    let volume = locked
        .unlock_auto(&keystore, Rollback::Refuse)
        .expect("unlocked");
    directory(volume.into_opened().expect("keys"), false).expect("a tree")
}

/// Every file below, by its path.
fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    for path in files(root) {
        let name = path.strip_prefix(root).expect("below").to_owned();
        if name != Path::new("cryptfs-salvage.json") {
            tree.insert(name, std::fs::read(&path).expect("read"));
        }
    }
    tree
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir)
            .expect("readable")
            .map(|e| e.expect("an entry").path())
        {
            match entry.is_dir() {
                true => left.push(entry),
                false => found.push(entry),
            }
        }
    }
    found.sort();
    found
}

/// The volume's backing files, without cryptfs's own.
fn backing(volume: &Path) -> Vec<PathBuf> {
    let mut found = files(volume);
    let own = |path: &PathBuf| {
        path.starts_with(volume.join(".cryptfs")) || path.ends_with("cryptfs.volume")
    };
    found.retain(|path| !own(path) && !path.to_string_lossy().ends_with('+'));
    found
}

fn destroy(bench: &Bench, copies: &[&str]) {
    for (i, copy) in copies.iter().enumerate() {
        let path = bench.path("volume").join(copy);
        match i % 2 {
            0 => std::fs::write(path, [0x5a; 16384]).expect("written"),
            _ => std::fs::remove_file(path).expect("removed"),
        }
    }
}

/// Salvages into `to`; the verdicts by path, and the summary.
fn salvage(
    bench: &Bench,
    to: &str,
    more: &[&str],
    password: &str,
) -> (Said, HashMap<String, Json>, Json) {
    let all = [&["recover", "--json", "--salvage", to], more, &["volume"]].concat();
    let said = bench.cryptfs(&all, password);
    let mut verdicts = HashMap::new();
    let mut summary = Json::Null;
    for line in said.out.lines() {
        let record = parse_json(line).expect("a line of JSON");
        crate::schema::check("salvage", &record);
        match record.get("summary") {
            Some(found) => summary = found.clone(),
            None => {
                let path = record["path"].as_str().expect("a path").to_owned();
                verdicts.insert(path, record);
            }
        }
    }
    (said, verdicts, summary)
}

/// The volume as it was, for the next disaster.
fn restore(bench: &Bench) {
    let copied = std::process::Command::new("cp")
        .args(["-a", "--sparse=always"])
        .args([bench.path("whole").join("."), bench.path("volume")])
        .status();
    let _ = std::fs::create_dir(bench.path("volume"));
    assert!(copied.expect("cp runs").success());
}

fn set_aside(bench: &Bench) {
    std::fs::rename(bench.path("volume"), bench.path("whole")).expect("renamed");
    std::fs::create_dir(bench.path("volume")).expect("made");
    restore(bench);
}

fn again(bench: &Bench) {
    std::fs::remove_dir_all(bench.path("volume")).expect("removed");
    std::fs::create_dir(bench.path("volume")).expect("made");
    restore(bench);
}

#[test]
fn every_disaster_has_a_way_back() {
    let (bench, password, id) = Bench::with_volume();
    let tree = fill(&bench);
    assert_eq!(bench.cryptfs(&["kit", "volume", "kit"], "").code, 0);

    keys_are_lost(&bench, &password);
    headers_are_lost(&bench, &password);
    let password = the_password_is_replaced(&bench, &password, &id);
    the_computer_is_replaced(&bench, &password);
    bench
        .cryptfs(&["check", "volume"], "")
        .says(&["0 findings"]);

    set_aside(&bench);
    let (said, _, _) = salvage(&bench, "whole-out", &[], &password);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        read(&bench.path("whole-out")) == tree,
        "a scan of an intact volume gives the same"
    );
    progress_is_shown(&bench);
    units_are_flipped(&bench, &password, &tree);
    again(&bench);
    names_are_scrambled(&bench, &password, &tree);
    again(&bench);
    half_is_missing(&bench, &password, &tree);
    again(&bench);
    files_are_cut(&bench, &password, &tree);
}

fn keys_are_lost(bench: &Bench, password: &str) {
    std::fs::remove_file(bench.keyfile()).expect("removed");
    bench
        .cryptfs(&["check", "volume"], "")
        .fails(11, &["no keyfile", "cryptfs recover"]);
    bench
        .cryptfs(&["recover", "volume"], password)
        .says(&["by itself again"]);
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    bench
        .cryptfs(&["recover", "volume"], password)
        .says(&["by itself again"]);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["ok      unlock"]);
}

fn headers_are_lost(bench: &Bench, password: &str) {
    for lost in 1..7 {
        let copies: Vec<_> = (0..3)
            .filter(|i| lost >> i & 1 == 1)
            .map(|i| COPIES[i])
            .collect();
        destroy(bench, &copies);
        let said = bench.cryptfs(&["status", "--check", "volume"], "");
        assert_eq!(said.code, 4, "{}", said.out);
        bench.cryptfs(&["check", "--repair", "volume"], "");
        bench
            .cryptfs(&["status", "volume"], "")
            .says(&["3 of 3 good"]);
    }
    destroy(bench, &COPIES);
    bench
        .cryptfs(&["recover", "volume"], password)
        .says(&["header copy repaired"]);
    destroy(bench, &COPIES);
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    bench
        .cryptfs(&["recover", "volume"], password)
        .fails(12, &["no copy"]);
    bench
        .cryptfs(&["recover", "--kit", "kit", "volume"], password)
        .says(&["header copy repaired"]);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["3 of 3 good", "Automatic Unlock:   Enabled"]);
}

fn the_password_is_replaced(bench: &Bench, old: &str, id: &str) -> String {
    let rotate = ["key", "rotate", "--pbkdf2-iterations", "1000", "volume"];
    let said = bench.cryptfs(&rotate, "");
    assert_eq!(said.field("Replaces:"), id);
    let new = said.field("Recovery password:");
    bench
        .cryptfs(&["key", "rotate", "--finish", "volume"], &new)
        .says(&["is proven"]);
    for verify in [
        &["recover", "--verify", "volume"][..],
        &["recover", "volume"],
    ] {
        bench
            .cryptfs(verify, old)
            .fails(10, &["does not open the volume"]);
    }
    let salvage = ["--salvage", "old-out", "volume"];
    bench.rescue(&salvage, old).fails(10, &["does not open"]);
    assert!(!bench.path("old-out").exists());
    bench
        .cryptfs(&["recover", "--verify", "volume"], &new)
        .says(&["opens volume"]);
    new
}

fn the_computer_is_replaced(bench: &Bench, password: &str) {
    std::fs::rename(bench.path("keys"), bench.path("old-keys")).expect("renamed");
    let said = bench.cryptfs(&["recover", "volume"], password);
    said.says(&["by itself again"]);
    // The old computer's keyfile still opens it, whatever name and paths both have; hints say how that ends.
    let old = ["doctor", "--keystore", "old-keys", "volume"];
    bench.cryptfs(&old, "").says(&["ok      unlock"]);
    for hint in said.err.split("cryptfs key remove volume ").skip(1) {
        let id = hint.split_whitespace().next().expect("an ID");
        bench
            .cryptfs(&["key", "remove", "volume", id], "")
            .says(&[]);
    }
    assert_eq!(bench.cryptfs(&old, "").code, 1);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["ok      unlock"]);
}

fn progress_is_shown(bench: &Bench) {
    let salvage = ["recover", "--salvage", "shown-out", "volume"];
    if let Some(said) = at_a_terminal(bench, &salvage, &[]) {
        said.says(&["copying ", "MiB of ", " left)", "0 lost"]);
    }
}

/// 1 % of all units, one byte in each.
fn units_are_flipped(bench: &Bench, password: &str, tree: &Tree) {
    let mut dice = Dice(2);
    let mut flipped: HashMap<u64, Vec<u64>> = HashMap::new();
    let (mut units, mut flips) = (0, 0);
    for path in backing(&bench.path("volume")) {
        let mut bytes = std::fs::read(&path).expect("read");
        let mine = bytes.len() / UNIT;
        units += mine;
        for unit in 0..mine {
            if dice.roll(100) == 0 {
                flips += 1;
                bytes[unit * UNIT + dice.roll(UNIT as u64) as usize] ^= 1 << dice.roll(8);
                let ino = std::fs::metadata(&path).expect("stat").ino();
                flipped.entry(ino).or_default().push(unit as u64);
            }
        }
        std::fs::write(&path, bytes).expect("written");
    }
    assert!(flips > units / 150, "{flips} of {units}");
    // Which file of the tree each one is, the file system says.
    let paths = inodes(bench);
    let (said, verdicts, _) = salvage(bench, "flipped-out", &[], password);
    assert_eq!(said.code, 17);
    let out = read(&bench.path("flipped-out"));
    for (ino, units) in &flipped {
        let path = &paths[ino];
        let bytes = &tree[path];
        let mut lost: Vec<Range<u64>> = Vec::new();
        for unit in units {
            let range = layout::start(*unit)..layout::start(unit + 1).min(bytes.len() as u64);
            match lost.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => lost.push(range),
            }
        }
        let verdict = &verdicts[path.to_str().expect("text")];
        if lost.len() == 1 && lost[0] == (0..bytes.len() as u64) {
            assert_eq!(verdict["verdict"], "lost", "{verdict}");
            continue;
        }
        let told: Vec<Range<u64>> = verdict["detail"]
            .as_array()
            .unwrap_or_else(|| panic!("{verdict}"))
            .iter()
            .map(|pair| pair[0].as_u64().expect("a number")..pair[1].as_u64().expect("a number"))
            .collect();
        assert_eq!(told, lost, "{}", path.display());
        let mut wanted = bytes.clone();
        for range in lost {
            wanted[range.start as usize..range.end as usize].fill(0);
        }
        assert!(out[path] == wanted, "{}", path.display());
    }
    let touched: Vec<_> = flipped.keys().map(|ino| &paths[ino]).collect();
    for (path, bytes) in tree.iter().filter(|(path, _)| !touched.contains(path)) {
        assert!(out[path] == *bytes, "{}", path.display());
    }
    let (said, _, again) = salvage(bench, "flipped-out", &["--resume"], password);
    assert_eq!(
        said.code, 17,
        "what an earlier run lost is not whole in the next"
    );
    assert!(
        again["bytes_lost"].as_u64().is_some_and(|lost| lost > 0),
        "{again}"
    );
}

/// Which path each backing inode has.
fn inodes(bench: &Bench) -> HashMap<u64, PathBuf> {
    let fs = open(bench);
    let mut found = HashMap::new();
    let mut left = vec![(ROOT, PathBuf::new())];
    while let Some((dir, path)) = left.pop() {
        let handle = fs.opendir(dir).expect("opendir");
        let mut names = Vec::new();
        fs.readdir(dir, handle, 0, &mut |entry| {
            if entry.name != "." && entry.name != ".." {
                names.push(entry.name.to_owned());
            }
            false
        })
        .expect("readdir");
        for name in names {
            let entry = fs.lookup(dir, &name).expect("lookup");
            let path = path.join(&name);
            match entry.attr.kind {
                cryptfs::fs::Kind::Directory => left.push((entry.node, path)),
                _ => drop(found.insert(entry.attr.ino, path)),
            }
        }
    }
    found
}

/// As fsck leaves it when directories are gone: all files side by side in lost+found, each under its inode number.
fn names_are_scrambled(bench: &Bench, password: &str, tree: &Tree) {
    let volume = bench.path("volume");
    std::fs::create_dir(volume.join("lost+found")).expect("made");
    for path in backing(&volume) {
        let ino = std::fs::metadata(&path).expect("stat").ino();
        std::fs::rename(&path, volume.join(format!("lost+found/#{ino}"))).expect("renamed");
    }
    for entry in std::fs::read_dir(&volume)
        .expect("readable")
        .map(|e| e.expect("an entry"))
    {
        let name = entry.file_name();
        if entry.path().is_dir() && name != ".cryptfs" && name != "lost+found" {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        }
    }
    let (said, _, summary) = salvage(bench, "scrambled-out", &[], password);
    let out = read(&bench.path("scrambled-out"));
    let back = tree
        .iter()
        .filter(|(path, bytes)| out.get(*path) == Some(bytes))
        .count();
    println!(
        "{back} of {} files are back under their directory and name: {summary}",
        tree.len()
    );
    assert!(
        back * 100 >= tree.len() * 95,
        "{back} of {}\n{}",
        tree.len(),
        said.err
    );
    // The contents of all of them are.
    let mut contents: Vec<_> = out.values().collect();
    let mut wanted: Vec<_> = tree.values().collect();
    contents.sort();
    wanted.sort();
    assert!(contents == wanted);
}

fn half_is_missing(bench: &Bench, password: &str, tree: &Tree) {
    let mut dice = Dice(3);
    let gone: Vec<_> = backing(&bench.path("volume"))
        .into_iter()
        .filter(|_| dice.roll(2) == 0)
        .collect();
    for path in &gone {
        std::fs::remove_file(path).expect("removed");
    }
    let (said, _, summary) = salvage(bench, "half-out", &[], password);
    assert_eq!(said.code, 0, "{summary}");
    let out = read(&bench.path("half-out"));
    assert_eq!(out.len(), tree.len() - gone.len());
    assert!(out.iter().all(|(path, bytes)| tree[path] == *bytes));
}

/// A backup that stopped in the middle of a file; a salvage that ctrl-C stops in the middle, and that goes on.
fn files_are_cut(bench: &Bench, password: &str, tree: &Tree) {
    let paths = inodes(bench);
    let mut cut = HashMap::new();
    for path in backing(&bench.path("volume")) {
        let there = std::fs::metadata(&path).expect("stat");
        if there.len() > 5 * UNIT as u64 && there.ino() % 3 == 0 {
            let file = std::fs::File::options()
                .write(true)
                .open(&path)
                .expect("opened");
            file.set_len(2 * UNIT as u64 + 100).expect("cut");
            cut.insert(paths[&there.ino()].clone(), 2 * PAYLOAD - layout::HEADER);
        }
    }
    assert!(!cut.is_empty());
    let arguments = ["recover", "--json", "--salvage", "cut-out", "volume"];
    bench
        .interrupted(&arguments, password, 400)
        .fails(130, &["interrupted", "hint: go on with", "--resume"]);
    let half = read(&bench.path("cut-out")).len();
    assert!((400..FILES).contains(&half), "{half}");
    let (said, verdicts, _) = salvage(bench, "cut-out", &["--resume"], password);
    assert_eq!(said.code, 17);
    let earlier = verdicts.values().filter(|v| v["verdict"] == "earlier");
    assert!(earlier.count() > 300, "what was copied is not copied again");
    let out = read(&bench.path("cut-out"));
    assert_eq!(out.len(), FILES);
    for (path, bytes) in tree {
        let mut wanted = bytes.clone();
        if let Some(left) = cut.get(path) {
            wanted[*left..].fill(0);
            let lost = &verdicts[path.to_str().expect("text")]["detail"];
            assert_eq!(lost[0][0], *left, "{lost}");
            assert_eq!(lost[0][1], bytes.len(), "{lost}");
        }
        assert!(out[path] == wanted, "{}", path.display());
    }
}
