//! Names that a terminal would obey: no command prints one as it is.
use super::salvage::{CALLER, open};
use super::{Bench, Said};
use cryptfs::fs::{FileSystem, OpenFlags, ROOT};
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Moves the cursor, sets a colour, begins a line of its own and turns the direction of the text.
const WILD: &str = "v\u{1b}[31m\u{9b}2J\ncryptfs: note: all is well\u{202e}x";

fn harmless(what: &str, said: &Said) {
    for text in [&said.out, &said.err] {
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(obeyed), "{what}: {text:?}");
        let forged = text
            .lines()
            .any(|line| line.starts_with("cryptfs: note: all is well"));
        assert!(!forged, "{what}: {text:?}");
    }
}

#[test]
fn no_command_prints_a_volume_s_name_raw() {
    let bench = Bench::empty();
    let made = bench.init(&[WILD]);
    assert_eq!(made.code, 0, "{}", made.err);
    harmless("init", &made);
    let password = made.field("Recovery password:");
    let missing = &format!("{WILD}/missing");
    let commands: [&[&str]; 24] = [
        &["status", WILD],
        &["status", WILD, "--json"],
        &["status"],
        &["status", missing],
        &["doctor", WILD],
        &["report", WILD],
        &["recovery-keys"],
        &["recovery-keys", "--raw"],
        &["key", "list", WILD],
        &["key", "add", WILD, "--keyfile", missing],
        &["kit", WILD, WILD],
        &["kit", WILD, "kit\u{1b}[1m"],
        &["header", "backup", WILD, "header\u{1b}[1m"],
        &["header", "restore", WILD, "header\u{1b}[1m"],
        &["check", WILD],
        &["init", WILD],
        &["mount", WILD, missing],
        &["umount", WILD],
        &["snapshot", "list", WILD],
        &["backup", WILD, "copy\u{1b}[1m"],
        &["resize", WILD, "20M"],
        &["audit", "verify", WILD],
        &["recover", WILD, "--verify"],
        &["erase", WILD],
    ];
    for command in commands {
        harmless(&command.join(" "), &bench.cryptfs(command, &password));
    }
    let keys = bench.path("keys\u{1b}[1m");
    let keys = keys.to_str().expect("UTF-8");
    harmless(
        "keystore",
        &bench.cryptfs(&["status", "--keystore", keys, WILD], ""),
    );
}

#[test]
fn no_name_of_a_file_inside_is_printed_raw() {
    let (bench, password, _) = Bench::with_volume();
    let tree = open(&bench);
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let made = tree.create(ROOT, OsStr::new(WILD), 0o644, flags, &CALLER);
    let (entry, handle) = made.expect("create");
    let written = tree.write(entry.node, handle, 0, &[7; 20_000], false);
    written.expect("write");
    tree.release(entry.node, handle).expect("release");
    let backing = entry.attr.ino;
    tree.close().expect("close");
    damage(&bench.path("volume"), backing);
    for command in [
        &["check", "volume"][..],
        &["check", "volume", "--json"],
        &["recover", "--salvage", "out", "volume"],
    ] {
        let said = bench.cryptfs(command, &password);
        assert!(matches!(said.code, 4 | 17), "{}{}", said.out, said.err);
        harmless(&command.join(" "), &said);
    }
}

/// Overwrites some bytes in the middle of the backing file with this inode number.
fn damage(volume: &Path, ino: u64) {
    use std::os::unix::fs::MetadataExt;
    let mut entries = std::fs::read_dir(volume).expect("readdir").flatten();
    let file = entries.find(|entry| entry.metadata().is_ok_and(|stat| stat.ino() == ino));
    let path = file.expect("the backing file").path();
    let file = std::fs::File::options().write(true).open(path);
    file.expect("open")
        .write_all_at(b"XXXX", 9000)
        .expect("write");
}

/// A path need not be UTF-8: what is printed, and what JSON holds, still names it exactly.
#[test]
fn a_path_that_is_not_utf_8_is_named_exactly() {
    let bench = Bench::empty();
    let cryptfs = env!("CARGO_BIN_EXE_cryptfs");
    let bash = |line: &str| {
        let said = bench.run(Path::new("/bin/bash"), &["-c", line], "");
        assert_eq!(said.code, 0, "{line}: {}{}", said.out, said.err);
        said
    };
    let init = format!("{cryptfs} init --pbkdf2-iterations 1000 $'a\\377b c'");
    let hint = bash(&init).err;
    let word = "$'a\\377b c'";
    assert!(hint.contains(word), "{hint}");
    let said = bash(&format!("{cryptfs} status {word}"));
    assert!(said.out.contains("a\\377b c'"), "{}", said.out);
    let json = bash(&format!("{cryptfs} status --json {word}")).out;
    assert!(json.contains(r"a\\377b c'"), "{json}");
    assert!(!json.contains('\u{fffd}'), "{json}");
}
