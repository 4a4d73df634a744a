//! A mounted image is kept and copied while it is changed.
use super::machine::{KINDS, Machine, run, said};
use crate::model::rng::Rng;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files that are never changed again, some of a size that lies in the tree, some larger.
fn files(first: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    (first..first + 60).map(|file| {
        let data = Rng::bytes(file + 1, (file as usize * 977) % 60_000);
        (format!("file {file}"), data)
    })
}

fn fill(at: &Path, first: u64) {
    fs::create_dir(at).expect("mkdir");
    for (name, data) in files(first) {
        fs::write(at.join(name), data).expect("write");
    }
}

fn assert_filled(at: &Path, first: u64) {
    assert_eq!(fs::read_dir(at).expect("readdir").count(), 60);
    for (name, data) in files(first) {
        assert!(fs::read(at.join(&name)).expect("read") == data, "{name}");
    }
}

#[test]
fn snapshots_and_backups_while_it_is_written_to() {
    if !super::have(&[]) {
        return;
    }
    let machine = Machine::new(KINDS[1]);
    let (volume, backup) = (machine.volume(), machine.home().join("backup"));
    let other = machine.plain("other");
    let point = machine.mount();
    fill(&point.join("one"), 0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let busy = point.join("busy");
            for round in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                fs::write(&busy, Rng::bytes(round + 1, 300_000)).expect("write");
            }
        });
        run(machine
            .cryptfs(&["snapshot", "create"])
            .arg(&volume)
            .arg("kept"));
        fs::remove_dir_all(point.join("one")).expect("remove");
        run(machine.cryptfs(&["backup"]).arg(&volume).arg(&backup));
        fill(&point.join("two"), 100);
        run(machine
            .cryptfs(&["backup", "--update"])
            .arg(&volume)
            .arg(&backup));
        over.store(true, Ordering::Relaxed);
    });
    let list = said(machine.cryptfs(&["snapshot", "list"]).arg(&volume));
    assert!(
        list.ends_with("  kept\n") && list.lines().count() == 1,
        "{list}"
    );
    run(machine
        .cryptfs(&["mount", "-o", "snapshot=kept"])
        .arg(&volume)
        .arg(&other));
    assert_filled(&other.join("one"), 0);
    run(machine.cryptfs(&["umount"]).arg(&other));
    machine.umount();
    run(machine.cryptfs(&["check"]).arg(&backup));
    run(machine
        .cryptfs(&["mount", "--accept-rollback"])
        .arg(&backup)
        .arg(&other));
    assert_filled(&other.join("two"), 100);
    assert!(!other.join("one").exists());
    run(machine.cryptfs(&["umount"]).arg(&other));
}
