//! Wrong input: each case with its own message, its hint and its exit code, and nothing changed.
use super::{Bench, Said};
use std::os::unix::fs::PermissionsExt;

/// Runs, and proves that no byte of volume or keystore changed.
fn unchanged(bench: &Bench, run: impl FnOnce(&Bench) -> Said) -> Said {
    let before = bench.snapshot();
    let said = run(bench);
    assert!(
        bench.snapshot() == before,
        "something changed: {}{}",
        said.out,
        said.err
    );
    said
}

#[test]
fn a_wrong_recovery_password() {
    let (bench, _, id) = Bench::with_volume();
    let other = "235818-357951-253979-013365-241120-245575-342914-591910";
    let said = unchanged(&bench, |b| b.cryptfs(&["recover", "volume"], other));
    said.fails(
        10,
        &[
            "error: this recovery password does not open the volume",
            &id[..8],
            "hint:",
        ],
    );
    assert!(
        !said.err.contains("235818"),
        "the password is shown: {}",
        said.err
    );
}

#[test]
fn a_mistyped_group() {
    let (bench, password, _) = Bench::with_volume();
    let third = &password[14..20];
    let digit = third.as_bytes()[0] - b'0';
    let wrong = format!("{}{}", (digit + 1) % 10, &third[1..]);
    let typed = password.replacen(third, &wrong, 1);
    let said = unchanged(&bench, |b| b.cryptfs(&["recover", "volume"], &typed));
    said.fails(10, &["group 3:", "hint:"]);
    assert!(
        !said.err.contains(&wrong),
        "what was typed is shown: {}",
        said.err
    );
    let said = unchanged(&bench, |b| {
        b.cryptfs(&["recover", "volume"], &password[..20])
    });
    said.fails(10, &["3 of 8 groups"]);
    let said = unchanged(&bench, |b| b.cryptfs(&["recover", "volume"], ""));
    said.fails(10, &["0 of 8 groups"]);
}

#[test]
fn groups_in_the_wrong_order_are_put_right() {
    let (bench, password, _) = Bench::with_volume();
    let mut groups: Vec<_> = password.split('-').collect();
    groups.swap(2, 5);
    let said = bench.cryptfs(&["recover", "--verify", "volume"], &groups.join("-"));
    said.says(&["opens volume"]);
    assert!(
        said.err.contains("two groups had to be exchanged"),
        "{}",
        said.err
    );
}

#[test]
fn a_keyfile_of_another_volume() {
    let (bench, _, _) = Bench::with_volume();
    let (other, _, _) = Bench::with_volume();
    std::fs::copy(other.keyfile(), bench.keyfile()).expect("copied");
    let said = unchanged(&bench, |b| b.cryptfs(&["check", "volume"], ""));
    said.fails(11, &["is of another volume", "hint:"]);
}

#[test]
fn a_keyfile_or_keystore_that_others_may_read() {
    let (bench, _, _) = Bench::with_volume();
    let key = bench.keyfile();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("set");
    let said = unchanged(&bench, |b| b.cryptfs(&["check", "volume"], ""));
    said.fails(11, &["permissions 0644", "too open", "hint: run chmod 600"]);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("set");
    std::fs::set_permissions(bench.path("keys"), PermissionsExt::from_mode(0o750)).expect("set");
    let said = unchanged(&bench, |b| b.cryptfs(&["recovery-keys"], ""));
    said.fails(11, &["permissions 0750", "hint: run chmod 700"]);
}

#[test]
fn a_missing_or_damaged_keyfile() {
    let (bench, _, _) = Bench::with_volume();
    let key = bench.keyfile();
    let bytes = std::fs::read(&key).expect("read");
    std::fs::write(&key, &bytes[..50]).expect("written");
    unchanged(&bench, |b| b.cryptfs(&["check", "volume"], "")).fails(11, &["is damaged", "hint:"]);
    std::fs::remove_file(&key).expect("removed");
    let said = unchanged(&bench, |b| b.cryptfs(&["check", "volume"], ""));
    said.fails(
        11,
        &[
            "no keyfile for this volume",
            "hint: unlock it by hand with cryptfs recover",
        ],
    );
    let said = bench.cryptfs(&["doctor", "volume"], "");
    assert!(
        said.code == 1 && said.out.contains("failed  keyfile"),
        "{}",
        said.out
    );
}

#[test]
fn a_newer_version_or_feature() {
    for (at, name) in [
        (8, "format version 9.0 is unknown"),
        (72, "incompat bit 0, incompat bit 3"),
    ] {
        let (bench, password, _) = Bench::with_volume();
        for copy in ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"] {
            let path = bench.path("volume").join(copy);
            let mut bytes = std::fs::read(&path).expect("read");
            bytes[at] = 9;
            let end = bytes.len() - 32;
            let sum = cryptfs::crypto::digest::sha256(&[&bytes[..end]]);
            bytes[end..].copy_from_slice(&sum);
            std::fs::write(&path, bytes).expect("written");
        }
        let said = unchanged(&bench, |b| b.cryptfs(&["status", "volume"], ""));
        said.fails(13, &[name, "hint: use a newer cryptfs"]);
        unchanged(&bench, |b| b.cryptfs(&["recover", "volume"], &password)).fails(13, &[name]);
    }
}

#[test]
fn a_place_that_is_no_volume_or_cannot_become_one() {
    let (bench, _, _) = Bench::with_volume();
    bench
        .cryptfs(&["status", "none"], "")
        .fails(16, &["none does not exist", "hint:"]);
    bench
        .cryptfs(&["status", "keys"], "")
        .fails(16, &["is not a cryptfs volume", "hint:"]);
    bench
        .init(&["volume"])
        .fails(16, &["already is a cryptfs volume", "hint:"]);
    bench.init(&["keys"]).fails(16, &["is not empty", "hint:"]);
    bench
        .init(&["--label", "a\tb", "new"])
        .fails(64, &["the label must be"]);
    assert!(!bench.path("new").exists());
    bench
        .cryptfs(&["frobnicate"], "")
        .fails(64, &["frobnicate"]);
    assert_eq!(bench.cryptfs(&["status", "--check", "keys"], "").code, 1);
}

#[test]
fn a_file_that_is_no_kit() {
    let (bench, password, _) = Bench::with_volume();
    std::fs::write(bench.path("kit"), b"hello").expect("written");
    let said = unchanged(&bench, |b| {
        b.cryptfs(&["recover", "--kit", "kit", "volume"], &password)
    });
    said.fails(12, &["not an intact recovery kit"]);
}

#[test]
fn a_password_from_a_descriptor_that_is_not_open() {
    let (bench, _, _) = Bench::with_volume();
    let said = unchanged(&bench, |b| {
        b.cryptfs(&["recover", "--fd", "9", "volume"], "")
    });
    said.fails(1, &["/proc/self/fd/9"]);
}
