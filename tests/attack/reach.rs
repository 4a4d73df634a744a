//! What other users can do beside a mount that they may enter.
use crate::needs;
use crate::programs::machine::Machine;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn mode(path: &Path) -> u32 {
    path.metadata().expect("stat").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn mount(machine: &Machine, options: &str) -> Output {
    let mut command = machine.cryptfs(&["mount", "-o", options]);
    command
        .arg(machine.volume())
        .arg(machine.home().join("mnt"));
    command.output().expect("run cryptfs")
}

#[test]
fn a_new_volume_closes_an_existing_directory() {
    let home = tempfile::tempdir().expect("a directory");
    let volume = home.path().join("volume");
    fs::create_dir(&volume).expect("mkdir");
    set_mode(&volume, 0o755);
    let init = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptfs"));
        command.env("CRYPTFS_KEYSTORE", home.path().join("keystore"));
        command.args(["init", "--quiet", "--pbkdf2-iterations", "1000"]);
        command.args(options).arg(&volume).output().expect("run")
    };
    fs::write(volume.join("file"), "here first").expect("write");
    assert!(!init(&[]).status.success());
    assert_eq!(mode(&volume), 0o755, "nothing was made");
    fs::remove_file(volume.join("file")).expect("rm");
    let made = init(&[]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(mode(&volume), 0o700);
}

#[test]
fn allow_other_is_refused_where_others_reach_the_volume() {
    if !needs::fuse() || !needs::root("allow_other") {
        return;
    }
    for kind in crate::programs::machine::KINDS {
        let machine = Machine::new(kind);
        set_mode(&machine.volume(), 0o777);
        set_mode(machine.home(), 0o700);
        let closed = mount(&machine, "allow_other");
        assert!(closed.status.success(), "{closed:?}"); // the directory above is for its owner alone
        machine.umount();
        set_mode(machine.home(), 0o755);
        let open = mount(&machine, "allow_other");
        let said = String::from_utf8_lossy(&open.stderr);
        assert!(!open.status.success(), "{said}");
        assert!(said.contains("others_reach_ciphertext"), "{said}");
        let alone = mount(&machine, "rw");
        assert!(alone.status.success(), "{alone:?}");
        machine.umount();
        let forced = mount(&machine, "allow_other,others_reach_ciphertext");
        assert!(forced.status.success(), "{forced:?}");
        machine.umount();
        set_mode(&machine.volume(), 0o700);
        let again = mount(&machine, "allow_other");
        assert!(again.status.success(), "{again:?}");
        machine.umount();
    }
}

/// mount(8) runs mount.fuse(8), which adds `dev,suid` by itself.
#[test]
fn a_mount_by_the_system_has_no_devices_and_no_set_user_id() {
    if !needs::fuse() || !needs::root("mount(8)") || !needs::program("mount.fuse3") {
        return;
    }
    let machine = Machine::new(&[]);
    let program = Path::new(env!("CARGO_BIN_EXE_cryptfs"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().expect("a folder").display());
    let point = machine.home().join("mnt");
    for (options, shown) in [("rw", true), ("suid,dev", false)] {
        let mut command = Command::new("mount.fuse3");
        command.arg(format!("cryptfs#{}", machine.volume().display()));
        command.arg(&point).args(["-o", options]).env("PATH", &path);
        command.env("CRYPTFS_KEYSTORE", machine.home().join("keystore"));
        let mounted = command.output().expect("run mount.fuse3");
        assert!(mounted.status.success(), "{mounted:?}");
        let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let ours = format!(" {} ", point.display());
        let line = table.lines().find(|line| line.contains(&ours));
        let line = line.expect("a mount");
        for word in ["nosuid", "nodev"] {
            assert_eq!(line.contains(word), shown, "{options}: {line}");
        }
        machine.umount();
    }
}

/// Others may enter the mount, and still do not reach the backing directory.
#[test]
fn the_mode_of_the_mount_s_root_is_not_that_of_the_backing_directory() {
    if !needs::fuse() {
        return;
    }
    let machine = Machine::new(&[]);
    let point = machine.mount();
    // The kernel knows no owner of a mount's root before it was asked for once, and lets nobody but root change it.
    assert_eq!(mode(&point), mode(&machine.volume()));
    set_mode(&point, 0o1755);
    assert_eq!((mode(&point), mode(&machine.volume())), (0o1755, 0o700));
    machine.remount();
    assert_eq!((mode(&point), mode(&machine.volume())), (0o1755, 0o700));
    set_mode(&point, 0o700);
    machine.remount();
    assert_eq!(mode(&point), 0o700);
    machine.umount();
}
