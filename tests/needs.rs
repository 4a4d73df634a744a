//! What a test needs of the machine. A test that cannot run says so on standard error, past the test harness, which
//! would swallow it; it does not pass in silence. `CRYPTFS_REQUIRE_FUSE=1` makes a missing FUSE a failure, for machines
//! that are there to run everything.
#![cfg_attr(not(feature = "fuse"), allow(dead_code))] // without it there is nothing to mount
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

static NOT_RUN: AtomicU32 = AtomicU32::new(0);

/// Whether this machine can mount FUSE file systems.
pub fn fuse() -> bool {
    let missing = if let Err(error) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
    {
        format!("/dev/fuse: {error}")
    } else if !may_mount() && !has("fusermount3") {
        "no right to mount and no fusermount3".to_owned()
    } else {
        return true;
    };
    let required = std::env::var("CRYPTFS_REQUIRE_FUSE").is_ok_and(|value| value == "1");
    assert!(!required, "CRYPTFS_REQUIRE_FUSE=1, but {missing}");
    say(&missing);
    false
}

/// Whether this process is root.
pub fn root(for_what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        say(&format!("{for_what} needs root"));
    }
    root
}

/// Whether a program is installed.
pub fn program(name: &str) -> bool {
    let found = has(name);
    if !found {
        say(&format!("{name} is not installed"));
    }
    found
}

/// Says that the test that runs now, or part of it, did not run.
pub fn say(why: &str) {
    let count = NOT_RUN.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "NOT RUN ({count}): {test}: {why}");
    note(test, why);
}

/// Adds a line to the list that the gate prints at its end, where it asks for one.
fn note(test: &str, why: &str) {
    let Some(list) = std::env::var_os("CRYPTFS_NOT_RUN") else {
        return;
    };
    let list = std::fs::File::options().append(true).open(list);
    let _ = list.and_then(|mut list| writeln!(list, "{test}: {why}"));
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// CAP_SYS_ADMIN, which containers often withhold from root.
fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1)
}
