//! Header copies: any one or two destroyed, in any way, and mount goes on by itself, says so, and puts them back byte by
//! byte; all three, and `recover` puts them back from the keystore or a kit.
use super::{Scene, on_each_kind};
use crate::needs;
use std::fs;

/// How a copy gets lost.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Deleted,
    Emptied,
    Zeroed,
    Cut,
    Garbage,
    OneBit,
}

const DAMAGES: [Damage; 6] = [
    Damage::Deleted,
    Damage::Emptied,
    Damage::Zeroed,
    Damage::Cut,
    Damage::Garbage,
    Damage::OneBit,
];

impl Damage {
    fn strike(self, scene: &Scene, copy: usize) {
        let mut bytes = scene.header(copy);
        match self {
            Self::Deleted => return scene.lose_header(copy),
            Self::Emptied => bytes.clear(),
            Self::Zeroed => bytes.fill(0),
            Self::Cut => bytes.truncate(9000),
            Self::Garbage => (0..).zip(&mut bytes).for_each(|(i, b): (u32, _)| {
                *b = (i.wrapping_mul(2_654_435_761) >> 13) as u8;
            }),
            Self::OneBit => bytes[3500] ^= 0x10,
        }
        scene.put_header(copy, &bytes);
    }
}

/// Each single copy and each pair.
const LOST: [&[usize]; 6] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]];

#[test]
fn any_one_or_two_destroyed_come_back_by_themselves() {
    on_each_kind(|scene| {
        let good = scene.headers();
        for (round, lost) in LOST
            .iter()
            .cycle()
            .take(LOST.len() * DAMAGES.len())
            .enumerate()
        {
            // The second of a pair is damaged in another way than the first.
            let damage = |place: usize| DAMAGES[(round / LOST.len() + place) % DAMAGES.len()];
            let story: Vec<_> = (0..)
                .zip(*lost)
                .map(|(i, &copy)| (copy, damage(i)))
                .collect();
            for (copy, damage) in &story {
                damage.strike(scene, *copy);
            }
            let said = scene.mount();
            for (copy, name) in scene.copies().into_iter().enumerate() {
                let told = format!("cryptfs: warning: header copy {name} was ");
                let lines = said.err.lines().filter(|line| line.starts_with(&told));
                let lines: Vec<_> = lines.collect();
                let struck = story.iter().any(|(struck, _)| *struck == copy);
                assert_eq!(lines.len(), usize::from(struck), "{story:?}: {}", said.err);
                assert!(
                    lines.iter().all(|l| l.ends_with("; it is good again")),
                    "{}",
                    said.err
                );
            }
            scene.holds_the_letter();
            scene.umount();
            assert!(scene.headers() == good, "{story:?}: not as before");
        }
    });
}

#[test]
fn the_directory_of_two_copies_comes_back_too() {
    if !needs::fuse() {
        return;
    }
    let scene = Scene::new(super::DIRECTORY);
    let good = scene.headers();
    fs::remove_dir_all(scene.volume().join(".cryptfs")).expect("remove");
    scene.mount();
    scene.holds_the_letter();
    scene.umount();
    assert!(scene.headers() == good);
}

/// A read-only mount must not write; it must not be silent either.
#[test]
fn a_read_only_mount_says_so_and_leaves_them() {
    on_each_kind(|scene| {
        Damage::Zeroed.strike(scene, 0);
        let damaged = scene.headers();
        let said = scene.run(&["mount", "-o", "ro", "volume", "mount"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.err
                .contains(&format!("header copy {}", scene.copies()[0])),
            "{}",
            said.err
        );
        scene.holds_the_letter();
        scene.umount();
        assert!(scene.headers() == damaged);
    });
}

/// What a sync program or a hand did once: a copy of another volume's header, newer by its number, among the good ones.
/// Believed, it would lock the volume; the two others know better.
#[test]
fn a_copy_of_another_volume_is_outvoted() {
    on_each_kind(|scene| {
        let good = scene.headers();
        let other = scene.another();
        for _ in 0..3 {
            let add = ["key", "add", "--pbkdf2-iterations", "1000", "volume"];
            assert_eq!(other.run(&add).code, 0);
        }
        for (copy, name) in scene.copies().into_iter().enumerate() {
            scene.put_header(copy, &other.header(copy));
            let said = scene.mount();
            let told = format!("header copy {name} was of another volume");
            assert!(said.err.contains(&told), "{}", said.err);
            scene.holds_the_letter();
            scene.umount();
            assert!(scene.headers() == good, "{name}");
        }
    });
}

fn destroy_all(scene: &Scene, how: usize) {
    for copy in 0..3 {
        DAMAGES[(how + copy) % DAMAGES.len()].strike(scene, copy);
    }
}

#[test]
fn all_three_destroyed_come_back_from_the_keystore_or_a_kit() {
    on_each_kind(|scene| {
        assert_eq!(scene.run(&["kit", "volume", "kit"]).code, 0);
        let recover = |arguments: &[&str]| {
            let all = [&["recover"], arguments, &["volume", "mount"]].concat();
            scene.bench.cryptfs(&all, &scene.password)
        };
        for how in 0..DAMAGES.len() {
            // An image without as much as the first bytes of one copy is like any other file.
            let (code, words) = match scene.is_image() && how == 0 {
                true => (16, "is not a cryptfs volume"),
                false => (12, "no copy"),
            };
            destroy_all(scene, how);
            scene.try_mount().fails(code, &[words, "cryptfs recover"]);
            let said = recover(&[]);
            said.says(&["header copy repaired", "unlocks the volume by itself again"]);
            scene.holds_the_letter();
            scene.umount();
            let headers = scene.headers();
            assert!(headers[0] == headers[1] && headers[1] == headers[2]);

            destroy_all(scene, how);
            fs::remove_dir_all(scene.bench.path("keys")).expect("remove");
            recover(&[]).fails(code, &[words, "--kit"]);
            let said = recover(&["--kit", "kit"]);
            said.says(&["header copy repaired", "unlocks the volume by itself again"]);
            scene.holds_the_letter();
            scene.umount();
            scene.mount();
            scene.holds_the_letter();
            scene.umount();
        }
    });
}
