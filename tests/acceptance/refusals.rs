//! Wrong input and wrong places: each with its message, its hint and its exit code of cryptfs(1), and nothing changed by it:
//! no name, byte, mode, owner, time or attribute of volume, keystore and mount point.
use super::{Entry, OTHER, Scene, difference, on_each_kind, tree};
use crate::transcripts::Said;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Exit codes of cryptfs(1).
const WRONG_KEY: i32 = 10;
const KEYSTORE: i32 = 11;
const HEADER: i32 = 12;
const UNSUPPORTED: i32 = 13;
const BUSY: i32 = 14;
const ROLLED_BACK: i32 = 15;
const PLACE: i32 = 16;

/// All but the audit log, which is there to be written. A keystore without its log does not keep its time either.
fn all(scene: &Scene) -> Vec<Entry> {
    let keys = scene.bench.path("keys");
    let log = keys.join("audit.log");
    tree(&scene.home())
        .into_iter()
        .filter(|entry| entry.path != log)
        .collect()
}

/// Runs, and proves that it failed in the right way and changed nothing.
#[track_caller]
fn refused(scene: &Scene, code: i32, words: &[&str], run: impl FnOnce(&Scene) -> Said) {
    let before = all(scene);
    let said = run(scene);
    said.fails(
        code,
        &[words, &["cryptfs: error: ", "cryptfs: hint: "]].concat(),
    );
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert_eq!(difference(&before, &all(scene)), None, "{}", said.err);
    assert!(!super::is_mounted(&scene.point()));
}

fn mount(scene: &Scene) -> Said {
    scene.try_mount()
}

/// Afterwards everything works, as nothing was changed.
fn still_works(scene: &Scene) {
    scene.mount();
    scene.holds_the_letter();
    scene.umount();
}

#[test]
fn a_wrong_or_mistyped_recovery_password() {
    on_each_kind(|scene| {
        let id = scene.sheet.field("Password ID:");
        let recover = |input: String| {
            move |s: &Scene| s.bench.cryptfs(&["recover", "volume", "mount"], &input)
        };
        let words = ["does not open the volume", &id[..8]];
        refused(scene, WRONG_KEY, &words, recover(OTHER.to_owned()));
        // The last digit of the fifth group is another one: no multiple of 11 any more.
        let digit = scene.password.as_bytes()[33] - b'0';
        let mut typed = scene.password.clone();
        typed.replace_range(33..34, &((digit + 1) % 10).to_string());
        refused(
            scene,
            WRONG_KEY,
            &["group 5: the check digits"],
            recover(typed),
        );
        refused(
            scene,
            WRONG_KEY,
            &["7 of 8 groups"],
            recover(scene.password[..48].to_owned()),
        );
        refused(
            scene,
            WRONG_KEY,
            &["not a recovery password"],
            recover("open sesame".to_owned()),
        );
        let verify = |s: &Scene| s.bench.cryptfs(&["recover", "--verify", "volume"], OTHER);
        refused(scene, WRONG_KEY, &["does not open the volume"], verify);
        still_works(scene);
    });
}

#[test]
fn a_keyfile_of_another_volume_or_open_to_others_or_damaged() {
    on_each_kind(|scene| {
        let other = scene.another();
        let keyfile = scene.bench.keyfile();
        let good = fs::read(&keyfile).expect("read");
        fs::copy(other.bench.keyfile(), &keyfile).expect("copy");
        refused(
            scene,
            KEYSTORE,
            &["is of another volume", "cryptfs recover VOLUME"],
            mount,
        );
        fs::write(&keyfile, &good[..100]).expect("write");
        refused(scene, KEYSTORE, &["is damaged"], mount);
        fs::write(&keyfile, &good).expect("write");
        for mode in [0o644, 0o640, 0o620] {
            fs::set_permissions(&keyfile, PermissionsExt::from_mode(mode)).expect("chmod");
            let words = [
                &format!("permissions {mode:04o}"),
                "are too open",
                "run chmod 600",
            ];
            refused(scene, KEYSTORE, &words, mount);
        }
        fs::set_permissions(&keyfile, PermissionsExt::from_mode(0o600)).expect("chmod");
        fs::set_permissions(scene.bench.path("keys"), PermissionsExt::from_mode(0o755))
            .expect("chmod");
        refused(
            scene,
            KEYSTORE,
            &["permissions 0755", "run chmod 700"],
            mount,
        );
        fs::set_permissions(scene.bench.path("keys"), PermissionsExt::from_mode(0o700))
            .expect("chmod");
        let away = scene.bench.path("away");
        fs::rename(&keyfile, &away).expect("rename");
        refused(
            scene,
            KEYSTORE,
            &["no keyfile for this volume", "cryptfs recover VOLUME"],
            mount,
        );
        fs::rename(&away, &keyfile).expect("rename");
        // As someone left it who could write there: a link is not followed.
        fs::rename(&keyfile, &away).expect("rename");
        std::os::unix::fs::symlink(&away, &keyfile).expect("symlink");
        let before = all(scene);
        assert_ne!(mount(scene).code, 0);
        assert_eq!(difference(&before, &all(scene)), None);
        fs::remove_file(&keyfile).expect("remove");
        fs::rename(&away, &keyfile).expect("rename");
        still_works(scene);
    });
}

#[test]
fn a_mount_point_that_cannot_be_one() {
    on_each_kind(|scene| {
        let onto = |point: &'static str| move |s: &Scene| s.run(&["mount", "volume", point]);
        refused(scene, PLACE, &["does not exist", "mkdir"], onto("nowhere"));
        fs::write(scene.bench.path("file"), "x").expect("write");
        refused(scene, PLACE, &["is not a directory"], onto("file"));
        fs::create_dir(scene.bench.path("full")).expect("mkdir");
        fs::write(scene.bench.path("full/mine"), "x").expect("write");
        refused(scene, PLACE, &["is not empty", "-o nonempty"], onto("full"));
        if !scene.is_image() {
            fs::create_dir(scene.bench.path("volume/inside")).expect("mkdir");
            refused(scene, PLACE, &["one in the other"], onto("volume/inside"));
            fs::remove_dir(scene.bench.path("volume/inside")).expect("rmdir");
        }
        let init = |s: &Scene| s.bench.init(&["nowhere/volume"]);
        refused(scene, PLACE, &["nowhere does not exist"], init);
        let salvage = |s: &Scene| s.run(&["recover", "--salvage", "full", "volume"]);
        refused(scene, PLACE, &["full is not empty", "--resume"], salvage);
        let unmount = |s: &Scene| s.run(&["umount", "mount"]);
        refused(scene, PLACE, &["nothing is mounted"], unmount);
        refused(scene, PLACE, &["nothing is mounted"], |s: &Scene| {
            s.run(&["umount", "nowhere"])
        });
        still_works(scene);
    });
}

#[test]
fn a_volume_that_is_mounted_already() {
    on_each_kind(|scene| {
        fs::create_dir(scene.bench.path("other")).expect("mkdir");
        scene.mount();
        let before = all(scene);
        for command in [
            &["mount", "volume", "mount"][..],
            &["mount", "volume", "other"],
            &["mount", "-o", "ro", "volume", "other"],
            &["check", "--repair", "volume"],
            &["check", "volume"],
        ] {
            let said = scene.run(command);
            said.fails(
                BUSY,
                &["already mounted", "hint: unmount it with cryptfs umount"],
            );
            assert_eq!(difference(&before, &all(scene)), None, "{command:?}");
            scene.holds_the_letter();
        }
        scene.umount();
        still_works(scene);
    });
}

/// It names those that keep it busy; itself, called from inside, is none of them.
#[test]
fn a_mount_in_use() {
    on_each_kind(|scene| {
        scene.mount();
        let inside = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            command.current_dir(scene.point()).args(arguments);
            command
        };
        let mut sleep = inside("sleep", &["60"]).spawn().expect("sleep");
        let said = scene.run(&["umount", "mount"]);
        let by = format!("is in use by sleep ({})", sleep.id());
        said.fails(BUSY, &[&by, "hint: close these programs"]);
        scene.holds_the_letter();
        sleep.kill().and_then(|()| sleep.wait()).expect("kill");
        let point = scene.point();
        let point = point.to_str().expect("UTF-8");
        let mut umount = inside(env!("CARGO_BIN_EXE_cryptfs"), &["umount", point]);
        let end = umount.status().expect("cryptfs");
        assert!(end.success() && !super::is_mounted(&scene.point()));
    });
}

/// Writes `value` at `at` into every header copy, with a right checksum: what a newer cryptfs would have written.
fn rewrite(scene: &Scene, at: usize, value: u8) {
    for copy in 0..3 {
        let mut bytes = scene.header(copy);
        bytes[at] = value;
        let end = bytes.len() - 32;
        let sum = cryptfs::crypto::digest::sha256(&[&bytes[..end]]);
        bytes[end..].copy_from_slice(&sum);
        scene.put_header(copy, &bytes);
    }
}

#[test]
fn a_volume_of_a_newer_version() {
    on_each_kind(|scene| {
        let good = scene.headers();
        for (at, value, words) in [
            (8, 2, "format version 2.0 is unknown"),
            (72, 1, "incompat bit 0"),
            (79, 0x80, "incompat bit 63"),
        ] {
            rewrite(scene, at, value);
            let words = [words, "use a newer cryptfs"];
            refused(scene, UNSUPPORTED, &words, mount);
            let recover = |s: &Scene| s.bench.cryptfs(&["recover", "volume"], &s.password);
            refused(scene, UNSUPPORTED, &words, recover);
            let check = |s: &Scene| s.run(&["check", "--repair", "volume"]);
            refused(scene, UNSUPPORTED, &words, check);
            (0..3).for_each(|copy| scene.put_header(copy, &good[copy]));
        }
        still_works(scene);
    });
}

/// One copy that a newer version wrote is not "repaired" with an old one.
#[test]
fn a_single_copy_of_a_newer_version() {
    on_each_kind(|scene| {
        let good = scene.headers();
        rewrite(scene, 8, 2);
        for (copy, bytes) in good.iter().enumerate().skip(1) {
            scene.put_header(copy, bytes);
        }
        refused(scene, UNSUPPORTED, &["format version 2.0"], mount);
    });
}

#[test]
fn what_is_not_a_volume_or_is_not_there() {
    on_each_kind(|scene| {
        fs::create_dir(scene.bench.path("plain")).expect("mkdir");
        fs::write(scene.bench.path("plain/mine"), "x").expect("write");
        fs::write(scene.bench.path("file"), "x".repeat(20_000)).expect("write");
        for (volume, words) in [
            ("plain", "is not a cryptfs volume"),
            ("file", "is not a cryptfs volume"),
            ("nowhere", "does not exist"),
        ] {
            for command in [
                &["mount", volume, "mount"][..],
                &["recover", volume],
                &["check", volume],
            ] {
                refused(scene, PLACE, &[words], |s| {
                    s.bench.cryptfs(command, &s.password)
                });
            }
        }
        still_works(scene);
    });
}

/// A kit of another volume, whose header has the higher number and whose password is at hand, was taken for the volume's own
/// header, and written over it: every file was unreadable then.
#[test]
fn a_kit_of_another_volume() {
    on_each_kind(|scene| {
        let other = scene.another();
        for _ in 0..3 {
            let add = ["key", "add", "--pbkdf2-iterations", "1000", "volume"];
            assert_eq!(other.run(&add).code, 0);
        }
        assert_eq!(other.run(&["kit", "volume", "kit"]).code, 0);
        fs::copy(other.bench.path("kit"), scene.bench.path("kit")).expect("copy");
        let commands = [
            &["recover", "--kit", "kit", "volume"][..],
            &["recover", "--kit", "kit", "--verify", "volume"],
            &["header", "restore", "--accept-rollback", "volume", "kit"],
        ];
        let passwords = [&scene.password, &other.password];
        for (command, password) in commands.iter().flat_map(|c| passwords.map(|p| (c, p))) {
            let words = ["the saved header is of volume"];
            refused(scene, HEADER, &words, |s| {
                s.bench.cryptfs(command, password)
            });
        }
        still_works(scene);
        // The same where no header of the volume's own can object: its names or pages do.
        (0..3).for_each(|copy| scene.lose_header(copy));
        for (command, password) in commands.iter().flat_map(|c| passwords.map(|p| (c, p))) {
            let right = *password == other.password;
            let (code, words) = match right {
                true => (HEADER, "it opens nothing in"),
                false => (WRONG_KEY, "does not open the volume"),
            };
            refused(scene, code, &[words], |s| {
                s.bench.cryptfs(command, password)
            });
        }
        // In a directory that never was a volume it is the same.
        fs::create_dir(scene.bench.path("plain")).expect("mkdir");
        fs::write(scene.bench.path("plain/mine"), "x").expect("write");
        let recover = ["recover", "--kit", "kit", "plain"];
        refused(scene, HEADER, &["it opens nothing in"], |s| {
            s.bench.cryptfs(&recover, &other.password)
        });
        let said = scene.bench.cryptfs(&["recover", "volume"], &scene.password);
        said.says(&["unlocks the volume by itself again"]);
        still_works(scene);
    });
}

#[test]
fn a_header_that_was_rolled_back() {
    on_each_kind(|scene| {
        let old = scene.headers();
        let add = ["key", "add", "--pbkdf2-iterations", "1000", "volume"];
        assert_eq!(scene.run(&add).code, 0);
        for (copy, bytes) in old.iter().enumerate() {
            scene.put_header(copy, bytes);
        }
        refused(
            scene,
            ROLLED_BACK,
            &["was rolled back", "--accept-rollback"],
            mount,
        );
        refused(scene, ROLLED_BACK, &["was rolled back"], |s| {
            s.run(&["check", "--repair", "volume"])
        });
        // The way on.
        let said = scene.run(&["mount", "--accept-rollback", "volume", "mount"]);
        assert_eq!(said.code, 0, "{}", said.err);
        scene.holds_the_letter();
        scene.umount();
        still_works(scene);
    });
}
