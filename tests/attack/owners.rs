//! Root helps with the volume of a user, who goes on afterwards: nothing in the volume, in the keystore or beside them may be
//! root's then.
use crate::needs;
use crate::transcripts::{Bench, Said};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

const USER: u32 = 65534;

fn as_user(bench: &Bench, arguments: &[&str]) -> Said {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let words = [&user[..], &[env!("CARGO_BIN_EXE_cryptfs")], arguments].concat();
    bench.run(Path::new("/usr/bin/setpriv"), &words, "")
}

/// What belongs to someone else than the user.
fn foreign(bench: &Bench) -> Vec<PathBuf> {
    let (mut left, mut found) = (vec![bench.path("")], Vec::new());
    while let Some(path) = left.pop() {
        let there = std::fs::symlink_metadata(&path).expect("stat");
        if there.uid() != USER {
            found.push(path.clone());
        }
        if there.is_dir() && !path.ends_with("point") {
            let entries = std::fs::read_dir(&path).expect("readable");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    found
}

/// A bench of the user's with a volume, and what `init` said. `None`: this user cannot run the program.
fn volume(kind: &[&str]) -> Option<(Bench, Said)> {
    let bench = Bench::empty();
    chown(bench.path(""), Some(USER), Some(USER)).expect("given away");
    if as_user(&bench, &["--version"]).code != 0 {
        needs::say("another user cannot reach the program");
        return None;
    }
    let init = ["init", "--pbkdf2-iterations", "1000"];
    let said = as_user(&bench, &[&init[..], kind, &["volume"]].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    std::fs::create_dir(bench.path("point")).expect("made");
    chown(bench.path("point"), Some(USER), Some(USER)).expect("given away");
    assert_eq!(foreign(&bench), Vec::<PathBuf>::new());
    Some((bench, said))
}

fn all_of_it(kind: &[&str]) {
    let Some((bench, said)) = volume(kind) else {
        return;
    };
    let password = said.field("Recovery password:");
    let root = |arguments: &[&str]| {
        let said = bench.cryptfs(arguments, &password);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
        assert_eq!(
            foreign(&bench),
            Vec::<PathBuf>::new(),
            "after {arguments:?}"
        );
        said
    };
    root(&["recover", "--verify", "volume"]);
    root(&["recovery-keys"]);
    root(&["check", "--repair", "volume"]);
    let id =
        root(&["key", "add", "--force", "--sheet", "sheet.txt", "volume"]).field("Password ID:");
    root(&["key", "remove", "volume", &id]);
    root(&["key", "rotate", "--keyfile", "volume"]);
    root(&["header", "backup", "volume", "saved"]);
    root(&["header", "restore", "volume", "saved"]);
    root(&["kit", "volume", "kit"]);
    if !kind.is_empty() {
        root(&["snapshot", "create", "volume", "before"]);
        root(&["backup", "volume", "copy"]);
    }
    #[cfg(feature = "fuse")]
    if needs::fuse() {
        root(&["mount", "volume", "point"]);
        let long = bench.path("point").join("x".repeat(240));
        std::fs::write(&long, "hello").expect("written");
        let link = bench.path("point/link");
        std::os::unix::fs::symlink("y".repeat(1000), &link).expect("linked");
        for path in [&long, &link] {
            std::os::unix::fs::lchown(path, Some(USER), Some(USER)).expect("given away");
        }
        root(&["umount", "point"]);
    }
    root(&["recover", "volume"]);

    for arguments in [
        &["check", "volume"][..],
        &["recovery-keys"],
        &["doctor", "volume"],
        &["check", "--repair", "volume"],
    ] {
        let said = as_user(&bench, arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
    }
    let id = said.field("Volume ID:");
    let erased = bench.cryptfs(&["erase", "volume"], &id);
    assert_eq!(erased.code, 0, "{}{}", erased.out, erased.err);
    assert_eq!(foreign(&bench), Vec::<PathBuf>::new());
}

#[test]
fn the_owner_of_a_directory_volume_goes_on() {
    if needs::root("the help of root") && needs::program("setpriv") {
        all_of_it(&[]);
    }
}

#[test]
fn the_owner_of_an_image_goes_on() {
    if needs::root("the help of root") && needs::program("setpriv") {
        all_of_it(&["--image", "--size", "16M"]);
    }
}

/// What earlier versions left behind: the owner is told, and the command that is named gives it back.
#[test]
fn who_is_locked_out_already_is_told_what_to_do() {
    if !needs::root("files of root") || !needs::program("setpriv") {
        return;
    }
    let Some((bench, _)) = volume(&[]) else {
        return;
    };
    let session = bench.path("volume/.cryptfs/session");
    for path in [session, bench.keyfile()] {
        chown(path, Some(0), Some(0)).expect("taken");
    }
    let said = as_user(&bench, &["doctor", "volume"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let command = said.out.lines().find_map(|line| line.split_once("sudo "));
    let (_, command) = command.unwrap_or_else(|| panic!("no command in {}", said.out));
    let command = command.replace("; sudo ", "; ");
    let done = bench.run(Path::new("/bin/sh"), &["-c", &command], "");
    assert_eq!(done.code, 0, "{command}: {}", done.err);
    assert_eq!(foreign(&bench), Vec::<PathBuf>::new());
    let said = as_user(&bench, &["doctor", "volume"]);
    assert!(!said.out.contains("owners"), "{}", said.out);
}
