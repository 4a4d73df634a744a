//! Programs that people run, on a real mount made by the `cryptfs` that was built: what they leave is compared byte by
//! byte and attribute by attribute with the same done on the plain disk, after a remount.
mod kill;
mod live;
pub mod machine;
mod postgres;
mod same;

use crate::needs;
use machine::{Machine, run, said};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether all of this is there: FUSE and these programs.
fn have(programs: &[&str]) -> bool {
    needs::fuse() && programs.iter().all(|name| needs::program(name))
}

/// Runs a test on a new volume of each kind, if this machine can.
fn on_each_kind(programs: &[&str], test: impl Fn(&Machine)) {
    if have(programs) {
        machine::KINDS
            .iter()
            .for_each(|kind| test(&Machine::new(kind)));
    }
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    let configuration = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example",
        "-c",
        "core.fsync=none",
    ];
    git.args(configuration).arg("-C").arg(dir).args(arguments);
    // Neither this machine's configuration nor the repository that the tests are run in.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    git.env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE");
    said(&mut git)
}

/// A repository with a small crate and some hundred files, in a few commits.
fn repository(at: &Path) {
    fs::create_dir_all(at.join("src")).expect("mkdir");
    let manifest =
        "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n";
    fs::write(at.join("Cargo.toml"), manifest).expect("write");
    fs::write(
        at.join("src/main.rs"),
        "mod n;\nfn main() { println!(\"{}\", n::N); }\n",
    )
    .expect("write");
    fs::write(at.join(".gitignore"), "/target\n/Cargo.lock\n").expect("write");
    git(at, &["init", "-q", "-b", "main"]);
    for commit in 0..4 {
        fs::write(
            at.join("src/n.rs"),
            format!("pub const N: u32 = {commit};\n"),
        )
        .expect("write");
        for file in 0..100 {
            let path = at.join(format!("data/{}/{file}", file % 10));
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, format!("{commit} {file}\n").repeat(file * 7)).expect("write");
        }
        git(at, &["add", "-A"]);
        git(at, &["commit", "-qm", "more"]);
    }
}

#[test]
fn git_clone_and_cargo_build() {
    on_each_kind(&["git", "cargo"], |machine| {
        let origin = machine.plain("origin");
        repository(&origin);
        let volume = machine.mount();
        let clone = volume.join("clone");
        git(
            machine.home(),
            &[
                "clone",
                "-q",
                origin.to_str().expect("UTF-8"),
                clone.to_str().expect("UTF-8"),
            ],
        );
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");
        let build = || {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--offline"]).current_dir(&clone);
            cargo
                .env_remove("CARGO_TARGET_DIR")
                .env("CARGO_TERM_COLOR", "never");
            let output = cargo.output().expect("cargo");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "cargo build: {text}");
            text
        };
        build();
        assert_eq!(
            said(&mut Command::new(clone.join("target/debug/tiny"))),
            "3\n"
        );
        git(&clone, &["gc", "-q"]);
        machine.remount();
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");
        git(&clone, &["fsck", "--full", "--strict"]);
        let again = build();
        assert!(
            !again.contains("Compiling"),
            "time stamps moved, cargo builds again:\n{again}"
        );
        assert_eq!(
            said(&mut Command::new(clone.join("target/debug/tiny"))),
            "3\n"
        );
        machine.umount();
    });
}

#[test]
fn sqlite_in_both_journal_modes() {
    on_each_kind(&["sqlite3"], |machine| {
        let plain = machine.plain("databases");
        let volume = machine.mount();
        let sqlite = |database: &Path, sql: &str| {
            let mut shell = Command::new("sqlite3");
            shell
                .arg("-bail")
                .arg(database)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut shell = shell.spawn().expect("sqlite3");
            let mut input = shell.stdin.take().expect("a pipe");
            input.write_all(sql.as_bytes()).expect("tell sqlite3");
            drop(input);
            let output = shell.wait_with_output().expect("sqlite3");
            assert!(output.status.success(), "sqlite3 on {}", database.display());
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        for mode in ["wal", "delete"] {
            let name = format!("{mode}.db");
            let fill = format!(
            "PRAGMA journal_mode={mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000)
             INSERT INTO t SELECT i, printf('row %d', i), zeroblob(i % 300) FROM n;
             CREATE INDEX b ON t(b); UPDATE t SET c = b || c WHERE a % 3 = 0; DELETE FROM t WHERE a % 7 = 0; VACUUM;"
        );
            let changes: String = (0..50)
                .map(|n| format!("INSERT INTO t(b) VALUES('late {n}');\n"))
                .collect();
            for place in [&plain, &volume] {
                sqlite(&place.join(&name), &fill);
                sqlite(&place.join(&name), &changes);
            }
        }
        machine.remount();
        for mode in ["wal", "delete"] {
            let name = format!("{mode}.db");
            assert_eq!(
                sqlite(&volume.join(&name), "PRAGMA integrity_check;"),
                "ok\n"
            );
            let dump = |place: &Path| sqlite(&place.join(&name), ".dump");
            assert!(
                dump(&volume) == dump(&plain),
                "{mode}: another content than on the plain disk"
            );
        }
        machine.umount();
    });
}

/// A tree with everything that a backup program carries.
fn varied(at: &Path) {
    let root = rustix::process::geteuid().is_root();
    fs::create_dir_all(at.join("deep/er/still")).expect("mkdir");
    fs::create_dir_all(at.join("empty")).expect("mkdir");
    let long = "ö".repeat(120);
    for (index, name) in ["a", "b c", "-rf", "new\nline", &long]
        .into_iter()
        .enumerate()
    {
        let path = at.join("deep").join(name);
        fs::write(
            &path,
            crate::model::rng::Rng::bytes(index as u64 + 1, index * 4063),
        )
        .expect("write");
        if index % 2 == 0 {
            let value = vec![b'v'; index * 100];
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, "user.program", &value, flags).expect("setxattr");
            fs::hard_link(&path, at.join(format!("deep/er/link {index}"))).expect("link");
        }
        // Last: only root may give a file of mode 0444 an attribute.
        fs::set_permissions(
            &path,
            fs::Permissions::from_mode([0o644, 0o600, 0o751, 0o4755, 0o444][index]),
        )
        .expect("chmod");
        symlink(name, at.join(format!("deep/er/still/to {index}"))).expect("symlink");
    }
    symlink("/nowhere/".repeat(300), at.join("dangling")).expect("symlink");
    let sparse = fs::File::create(at.join("sparse")).expect("create");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 40 << 20).expect("write");
    fs::set_permissions(at.join("empty"), fs::Permissions::from_mode(0o2750)).expect("chmod");
    let make = |name: &str, kind, device| {
        let mode = rustix::fs::Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(rustix::fs::CWD, at.join(name), kind, mode, device).expect("mknod");
    };
    make("fifo", rustix::fs::FileType::Fifo, 0);
    if root {
        make(
            "null",
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::makedev(1, 3),
        );
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(1234),
            rustix::fs::Gid::from_raw(4321),
        );
        rustix::fs::chown(at.join("deep/a"), Some(uid), Some(gid)).expect("chown");
    }
    if needs::program("setfacl") {
        run(Command::new("setfacl")
            .args(["-m", "u:1:r,g:2:rwx", "-m", "d:u:3:rx"])
            .arg(at.join("deep")));
        run(Command::new("setfacl")
            .args(["-m", "u:7:rw"])
            .arg(at.join("deep/b c")));
    }
    age(at, 1_000_000_000);
}

/// Gives everything a time of its own, long ago: what is not carried over shows.
fn age(at: &Path, first: i64) -> i64 {
    let mut next = first;
    if at.is_dir() && !at.is_symlink() {
        for entry in fs::read_dir(at).expect("readdir") {
            next = age(&entry.expect("an entry").path(), next + 1);
        }
    }
    let time = rustix::fs::Timespec {
        tv_sec: next,
        tv_nsec: 123_456_789,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, at, &times, flags).expect("utimensat");
    next
}

#[test]
fn rsync_with_links_acls_and_xattrs() {
    on_each_kind(&["rsync"], |machine| {
        let plain = machine.plain("tree");
        varied(&plain);
        let volume = machine.mount_for_devices();
        let from = format!("{}/", plain.display());
        let rsync = |options: &[&str]| {
            let mut rsync = Command::new("rsync");
            said(
                rsync
                    .args(["-aHAX", "--sparse"])
                    .args(options)
                    .arg(&from)
                    .arg(volume.join("copy")),
            )
        };
        rsync(&[]);
        machine.remount();
        same::assert_same(&plain, &volume.join("copy"));
        assert_eq!(
            rsync(&["--dry-run", "--itemize-changes", "--checksum"]),
            "",
            "rsync sees differences"
        );
        machine.umount();
    });
}

#[test]
fn tar_of_twenty_thousand_files() {
    on_each_kind(&["tar"], |machine| {
        let plain = machine.plain("tree");
        for dir in 0..200 {
            let dir = plain.join(format!("{}/{dir}", dir % 14));
            fs::create_dir_all(&dir).expect("mkdir");
            for file in 0..100_u64 {
                let path = dir.join(format!("file {file}"));
                let data = crate::model::rng::Rng::bytes(
                    file,
                    [0, 10, 100, 1000, 5000][file as usize % 5],
                );
                fs::write(&path, data).expect("write");
                fs::set_permissions(
                    &path,
                    fs::Permissions::from_mode(0o600 | (file as u32 % 0o100)),
                )
                .expect("chmod");
            }
        }
        let volume = machine.mount();
        fs::create_dir(volume.join("tree")).expect("mkdir");
        let mut pack = Command::new("tar");
        pack.args(["--format=posix", "-C"])
            .arg(&plain)
            .args(["-cf", "-", "."]);
        let mut pack = pack.stdout(Stdio::piped()).spawn().expect("tar");
        let mut unpack = Command::new("tar");
        unpack
            .arg("-C")
            .arg(volume.join("tree"))
            .args(["-xpf", "-"]);
        run(unpack.stdin(pack.stdout.take().expect("a pipe")));
        assert!(pack.wait().expect("tar").success());
        machine.remount();
        same::assert_same(&plain, &volume.join("tree"));
        run(Command::new("rm").arg("-r").arg(volume.join("tree")));
        assert_eq!(fs::read_dir(&volume).expect("readdir").count(), 0);
        machine.umount();
    });
}
