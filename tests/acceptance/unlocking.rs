//! Recovery never ends in a dead end: slots that are taken, a keystore that is full, volumes that moved, older headers.
//! The commands that hints name are run as they are written.
use super::{Scene, is_mounted, on_each_kind};
use crate::needs;
use crate::transcripts::Said;
use std::fs;
use std::path::Path;
use std::process::Command;

const FAST: [&str; 2] = ["--pbkdf2-iterations", "1000"];

/// The word after `before` in what was said.
fn word(said: &Said, before: &str) -> String {
    let text = format!("{}\n{}", said.out, said.err);
    let rest = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no '{before}' in:\n{text}"));
    rest.1
        .split([' ', '\n', ',', ';'])
        .next()
        .expect("a word")
        .to_owned()
}

fn slots(scene: &Scene) -> usize {
    scene.run(&["key", "list", "volume"]).out.lines().count()
}

fn add_computer(scene: &Scene, number: usize) -> Said {
    let name = format!("computer-{number}");
    let file = format!("keyfile-{number}");
    scene.run(&[
        "key",
        "add",
        "--computer",
        &name,
        "--keyfile",
        &file,
        "volume",
    ])
}

#[test]
fn all_slots_taken_and_the_keystore_lost() {
    on_each_kind(|scene| {
        for number in 0..10 {
            assert_eq!(add_computer(scene, number).code, 0);
        }
        assert_eq!(slots(scene), 12);
        let full = add_computer(scene, 10);
        full.fails(
            1,
            &[
                "all 12 key protectors are in use",
                "the oldest keyfile, of computer-0",
            ],
        );
        fs::remove_dir_all(scene.bench.path("keys")).expect("remove");
        let recover = ["recover", "volume", "mount"];
        let said = scene.bench.cryptfs(&recover, &scene.password);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.err
                .contains("will not unlock the volume by itself: all 12"),
            "{}",
            said.err
        );
        scene.holds_the_letter();
        scene.umount();
        let id = word(&said, "cryptfs key remove VOLUME ");
        let remove = ["key", "remove", "--recovery-password", "volume", &id];
        scene
            .bench
            .cryptfs(&remove, &scene.password)
            .says(&["removed"]);
        let said = scene.bench.cryptfs(&recover, &scene.password);
        said.says(&["by itself again"]);
        scene.umount();
        scene.mount();
        scene.holds_the_letter();
        scene.umount();
    });
}

/// Each failing `key add` left a protector that nobody had; ten of them, and all slots were taken.
#[test]
fn a_full_keystore_costs_no_slots_and_keeps_nobody_out() {
    if !needs::root("a small file system for the keystore") {
        return;
    }
    on_each_kind(|scene| {
        let keys = scene.bench.path("keys");
        let away = scene.bench.path("away");
        fs::rename(&keys, &away).expect("rename");
        fs::create_dir(&keys).expect("mkdir");
        let mut mount = Command::new("mount");
        let small = mount
            .args(["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs"])
            .arg(&keys);
        assert!(small.status().expect("mount").success());
        let _end = Unmounted(&keys);
        let copied = Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", away.display()))
            .arg(&keys)
            .status();
        assert!(copied.expect("cp").success());
        fs::write(keys.join("ballast"), vec![1; 1 << 20]).expect_err("it fills up");
        let mut before = slots(scene);
        for command in [
            &["key", "add", FAST[0], FAST[1], "volume"][..],
            &["key", "add", "--passphrase", "--argon2-memory=64", "volume"],
            &["key", "add", "--computer", "c", "--keyfile", "f", "volume"],
            &["key", "rotate", FAST[0], FAST[1], "volume"],
            &["key", "rotate", "--keyfile", "volume"],
        ] {
            let said = scene
                .bench
                .cryptfs(command, "correct horse battery staple\n");
            // What fails leaves nothing behind; the keystore's own notes are not worth failing for.
            let now = slots(scene);
            match said.code {
                0 => before = now,
                _ => assert_eq!(now, before, "{command:?}: {}", said.err),
            }
        }
        let said = scene
            .bench
            .cryptfs(&["recover", "volume", "mount"], &scene.password);
        assert_eq!(said.code, 0, "{}", said.err);
        scene.holds_the_letter();
        scene.umount();
        assert_eq!(scene.run(&["mount", "volume", "mount"]).code, 0);
        scene.holds_the_letter();
        scene.umount();
    });
}

struct Unmounted<'a>(&'a Path);

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        let _ = rustix::mount::unmount(self.0, flags);
    }
}

#[test]
fn a_moved_volume_whose_header_is_lost() {
    on_each_kind(|scene| {
        (0..3).for_each(|copy| scene.lose_header(copy));
        fs::rename(scene.volume(), scene.bench.path("moved")).expect("rename");
        let said = scene
            .bench
            .cryptfs(&["recover", "moved", "mount"], &scene.password);
        assert_ne!(said.code, 0);
        let id = word(&said, "cryptfs recover --id ");
        let said = scene
            .bench
            .cryptfs(&["recover", "--id", &id, "moved", "mount"], &scene.password);
        assert_eq!(said.code, 0, "{}", said.err);
        scene.holds_the_letter();
        scene.umount();
    });
}

/// An older header was put back, or the other computer's of two that changed it while apart.
#[test]
fn beside_an_older_header() {
    on_each_kind(|scene| {
        let old = scene.headers();
        let added = scene.run(&["key", "add", FAST[0], FAST[1], "volume"]);
        let newer = added.field("Recovery password:");
        let id = added.field("Password ID:");
        for (copy, bytes) in old.iter().enumerate() {
            scene.put_header(copy, bytes);
        }
        scene
            .run(&["recovery-keys"])
            .says(&[&newer, &scene.password]);
        let said = scene.run(&["check", "volume"]);
        said.says(&["0 findings"]);
        assert!(said.err.contains("rolled back"), "{}", said.err);
        for command in [
            &["kit", "volume", "kit"][..],
            &["key", "add", "volume"],
            &["check", "--repair", "volume"],
        ] {
            scene
                .run(command)
                .fails(15, &["cryptfs mount --accept-rollback VOLUME MOUNTPOINT"]);
        }
        // As the hint says; what the older header lacks is named.
        let said = scene.run(&["mount", "--accept-rollback", "volume", "mount"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.err.contains("does not have the recovery password"),
            "{}",
            said.err
        );
        assert!(said.err.contains(&id[..8]), "{}", said.err);
        scene.umount();
        assert_eq!(scene.run(&["kit", "volume", "kit"]).code, 0);
        assert_eq!(scene.mount().err, "");
        scene.umount();
    });
}

#[test]
fn the_other_way_on_from_an_older_header_is_recover() {
    on_each_kind(|scene| {
        let old = scene.headers();
        let added = scene.run(&["key", "add", FAST[0], FAST[1], "volume"]);
        let newer = added.field("Recovery password:");
        for (copy, bytes) in old.iter().enumerate() {
            scene.put_header(copy, bytes);
        }
        scene
            .try_mount()
            .fails(15, &["cryptfs recover VOLUME repairs the header"]);
        let said = scene.bench.cryptfs(&["recover", "volume"], &scene.password);
        assert_eq!(said.code, 0, "{}", said.err);
        let verify = ["recover", "--verify", "volume"];
        scene.bench.cryptfs(&verify, &newer).says(&["opens volume"]);
        scene.mount();
        scene.holds_the_letter();
        scene.umount();
    });
}

#[test]
fn auto_unlock_does_not_end_without_a_word() {
    on_each_kind(|scene| {
        let old = scene.bench.path("saved");
        let old = old.to_str().expect("UTF-8");
        scene
            .run(&["header", "backup", "volume", old])
            .says(&["saved"]);
        scene
            .run(&["key", "rotate", "--keyfile", "volume"])
            .says(&["replaces"]);
        let restore = ["header", "restore", "--accept-rollback", "volume", old];
        let said = scene.bench.cryptfs(&restore, &scene.password);
        said.says(&["put back"]);
        assert!(
            said.err.contains("does not unlock the volume by itself"),
            "{}",
            said.err
        );
        let recover = ["recover", "volume"];
        scene
            .bench
            .cryptfs(&recover, &scene.password)
            .says(&["by itself again"]);
        let list = scene.run(&["key", "list", "volume"]).out;
        let own = list.lines().filter(|line| line.contains("  keyfile "));
        let own: Vec<_> = own.map(|line| line[..8].to_owned()).collect();
        // The restored one, and the one that opens it now.
        assert_eq!(own.len(), 2, "{list}");
        let texts: Vec<_> = own
            .iter()
            .map(|id| {
                scene.bench.cryptfs(
                    &["key", "remove", "--recovery-password", "volume", id],
                    &scene.password,
                )
            })
            .map(|said| {
                assert_eq!(said.code, 0, "{}", said.err);
                said.err
            })
            .collect();
        let ends = texts
            .iter()
            .filter(|text| text.contains("does not unlock the volume by itself any more"));
        assert_eq!(ends.count(), 1, "{texts:?}");
        let others = texts
            .iter()
            .filter(|text| text.contains("could read recovery password"));
        assert_eq!(others.count(), 1, "{texts:?}");
        assert!(!is_mounted(&scene.point()));
    });
}

/// Two keystores with one ID, as machines that were cloned have them, do not throw each other out.
#[test]
fn cloned_computers_keep_their_keyfiles() {
    on_each_kind(|scene| {
        let clone = scene.bench.path("clone");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(scene.bench.path("keys"))
            .arg(&clone)
            .status();
        assert!(copied.expect("cp").success());
        let on_the_clone = ["--keystore", "clone"];
        // The keyfile that both had is replaced on one: the other one is told, and gets a new one.
        scene
            .run(&["key", "rotate", "--keyfile", "volume"])
            .says(&["replaces"]);
        let mount = [&["mount", "volume", "mount"], &on_the_clone[..]].concat();
        assert_eq!(scene.run(&mount).code, 10);
        let recover = [&["recover", "volume"], &on_the_clone[..]].concat();
        scene
            .bench
            .cryptfs(&recover, &scene.password)
            .says(&["by itself again"]);
        for mount in [&mount[..], &["mount", "volume", "mount"]] {
            let said = scene.run(mount);
            assert_eq!(said.code, 0, "{}", said.err);
            scene.umount();
        }
    });
}

/// The keystore moved, or the machine has another ID: the keyfile that is replaced opens nothing any more.
#[test]
fn a_replaced_keyfile_is_dead_wherever_the_keystore_lies() {
    on_each_kind(|scene| {
        let old = fs::read(scene.bench.keyfile()).expect("read");
        fs::rename(scene.bench.path("keys"), scene.bench.path("elsewhere")).expect("rename");
        let there = ["--keystore", "elsewhere"];
        let rotate = [&["key", "rotate", "--keyfile", "volume"], &there[..]].concat();
        scene.run(&rotate).says(&["replaces"]);
        fs::rename(scene.bench.path("elsewhere"), scene.bench.path("keys")).expect("rename");
        assert_eq!(slots(scene), 2);
        let new = scene.bench.keyfile();
        fs::write(&new, old).expect("write");
        scene.try_mount().fails(10, &["does not open the volume"]);
    });
}
