//! Which volume is it: a copy is not its original, and a header that was put here from another volume is not believed
//! because it is there, nor because most copies say so.
use super::{Scene, on_each_kind};
use crate::transcripts::Said;
use std::fs;
use std::process::Command;

const HEADER: i32 = 12;

/// `cp -a volume copy`.
fn copy(scene: &Scene) {
    let mut cp = Command::new("cp");
    let status = cp
        .arg("-a")
        .args(["volume", "copy"])
        .current_dir(scene.home());
    assert!(status.status().expect("cp").success());
}

fn mount(scene: &Scene, volume: &str) -> Said {
    let said = scene.run(&["mount", volume, "mount"]);
    assert_eq!(said.code, 0, "{}", said.err);
    scene.holds_the_letter();
    scene.umount();
    said
}

fn volume_id(scene: &Scene) -> String {
    scene.run(&["status", "volume"]).field("Volume ID:")
}

/// The command that a hint names after `before`, run as it is written.
fn follow(scene: &Scene, said: &Said, before: &str, input: &str) -> Said {
    let line = said.err.lines().find_map(|line| line.split_once(before));
    let (_, command) = line.unwrap_or_else(|| panic!("no hint '{before}' in:\n{}", said.err));
    let words: Vec<_> = command.split_whitespace().collect();
    assert_eq!(words[0], "cryptfs", "{command}");
    scene.bench.cryptfs(&words[1..], input)
}

#[test]
fn erasing_a_copy_leaves_the_original() {
    on_each_kind(|scene| {
        let id = volume_id(scene);
        copy(scene);
        let said = scene.bench.cryptfs(&["erase", "copy"], &id);
        said.says(&["destroyed: header copy", "kept: the keystore's keyfile"]);
        assert!(said.err.contains("is the same one"), "{}", said.err);
        assert_eq!(mount(scene, "volume").err, "");
        let recovery = scene.run(&["recovery-keys"]);
        recovery.says(&[&scene.password]);
        // Who means it can have it.
        follow(scene, &said, "to destroy those too: ", &id).says(&["destroyed: keystore's"]);
        scene.try_mount().fails(11, &["no keyfile"]);
    });
}

#[test]
fn erasing_the_original_or_a_copy_while_the_other_is_unplugged_keeps_the_keyfile() {
    on_each_kind(|scene| {
        let id = volume_id(scene);
        copy(scene);
        fs::rename(scene.volume(), scene.bench.path("unplugged")).expect("rename");
        scene
            .bench
            .cryptfs(&["erase", "copy"], &id)
            .says(&["kept: the keystore's"]);
        fs::rename(scene.bench.path("unplugged"), scene.volume()).expect("rename");
        assert_eq!(mount(scene, "volume").err, "");
    });
}

#[test]
fn a_drill_on_a_backup_leaves_the_original_as_it_is() {
    on_each_kind(|scene| {
        copy(scene);
        for command in [&["recover", "--verify", "copy"][..], &["recover", "copy"]] {
            let said = scene.bench.cryptfs(command, &scene.password);
            assert_eq!(said.code, 0, "{}", said.err);
            assert_eq!(mount(scene, "volume").err, "");
            let said = mount(scene, "copy");
            assert!(
                said.err.contains("this is a copy of the volume at"),
                "{}",
                said.err
            );
        }
        let said = scene.run(&["status", "--check", "volume"]);
        assert!([0, 4].contains(&said.code), "{}{}", said.out, said.err);
        // The keystore's spare header of each is its own.
        (0..3).for_each(|copy| scene.lose_header(copy));
        scene
            .bench
            .cryptfs(&["recover", "--verify", "volume"], &scene.password)
            .says(&["opens volume"]);
    });
}

#[test]
fn a_backup_that_was_used_while_the_original_was_away() {
    on_each_kind(|scene| {
        copy(scene);
        fs::rename(scene.volume(), scene.bench.path("unplugged")).expect("rename");
        let said = scene.bench.cryptfs(&["recover", "copy"], &scene.password);
        assert_eq!(said.code, 0, "{}", said.err);
        mount(scene, "copy");
        fs::rename(scene.bench.path("unplugged"), scene.volume()).expect("rename");
        mount(scene, "volume");
        mount(scene, "copy");
        mount(scene, "volume");
    });
}

/// A volume that has moved is no copy: what was seen of it goes on to count.
#[test]
fn a_moved_volume_is_still_guarded_against_older_headers() {
    on_each_kind(|scene| {
        copy(scene);
        let add = ["key", "add", "--pbkdf2-iterations", "1000", "volume"];
        assert_eq!(scene.run(&add).code, 0);
        fs::rename(scene.volume(), scene.bench.path("moved")).expect("rename");
        assert_eq!(mount(scene, "moved").err, "");
        match scene.is_image() {
            true => fs::remove_file(scene.bench.path("moved")).expect("remove"),
            false => fs::remove_dir_all(scene.bench.path("moved")).expect("remove"),
        }
        fs::rename(scene.bench.path("copy"), scene.bench.path("moved")).expect("rename");
        let said = scene.run(&["mount", "moved", "mount"]);
        said.fails(15, &["rolled back"]);
    });
}

/// Another volume that this keystore knows, and whose header lies in two of the three places.
fn overlay(scene: &Scene, places: &[usize]) {
    let other = scene.bench.path("other");
    let bytes = match scene.is_image() {
        true => fs::read(&other).expect("read")[..super::HEADER].to_vec(),
        false => fs::read(other.join("cryptfs.volume")).expect("read"),
    };
    places
        .iter()
        .for_each(|place| scene.put_header(*place, &bytes));
}

fn another_volume(scene: &Scene) -> String {
    let said = scene.bench.init(&[scene.kind, &["other"]].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    said.field("Recovery password:")
}

#[test]
fn most_header_copies_of_another_volume_do_not_make_it_that_volume() {
    on_each_kind(|scene| {
        another_volume(scene);
        let good = scene.headers();
        for places in [[0, 1], [0, 2], [1, 2]] {
            overlay(scene, &places);
            let said = scene.mount();
            scene.holds_the_letter();
            scene.umount();
            assert!(said.err.contains("of another volume"), "{}", said.err);
            assert!(scene.headers() == good, "{places:?}: not as before");
        }
        overlay(scene, &[0, 1]);
        scene.run(&["check", "--repair", "volume"]);
        assert!(scene.headers() == good, "check --repair");
    });
}

#[test]
fn the_right_sheet_opens_beside_header_copies_of_another_volume() {
    on_each_kind(|scene| {
        let wrong = another_volume(scene);
        overlay(scene, &[0, 1]);
        let before = scene.headers();
        let said = scene.bench.cryptfs(&["recover", "volume"], &wrong);
        said.fails(HEADER, &["it opens nothing in"]);
        assert!(scene.headers() == before);
        // The keystore knows the other volume only.
        let keyfile = format!(
            "keys/{}.key",
            scene.run(&["status", "volume"]).field("Volume ID:")
        );
        assert!(scene.bench.path(&keyfile).exists());
        let own: Vec<_> = fs::read_dir(scene.bench.path("keys"))
            .expect("keys")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                path.extension().is_some_and(|e| e == "key") && *path != scene.bench.path(&keyfile)
            })
            .collect();
        own.iter()
            .for_each(|path| fs::remove_file(path).expect("remove"));
        for command in [
            &["key", "add", "volume"][..],
            &["key", "rotate", "--keyfile", "volume"],
            &["mount", "volume", "mount"],
            &["check", "--repair", "volume"],
        ] {
            let said = scene.run(command);
            said.fails(HEADER, &["of different volumes", "cryptfs recover VOLUME"]);
            assert!(scene.headers() == before, "{command:?} wrote to the header");
        }
        let said = scene.bench.cryptfs(&["recover", "volume"], &scene.password);
        said.says(&["by itself again", "of another volume"]);
        mount(scene, "volume");
    });
}
