//! A mount below other file systems and programs of containers: overlayfs keeps its upper layer on it.
use crate::needs;
use crate::programs::machine::{KINDS, Machine, run};
use rustix::fs::{RenameFlags, XattrFlags};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::process::{Command, Stdio};

#[test]
fn a_rename_leaves_a_whiteout() {
    if !needs::fuse() || !needs::root("devices") {
        return;
    }
    for kind in KINDS {
        let machine = Machine::new(kind);
        let point = machine.mount_for_devices();
        let long = "n".repeat(200);
        for (index, name) in ["file", "dir", &long].into_iter().enumerate() {
            let (old, new) = (point.join(name), point.join(format!("new {index}")));
            match name {
                "dir" => fs::create_dir(&old).expect("mkdir"),
                _ => fs::write(&old, name).expect("write"),
            }
            let at = rustix::fs::CWD;
            rustix::fs::renameat_with(at, &old, at, &new, RenameFlags::WHITEOUT).expect("rename");
        }
        machine.umount();
        machine.mount_for_devices();
        for (index, name) in ["file", "dir", &long].into_iter().enumerate() {
            let left = fs::symlink_metadata(point.join(name)).expect("a whiteout");
            assert!(left.file_type().is_char_device() && left.rdev() == 0);
            let moved = fs::metadata(point.join(format!("new {index}"))).expect("stat");
            assert_eq!(moved.is_dir(), name == "dir");
        }
        machine.umount();
        run(machine.cryptfs(&["check"]).arg(machine.volume()));
    }
}

#[test]
fn links_and_devices_have_trusted_attributes() {
    if !needs::fuse() || !needs::root("trusted attributes") {
        return;
    }
    for kind in KINDS {
        let machine = Machine::new(kind);
        let point = machine.mount();
        symlink("target", point.join("link")).expect("symlink");
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, point.join("fifo"), fifo, mode, 0).expect("mknod");
        for name in ["link", "fifo"] {
            let path = point.join(name);
            let set = rustix::fs::lsetxattr(&path, "trusted.mark", b"here", XattrFlags::empty());
            set.unwrap_or_else(|error| panic!("{kind:?} {name}: {error}"));
        }
        machine.remount();
        for name in ["link", "fifo"] {
            let mut value = [0; 16];
            let length = rustix::fs::lgetxattr(point.join(name), "trusted.mark", &mut value);
            assert_eq!(&value[..length.expect("getxattr")], b"here");
        }
        machine.umount();
        run(machine.cryptfs(&["check"]).arg(machine.volume()));
    }
}

#[test]
fn overlayfs_has_its_upper_layer_on_a_mount() {
    if !needs::fuse() || !needs::root("overlayfs") {
        return;
    }
    for kind in KINDS {
        let machine = Machine::new(kind);
        let (lower, merged) = (machine.plain("lower"), machine.plain("merged"));
        fs::create_dir(lower.join("dir")).expect("mkdir");
        for name in ["removed", "moved", "changed", "dir/inside"] {
            fs::write(lower.join(name), name).expect("write");
        }
        symlink("target", lower.join("link")).expect("symlink");
        let point = machine.mount_for_devices();
        for name in ["upper", "work"] {
            fs::create_dir(point.join(name)).expect("mkdir");
        }
        let layers = format!(
            "redirect_dir=on,lowerdir={},upperdir={},workdir={}",
            lower.display(),
            point.join("upper").display(),
            point.join("work").display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &layers]);
        let mounted = mount.arg(&merged).stderr(Stdio::null()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            needs::say("overlayfs does not take this as its upper layer");
            machine.umount();
            return;
        }
        fs::remove_file(merged.join("removed")).expect("rm");
        fs::rename(merged.join("moved"), merged.join("new name")).expect("rename");
        fs::write(merged.join("changed"), "changed now").expect("write");
        fs::rename(merged.join("dir"), merged.join("new dir")).expect("rename a directory");
        std::os::unix::fs::lchown(merged.join("link"), Some(1), Some(1)).expect("chown a link");
        run(Command::new("umount").arg(&merged));
        machine.umount();
        machine.mount_for_devices();
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &layers]);
        run(mount.arg(&merged));
        let mut names: Vec<_> = fs::read_dir(&merged)
            .expect("readdir")
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .map(|name| name.expect("UTF-8"))
            .collect();
        names.sort();
        let read = |name: &str| fs::read_to_string(merged.join(name)).expect("read");
        let link = fs::symlink_metadata(merged.join("link")).expect("stat");
        let found = (
            read("new name"),
            read("changed"),
            read("new dir/inside"),
            link.uid(),
        );
        run(Command::new("umount").arg(&merged));
        machine.umount();
        assert_eq!(names, ["changed", "link", "new dir", "new name"]);
        let [moved, changed, inside] = ["moved", "changed now", "dir/inside"].map(String::from);
        assert_eq!(found, (moved, changed, inside, 1));
        run(machine.cryptfs(&["check"]).arg(machine.volume()));
    }
}
