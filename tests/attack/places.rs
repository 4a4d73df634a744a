//! Files that root makes where someone else may exchange them: they are written through the descriptor that made them.
use crate::needs;
use crate::transcripts::Bench;
use std::path::Path;

/// How often a command opens a file by its path, or by a name in an open directory.
fn opens(bench: &Bench, name: &str, arguments: &[&str]) -> usize {
    let calls = ["-f", "-qq", "-e", "trace=open,openat,openat2,creat"];
    let log = ["-o", "calls", env!("CARGO_BIN_EXE_cryptfs")];
    let words = [&calls[..], &log, arguments].concat();
    let said = bench.run(Path::new("/usr/bin/strace"), &words, "");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let calls = std::fs::read_to_string(bench.path("calls")).expect("a log");
    let named = |line: &&str| {
        let path = line.split('"').nth(1).unwrap_or_default();
        path == name || path.ends_with(&format!("/{name}"))
    };
    calls.lines().filter(named).count()
}

/// A link that took the file's place between two calls made `init --preallocate` overwrite what it led to.
#[test]
fn what_a_command_made_is_not_opened_a_second_time() {
    if !needs::program("strace") || !needs::root("tracing a process that hides its memory") {
        return;
    }
    let bench = Bench::empty();
    let init = [
        "init",
        "--pbkdf2-iterations",
        "1000",
        "--image",
        "--size",
        "16M",
    ];
    let whole = [&init[..], &["--preallocate", "image"]].concat();
    assert_eq!(opens(&bench, "image", &whole), 1);
    let backup = ["backup", "image", "copy"];
    assert_eq!(opens(&bench, "copy", &backup), 1);
    let directory = ["init", "--pbkdf2-iterations", "1000", "directory"];
    assert_eq!(opens(&bench, "directory", &directory), 1);
    for (name, command) in [
        ("kit", &["kit", "image", "kit"][..]),
        ("saved", &["header", "backup", "image", "saved"]),
    ] {
        assert_eq!(opens(&bench, name, command), 1, "{command:?}");
    }
}

/// The log of root's mount went to wherever a user's link led.
#[test]
fn a_log_is_not_written_through_the_link_of_another_user() {
    if !needs::fuse() || !needs::root("a link of another user") {
        return;
    }
    let bench = Bench::empty();
    bench.init(&["volume"]).says(&[]);
    std::fs::create_dir(bench.path("point")).expect("made");
    std::fs::write(bench.path("passwd"), "root").expect("written");
    std::os::unix::fs::symlink("passwd", bench.path("log")).expect("linked");
    let link = bench.path("log");
    std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).expect("given away");
    let mount = ["mount", "--log", "log", "volume", "point"];
    bench.cryptfs(&mount, "").fails(1, &["symbolic links"]);
    assert_eq!(std::fs::read(bench.path("passwd")).expect("read"), b"root");
}
