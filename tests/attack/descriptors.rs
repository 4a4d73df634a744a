//! What the daemon takes over from whoever started it: nothing that lasts.
use super::home::{Home, KINDS, NOBODY, can_attack};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};

/// A descriptor that the daemon kept would hold a lock for ever, and a pipe would never end.
#[test]
fn inherited_descriptors_are_closed() {
    if !crate::needs::fuse() || !crate::needs::program("flock") {
        return;
    }
    let home = Home::new(KINDS[0]);
    let script = "exec 9>lock 7>&1 && flock -n 9 && \"$0\" mount volume mount >/dev/null 2>&1";
    let mut shell = home.command("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_cryptfs")]);
    // Returns once every process has closed the pipe. A minute later the shell is killed, but not the daemon.
    let pipe = std::thread::spawn(move || shell.output().expect("run a shell"));
    super::home::soon("the mount is there", || home.is_mounted());
    super::home::soon("the pipe has ended", || pipe.is_finished());
    assert!(pipe.join().expect("no panic").status.success());
    let locked = home.command("flock").args(["-n", "lock", "true"]).status();
    assert!(locked.expect("flock").success(), "the lock is still held");
    home.succeeds(&["umount", "mount"]);
}

/// `umount` with such a descriptor open is not itself what keeps the mount busy.
#[test]
fn umount_does_not_name_itself() {
    if !crate::needs::fuse() {
        return;
    }
    let home = Home::new(KINDS[0]);
    home.mount("");
    fs::write(home.point().join("file"), "").expect("write");
    let script = "exec \"$0\" umount mount 8<mount/file";
    let mut shell = home.command("sh");
    let said = shell
        .args(["-c", script, env!("CARGO_BIN_EXE_cryptfs")])
        .output();
    let said = said.expect("run a shell");
    // timeout(1) above it has no such descriptor.
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

/// Writes beyond `ulimit -f` are errors; they do not kill the daemon, and everybody's mount with it.
#[test]
fn a_limit_on_file_sizes_does_not_kill_the_daemon() {
    if !can_attack("another user") {
        return;
    }
    for kind in KINDS {
        let home = Home::of(NOBODY, kind);
        // 512-byte blocks in sh: 4 MB.
        let script = "ulimit -f 8192 && exec \"$0\" mount volume mount";
        let mut shell = home.command("sh");
        let said = shell
            .args(["-c", script, env!("CARGO_BIN_EXE_cryptfs")])
            .output();
        let said = said.expect("run a shell");
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
        let script = "head -c 6000000 /dev/zero >mount/large && sync mount/large; echo $?; \
                      echo small >mount/small && sync mount/small && cat mount/small; rm mount/large";
        let said = home
            .command("sh")
            .args(["-c", script])
            .output()
            .expect("run a shell");
        let (out, err) = [said.stdout, said.stderr]
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .into();
        assert_eq!(out.lines().last(), Some("small"), "{out}{err}");
        // The kernel reports a failed write-back as EIO.
        assert!(!kind.is_empty() || !err.is_empty(), "{out}");
        home.succeeds(&["umount", "mount"]);
    }
}

/// Root may raise the limit, and its volume is as large as if another shell had mounted it.
#[test]
fn root_is_not_limited_by_the_shell_that_mounted() {
    if !can_attack("raising a limit") {
        return;
    }
    let raise = "ulimit -f 2000 && ulimit -f unlimited";
    let raised = std::process::Command::new("sh")
        .args(["-c", raise])
        .output();
    if !raised.expect("run a shell").status.success() {
        return crate::needs::say("root may not raise limits here");
    }
    let home = Home::new(KINDS[0]);
    let script = "ulimit -f 2000 && exec \"$0\" mount volume mount";
    let mut shell = home.command("sh");
    let said = shell
        .args(["-c", script, env!("CARGO_BIN_EXE_cryptfs")])
        .output()
        .expect("run a shell");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(home.point().join("large"))
        .expect("create");
    file.write_all(&vec![7; 4_000_000]).expect("write");
    file.sync_all().expect("sync");
    file.seek(SeekFrom::Start(3_999_999)).expect("seek");
    let mut last = [0];
    file.read_exact(&mut last).expect("read");
    assert_eq!(last, [7]);
    drop(file);
    home.succeeds(&["umount", "mount"]);
}
