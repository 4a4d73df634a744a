//! What people see who sit at a terminal: prompts, what is said of each group, progress. python3(1) has the other end of it.
use super::{Bench, Said};
use crate::needs;
use std::path::Path;

/// Runs its arguments on a terminal of its own. Standard input: lines of what to wait for and, behind a tab, what to type then.
/// Says all that the terminal showed, and at the end whether it still echoes.
const DRIVER: &str = r#"
import codecs, os, pty, select, sys, termios, time
lines = [line.split("\t") for line in sys.stdin.read().splitlines()]
end = time.monotonic() + 120
os.environ["TERM"] = "xterm"
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, read = "", 0
decoder = codecs.getincrementaldecoder("utf-8")() # a read may end within a character
def more():
    global shown
    if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        sys.exit("nothing more came")
    try:
        got = os.read(fd, 4096)
    except OSError:
        got = b""
    shown += decoder.decode(got)
    return got
for awaited, typed in lines:
    while awaited not in shown[read:]:
        if not more():
            print(shown)
            sys.exit("never came: " + awaited)
    read = len(shown)
    os.write(fd, typed.encode() + (b"" if typed == "\x03" else b"\r"))
while more():
    pass
print(shown)
try:
    print("echo", bool(termios.tcgetattr(fd)[3] & termios.ECHO))
except termios.error:
    print("echo gone")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// `cryptfs` at a terminal; `None` where that cannot be had.
pub fn at_a_terminal(bench: &Bench, arguments: &[&str], talk: &[(&str, &str)]) -> Option<Said> {
    if !needs::program("python3") {
        return None;
    }
    let talk: String = talk
        .iter()
        .map(|(awaited, typed)| format!("{awaited}\t{typed}\n"))
        .collect();
    let words = ["-c", DRIVER, env!("CARGO_BIN_EXE_cryptfs")];
    let python = Path::new("/usr/bin/python3");
    Some(bench.run(python, &[&words, arguments].concat(), &talk))
}

/// A group with two unlike neighbours exchanged.
fn exchanged(group: &str) -> String {
    let at = (0..5).find(|i| group.as_bytes()[*i] != group.as_bytes()[i + 1]);
    let at = at.expect("unlike digits");
    let (a, b) = (&group[at..=at], &group[at + 1..at + 2]);
    format!("{}{b}{a}{}", &group[..at], &group[at + 2..])
}

#[test]
fn each_group_is_judged_as_it_is_typed() {
    let (bench, password, _) = Bench::with_volume();
    let groups: Vec<&str> = password.split('-').collect();
    let digit = groups[0].as_bytes()[5] - b'0';
    let wrong = format!("{}{}", &groups[0][..5], (digit + 1) % 10);
    let neighbours = exchanged(groups[1]);
    let talk = [
        ("group 1 of 8: ", &wrong[..]),
        (
            "warning: group 1: the check digits do not match; type it again",
            "",
        ),
        ("group 1 of 8: ", groups[0]),
        ("group 1: check digits match", ""),
        ("group 2 of 8: ", &neighbours),
        ("warning: group 2: ", ""),
        ("group 2 of 8: ", groups[1]),
        ("groups 1 to 2: check digits match", ""),
        ("group 3 of 8: ", &groups[2][..5]),
        ("warning: group 3: 5 digits instead of 6", ""),
        // The next two in the wrong order: each of them is right.
        ("group 3 of 8: ", groups[3]),
        ("groups 1 to 3: check digits match", ""),
        ("group 4 of 8: ", groups[2]),
        ("group 5 of 8: ", &groups[4..].join(" ")),
    ];
    let verify = ["recover", "--verify", "volume"];
    let Some(said) = at_a_terminal(&bench, &verify, &talk) else {
        return;
    };
    said.says(&[
        "trying it with two groups exchanged",
        "warning: two groups had to be exchanged",
        "opens volume",
        "echo True",
    ]);
    for typed in groups.iter().copied().chain([&wrong[..], &neighbours]) {
        assert!(!said.out.contains(typed), "shown: {}", said.out);
    }
}

#[test]
fn ctrl_c_leaves_the_terminal_as_it_was() {
    let (bench, password, _) = Bench::with_volume();
    let talk = [
        ("group 1 of 8: ", &password[..6]),
        ("group 2 of 8: ", "\x03"),
    ];
    let Some(said) = at_a_terminal(&bench, &["recover", "volume"], &talk) else {
        return;
    };
    assert_eq!(said.code, 130, "{}{}", said.out, said.err);
    assert!(said.out.contains("error: interrupted"), "{}", said.out);
    assert!(said.out.contains("echo True"), "{}", said.out);
}
