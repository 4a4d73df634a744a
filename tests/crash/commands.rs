//! Commands that change a volume's header, keystore or size, or an image's snapshots and backups, cut short before each of
//! their system calls.
//!
//! What they write is durable before the next thing is written, so that a power cut leaves what a kill leaves, or less of
//! the one file that was not yet synchronised: that one is emptied here. strace(1) does the killing.
use crate::model::rng::Rng;
use crate::needs;
use crate::transcripts::{Bench, Said};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What changes the disk. A cut before a flush is one after the change before it.
const CALLS: &str = "write,pwrite64,renameat,renameat2,unlinkat,mkdirat,linkat,ftruncate,fallocate";

const CRYPTFS: &str = env!("CARGO_BIN_EXE_cryptfs");
const STRACE: &str = "/usr/bin/strace";

/// A command, what is done before it, and what it is told.
struct Case {
    name: &'static str,
    kind: &'static [&'static str],
    before: &'static [&'static [&'static str]],
    command: &'static [&'static str],
    /// Its standard input: the recovery password, or that of the last command before.
    input: Input,
}

/// A system call, and which of its name it is: strace counts each name for itself.
type Call = (String, usize);

/// What a command may change.
const PARTS: [&str; 3] = ["volume", "keys", "copy"];

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Nothing,
    Password,
    NewPassword,
}

const FAST: &str = "--pbkdf2-iterations=1000";
const IMAGE: &[&str] = &["--image", "--size", "16M"];
const ROTATE: &[&str] = &["key", "rotate", FAST, "volume"];

/// Of which the last files lie beyond the 20 MiB that one of the commands leaves.
const LARGE: &[&str] = &["--image", "--size", "40M"];
const KEEP: &[&str] = &["snapshot", "create", "volume", "kept"];
const BACKUP: &[&str] = &["backup", "volume", "copy"];

const CASES: [Case; 16] = [
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
        LARGE,
        &[],
        &["resize", "volume", "20M"],
        Input::Nothing,
    ),
    case("keep", IMAGE, &[], KEEP, Input::Nothing),
    case(
        "give up",
        IMAGE,
        &[KEEP],
        &["snapshot", "delete", "volume", "kept"],
        Input::Nothing,
    ),
    case("back up", IMAGE, &[], BACKUP, Input::Nothing),
    case(
        "bring a backup up to date",
        IMAGE,
        &[BACKUP, KEEP],
        &["backup", "--update", "volume", "copy"],
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
    /// How many cuts there were.
    fn run(&self) -> usize {
        let bench = Bench::empty();
        let made = bench.init(&[self.kind, &["volume"]].concat());
        assert_eq!(made.code, 0, "{}", made.err);
        let password = made.field("Recovery password:");
        let mut newest = password.clone();
        self.fill(&bench);
        for before in self.before {
            let said = bench.cryptfs(before, "");
            assert_eq!(said.code, 0, "{}", said.err);
            if *before == ROTATE {
                newest = said.field("Recovery password:");
            }
        }
        let input = match self.input {
            Input::Nothing => "",
            Input::Password => &password,
            Input::NewPassword => &newest,
        };
        let saved = bench.path("saved");
        fs::create_dir(&saved).expect("mkdir");
        for part in PARTS {
            copy(&bench.path(part), &saved);
        }
        let put_back = || {
            for part in PARTS {
                remove(&bench.path(part));
                copy(&saved.join(part), &bench.path(""));
            }
        };
        let mut done = 0;
        for cut in some(&self.calls(&bench, input)) {
            put_back();
            let said = self.killed(&bench, cut, input);
            assert_eq!(
                said.code, -1,
                "{}, cut {cut:?}: {}{}",
                self.name, said.out, said.err
            );
            lose_what_was_not_synced(&bench);
            self.judge(&bench, cut, &[&password, &newest]);
            self.again(&bench, cut);
            done += 1;
        }
        assert!(done > 3, "{}: nothing to cut", self.name);
        done
    }

    /// The calls of the main thread when nothing is cut.
    fn calls(&self, bench: &Bench, input: &str) -> Vec<Call> {
        let traced = format!("trace={CALLS}");
        let words = ["-f", "-qq", "-o", "calls", "-e", &traced, CRYPTFS];
        let said = bench.run(STRACE.as_ref(), &[&words, self.command].concat(), input);
        assert_eq!(said.code, 0, "{}: {}", self.name, said.err);
        let traced = fs::read_to_string(bench.path("calls")).expect("calls");
        let parts = traced.lines().filter_map(|line| line.split_once(' '));
        let (mut main, mut counts, mut calls) = (None, HashMap::new(), Vec::new());
        for (thread, call) in parts {
            let name = call.trim_start().split_once('(').map(|(name, _)| name);
            let names = name.filter(|name| CALLS.split(',').any(|one| one == *name));
            if let Some(name) = names.filter(|_| *main.get_or_insert(thread) == thread) {
                let count = counts.entry(name.to_owned()).or_insert(0);
                *count += 1;
                calls.push((name.to_owned(), *count));
            }
        }
        calls
    }

    /// Half of an image, with a hole at its start: what lies at its end has to move when it becomes smaller.
    fn fill(&self, bench: &Bench) {
        fs::create_dir(bench.path("point")).expect("mkdir");
        if self.kind.is_empty() || !mountable() {
            return;
        }
        let mounted = bench.cryptfs(&["mount", "volume", "point"], "");
        assert_eq!(mounted.code, 0, "{}", mounted.err);
        let count = if self.kind == LARGE { 32 } else { 12 };
        for number in 0..count {
            let path = bench.path(&format!("point/{number}"));
            fs::write(path, content(number)).expect("write");
        }
        for number in 0..count / 2 {
            fs::remove_file(bench.path(&format!("point/{number}"))).expect("remove");
        }
        bench.cryptfs(&["umount", "point"], "").says(&[]);
    }

    /// What was there is there, and what was cut short can be done.
    fn again(&self, bench: &Bench, cut: &Call) {
        let place = format!("{}, cut {cut:?}", self.name);
        let one_way = matches!(self.command, ["snapshot", ..] | ["backup", "volume", ..]);
        if matches!(self.command[0], "resize" | "snapshot" | "backup") {
            let said = bench.cryptfs(self.command, "");
            let done = said.code == 0 || one_way && said.code == 16;
            assert!(done, "{place}: again: {}", said.err);
            let copied = matches!(self.command, ["backup", "--update", ..]);
            if copied {
                bench.cryptfs(&["check", "copy"], "").says(&["0 findings"]);
            }
        }
        if self.kind.is_empty() || !mountable() {
            return;
        }
        let mounted = bench.cryptfs(&["mount", "-o", "ro", "volume", "point"], "");
        assert_eq!(mounted.code, 0, "{place}: {}", mounted.err);
        let entries = fs::read_dir(bench.path("point")).expect("readdir");
        let mut count = 0;
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.parse().ok()).expect("a number");
            let same = fs::read(&path).expect("read") == content(number);
            assert!(same, "{place}: file {number}");
            count += 1;
        }
        assert_eq!(count, if self.kind == LARGE { 16 } else { 6 }, "{place}");
        bench.cryptfs(&["umount", "point"], "").says(&[]);
    }

    fn killed(&self, bench: &Bench, (name, count): &Call, input: &str) -> Said {
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let words = ["-f", "-qq", "-o", "/dev/null", "-e", &inject, CRYPTFS];
        bench.run(STRACE.as_ref(), &[&words, self.command].concat(), input)
    }

    /// It unlocks itself, and by hand; and `recover` makes everything whole.
    fn judge(&self, bench: &Bench, cut: &Call, passwords: &[&str]) {
        let place = format!("{}, cut {cut:?}", self.name);
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

/// Each call; of very many the first, the last, and some between.
fn some(calls: &[Call]) -> impl Iterator<Item = &Call> {
    let (count, step) = (calls.len(), 1 + calls.len() / 8);
    let cut = move |at: usize| at < 12 || at + 24 > count || at.is_multiple_of(step);
    (0..)
        .zip(calls)
        .filter(move |(at, _)| cut(*at))
        .map(|(_, call)| call)
}

fn mountable() -> bool {
    cfg!(feature = "fuse") && needs::fuse()
}

fn content(number: u64) -> Vec<u8> {
    Rng::bytes(number + 1, 1_000_000)
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
    if !from.exists() {
        return;
    }
    let copied = Command::new("cp").arg("-a").arg(from).arg(into).status();
    assert!(copied.expect("cp").success());
}

fn remove(path: &Path) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).expect("remove"),
        false if path.exists() => fs::remove_file(path).expect("remove"),
        false => {}
    }
}
