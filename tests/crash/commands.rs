//! Commands that change a volume's header, keystore or size, cut short before each of their system calls.
//!
//! What they write is durable before the next thing is written, so that a power cut leaves what a kill leaves, or less of
//! the one file that was not yet synchronised: that one is emptied here. strace(1) does the killing.
use crate::needs;
use crate::transcripts::{Bench, Said};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What changes the disk. One by one: strace counts the calls of each kind for itself, and would stop only at the kind that
/// is the first to have been called so often.
const CALLS: [&str; 9] = [
    "write",
    "pwrite64",
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "linkat",
    "ftruncate",
    "fallocate",
];

/// A command, what is done before it, and what it is told.
struct Case {
    name: &'static str,
    kind: &'static [&'static str],
    before: &'static [&'static [&'static str]],
    command: &'static [&'static str],
    /// Its standard input: the recovery password, or that of the last command before.
    input: Input,
}

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Nothing,
    Password,
    NewPassword,
}

const FAST: &str = "--pbkdf2-iterations=1000";
const IMAGE: &[&str] = &["--image", "--size", "16M"];
const ROTATE: &[&str] = &["key", "rotate", FAST, "volume"];

const CASES: [Case; 12] = [
    case(
        "add",
        &[],
        &[],
        &["key", "add", FAST, "volume"],
        Input::Nothing,
    ),
    case(
        "add to an image",
        IMAGE,
        &[],
        &["key", "add", FAST, "volume"],
        Input::Nothing,
    ),
    case("rotate", &[], &[], ROTATE, Input::Nothing),
    case(
        "finish",
        &[],
        &[ROTATE],
        &["key", "rotate", "--finish", "volume"],
        Input::NewPassword,
    ),
    case(
        "finish on an image",
        IMAGE,
        &[ROTATE],
        &["key", "rotate", "--finish", "volume"],
        Input::NewPassword,
    ),
    case("recover", &[], &[], &["recover", "volume"], Input::Password),
    case(
        "recover an image",
        IMAGE,
        &[],
        &["recover", "volume"],
        Input::Password,
    ),
    case(
        "verify",
        &[],
        &[],
        &["recover", "--verify", "volume"],
        Input::Password,
    ),
    case(
        "disclose",
        &[],
        &[],
        &["recovery-keys", "--raw"],
        Input::Nothing,
    ),
    case(
        "repair",
        &[],
        &[],
        &["check", "--repair", "volume"],
        Input::Nothing,
    ),
    case(
        "grow",
        IMAGE,
        &[],
        &["resize", "volume", "40M"],
        Input::Nothing,
    ),
    case(
        "shrink",
        &["--image", "--size", "40M"],
        &[],
        &["resize", "volume", "10M"],
        Input::Nothing,
    ),
];

const fn case(
    name: &'static str,
    kind: &'static [&'static str],
    before: &'static [&'static [&'static str]],
    command: &'static [&'static str],
    input: Input,
) -> Case {
    Case {
        name,
        kind,
        before,
        command,
        input,
    }
}

#[test]
fn commands_cut_short_leave_a_volume_that_opens() {
    if !needs::program("strace") {
        return;
    }
    let cuts: usize = CASES.iter().map(Case::run).sum();
    eprintln!("{cuts} cuts");
}

impl Case {
    /// Cuts before each call until it gets through. How many cuts there were.
    fn run(&self) -> usize {
        let bench = Bench::empty();
        let made = bench.init(&[self.kind, &["volume"]].concat());
        assert_eq!(made.code, 0, "{}", made.err);
        let password = made.field("Recovery password:");
        let mut newest = password.clone();
        for before in self.before {
            newest = bench.cryptfs(before, "").field("Recovery password:");
        }
        let input = match self.input {
            Input::Nothing => "",
            Input::Password => &password,
            Input::NewPassword => &newest,
        };
        let saved = bench.path("saved");
        fs::create_dir(&saved).expect("mkdir");
        copy(&bench.path("volume"), &saved);
        copy(&bench.path("keys"), &saved);
        let mut cuts = 0;
        for call in CALLS {
            for number in 1.. {
                for part in ["volume", "keys"] {
                    remove(&bench.path(part));
                    copy(&saved.join(part), &bench.path(""));
                }
                let cut = format!("{call}:signal=KILL:when={number}");
                let said = self.killed(&bench, &cut, input);
                if said.code == 0 {
                    break;
                }
                cuts += 1;
                assert_eq!(
                    said.code, -1,
                    "{}, {cut}: {}{}",
                    self.name, said.out, said.err
                );
                lose_what_was_not_synced(&bench);
                self.judge(&bench, &cut, &[&password, &newest]);
            }
        }
        assert!(cuts > 4, "{}: nothing to cut", self.name);
        cuts
    }

    fn killed(&self, bench: &Bench, cut: &str, input: &str) -> Said {
        let inject = format!("inject={cut}");
        let cryptfs = env!("CARGO_BIN_EXE_cryptfs");
        let words = ["-f", "-qq", "-o", "/dev/null", "-e", &inject, cryptfs];
        bench.run(
            Path::new("/usr/bin/strace"),
            &[&words, self.command].concat(),
            input,
        )
    }

    /// It unlocks itself, and by hand; and `recover` makes everything whole.
    fn judge(&self, bench: &Bench, cut: &str, passwords: &[&str]) {
        let place = format!("{}, {cut}", self.name);
        let doctor = bench.cryptfs(&["doctor", "volume"], "");
        assert!(
            doctor.code == 0,
            "{place}: doctor: {}{}",
            doctor.out,
            doctor.err
        );
        let opens = |password: &&&str| {
            bench
                .cryptfs(&["recover", "--verify", "volume"], password)
                .code
                == 0
        };
        let password = passwords.iter().find(opens);
        let password = password.unwrap_or_else(|| panic!("{place}: no password opens it"));
        let said = bench.cryptfs(&["recover", "volume"], password);
        assert_eq!(said.code, 0, "{place}: recover: {}", said.err);
        let status = bench.cryptfs(&["status", "volume"], "");
        assert!(
            status.out.contains("3 of 3 good"),
            "{place}: {}",
            status.out
        );
        let check = bench.cryptfs(&["check", "volume"], "");
        assert_eq!(check.code, 0, "{place}: check: {}{}", check.out, check.err);
    }
}

/// What a power cut may take of a file that was being written.
fn lose_what_was_not_synced(bench: &Bench) {
    for dir in ["volume/.cryptfs", "keys"] {
        for entry in fs::read_dir(bench.path(dir))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with("tmp.") {
                fs::write(entry.path(), "").expect("empty");
            }
        }
    }
}

fn copy(from: &Path, into: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(into).status();
    assert!(copied.expect("cp").success());
}

fn remove(path: &Path) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).expect("remove"),
        false => fs::remove_file(path).expect("remove"),
    }
}
