//! `cryptfs umount` returns when everything is written and the daemon is gone, whatever was mounted before.
use super::on_each_kind;
use std::fs;
use std::process::Command;

/// The kernel gives a new mount the device number of one that has just ended, whose daemon may still be writing. The new
/// daemon then could not take the name by which `umount` finds it, and `umount` did not wait: what followed it, a backup or
/// the removal of the disk, met a volume that was still being written.
#[test]
fn it_waits_even_if_another_daemon_is_still_ending() {
    on_each_kind(|one| {
        let other = one.another();
        for round in 0..12 {
            one.mount();
            for file in 0..40 {
                fs::write(one.point().join(file.to_string()), vec![round; 30_000]).expect("write");
            }
            // Not ours, so it does not wait.
            let by = match rustix::process::geteuid().is_root() {
                true => Command::new("umount").arg(one.point()).status(),
                false => Command::new("fusermount3")
                    .arg("-u")
                    .arg(one.point())
                    .status(),
            };
            assert!(by.expect("umount").success());
            other.mount_with_a_log();
            for file in 0..10 {
                fs::write(other.point().join(file.to_string()), vec![round; 50_000])
                    .expect("write");
            }
            other.umount();
            assert_eq!(other.find_daemon(), None, "round {round}");
        }
    });
}
