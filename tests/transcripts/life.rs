//! A volume's life: made, looked at, lost in every way that can be got back from, got back.
use super::Bench;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn made_and_shown() {
    let (bench, password, id) = Bench::with_volume();
    bench.cryptfs(&["status", "volume"], "").says(&[
        "[ledger]",
        "Encryption Method:  XTS-AES-256, AES-256 POLYVAL",
        "Protection Status:  Protection On",
        "Lock Status:        Locked",
        "Automatic Unlock:   Enabled",
        "Header Copies:      3 of 3 good",
        &id,
    ]);
    bench.cryptfs(&["key", "list", "volume"], "").says(&[
        "keyfile",
        "recovery password",
        "active",
        &id,
    ]);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["ok      unlock"]);
    bench
        .cryptfs(&["check", "volume"], "")
        .says(&["0 findings"]);
    let said = bench.cryptfs(&["recovery-keys"], "");
    said.says(&["ComputerName", "Volume", "PasswordId", &id, &password]);
}

#[test]
fn raw_is_json_and_an_id_selects() {
    let (bench, password, id) = Bench::with_volume();
    let said = bench.cryptfs(&["recovery-keys", "--raw", "--id", &id[..8]], "");
    let json = cryptfs::codec::parse_json(&said.out).expect("JSON");
    let wanted = [
        "ComputerName",
        "Created",
        "Exported",
        "LastVerified",
        "PasswordId",
        "RecoveryPassword",
        "Volume",
    ];
    assert!(
        wanted.iter().all(|name| json[0].get(name).is_some()),
        "{}",
        said.out
    );
    assert_eq!(json[0]["RecoveryPassword"], password.as_str());
    let none = bench.cryptfs(&["recovery-keys", "--raw", "--id", "ffffffff-ffff"], "");
    assert_eq!(none.out.trim(), "[]");
}

#[test]
fn a_quiet_volume_asks_to_be_exported_until_it_was() {
    let bench = Bench::empty();
    let said = bench.init(&["--quiet", "volume"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    let said = bench.cryptfs(&["status", "--check", "volume"], "");
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(said.out.contains("was never exported"), "{}", said.out);
    bench
        .cryptfs(&["recovery-keys"], "")
        .says(&["Exported          : never"]);
    assert_eq!(bench.cryptfs(&["status", "--check", "volume"], "").code, 0);
    let log = std::fs::read_to_string(bench.path("keys/audit.log")).expect("an audit log");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("\"action\":\"recovery-keys\""), "{log}");
}

#[test]
fn no_secret_without_the_audit_log() {
    let bench = Bench::empty();
    std::fs::create_dir_all(bench.path("keys/audit.log")).expect("made");
    std::fs::set_permissions(
        bench.path("keys"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("set");
    bench
        .init(&["volume"])
        .fails(1, &["cannot write the audit log"]);
    assert!(!bench.path("volume").exists());
    std::fs::remove_dir(bench.path("keys/audit.log")).expect("removed");
    let password = bench.init(&["volume"]).field("Recovery password:");
    std::fs::remove_file(bench.path("keys/audit.log")).expect("removed");
    std::fs::create_dir(bench.path("keys/audit.log")).expect("made");
    let said = bench.cryptfs(&["recovery-keys"], "");
    said.fails(1, &["cannot write the audit log"]);
    assert!(!said.out.contains(&password));
}

#[test]
fn the_audit_log_and_the_messages_hold_no_secret() {
    let (bench, password, _) = Bench::with_volume();
    let said = bench.cryptfs(&["recover", "--verify", "volume"], &password);
    bench.cryptfs(&["recovery-keys"], "");
    let log = std::fs::read_to_string(bench.path("keys/audit.log")).expect("an audit log");
    for group in password.split('-') {
        assert!(!log.contains(group) && !said.err.contains(group) && !said.out.contains(group));
    }
}

#[test]
fn ciphers_tags_and_names_are_chosen_at_init() {
    let bench = Bench::empty();
    let choices = [
        "--cipher",
        "xts-aes-128",
        "--tag",
        "hmac",
        "--names",
        "base32hex",
        "volume",
    ];
    assert_eq!(bench.init(&choices).code, 0);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["XTS-AES-128, HMAC-SHA-256/128"]);
    bench
        .init(&["--cipher", "null", "other"])
        .fails(64, &["xts-aes-256"]);
    bench
        .init(&["--quiet", "--no-escrow", "other"])
        .fails(64, &["error:", "hint:"]);
    assert!(!bench.path("other").exists());
}

#[test]
fn without_escrow_nothing_can_be_shown_later() {
    let bench = Bench::empty();
    let password = bench
        .init(&["--no-escrow", "volume"])
        .field("Recovery password:");
    let said = bench.cryptfs(&["recovery-keys"], "");
    said.says(&["(not kept: made with --no-escrow)"]);
    assert!(!said.out.contains(&password));
    bench
        .cryptfs(&["recover", "--verify", "volume"], &password)
        .says(&["opens volume"]);
}

#[test]
fn a_drill_notes_its_date_and_nothing_else() {
    let (bench, password, id) = Bench::with_volume();
    let said = bench.cryptfs(&["recover", "--verify", "volume"], &password);
    said.says(&[&id]);
    assert!(
        said.err.contains("label        ledger") && said.err.contains(&id),
        "{}",
        said.err
    );
    let list = bench.cryptfs(&["key", "list", "volume"], "").out;
    let line = list
        .lines()
        .find(|line| line.contains(&id))
        .expect("listed");
    assert!(
        line.contains("active") && !line.contains("verified never"),
        "{line}"
    );
}

#[test]
fn a_lost_keystore_is_made_again() {
    let (bench, password, id) = Bench::with_volume();
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    assert_eq!(bench.cryptfs(&["status", "--check", "volume"], "").code, 3);
    let typed = password.replace('-', " ");
    bench
        .cryptfs(&["recover", "volume"], &typed)
        .says(&["unlocks the volume by itself again"]);
    let said = bench.cryptfs(&["status", "volume"], "");
    said.says(&[
        "Automatic Unlock:   Enabled",
        "was used or disclosed and should be replaced",
    ]);
    // Its replacement: added, proven, the old one removed; then only the new one opens.
    let said = bench.cryptfs(&["key", "add", "--pbkdf2-iterations", "1000", "volume"], "");
    let new = said.field("Recovery password:");
    bench
        .cryptfs(&["recover", "--verify", "volume"], &new)
        .says(&["opens volume"]);
    bench
        .cryptfs(&["key", "remove", "volume", &id], "")
        .says(&["removed from every header copy"]);
    bench
        .cryptfs(&["recover", "--verify", "volume"], &password)
        .fails(10, &["does not open the volume"]);
    assert_eq!(bench.cryptfs(&["status", "--check", "volume"], "").code, 0);
    let last = said.field("Password ID:");
    bench
        .cryptfs(&["key", "remove", "volume", &last], "")
        .fails(1, &["is the last recovery password"]);
}

#[test]
fn lost_headers_come_back_from_the_keystore_or_a_kit() {
    let (bench, password, _) = Bench::with_volume();
    let destroy = || {
        std::fs::write(bench.path("volume/cryptfs.volume"), [0; 16384]).expect("written");
        std::fs::remove_dir_all(bench.path("volume/.cryptfs")).expect("removed");
    };
    bench
        .cryptfs(&["kit", "volume", "kit"], "")
        .says(&["recovery kit written"]);
    destroy();
    bench
        .cryptfs(&["status", "volume"], "")
        .fails(12, &["no copy", "hint: cryptfs recover"]);
    bench
        .cryptfs(&["recover", "volume"], &password)
        .says(&["header copy repaired (cryptfs.volume"]);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["3 of 3 good"]);
    destroy();
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    bench
        .cryptfs(&["recover", "volume"], &password)
        .fails(12, &["no copy"]);
    bench
        .cryptfs(&["recover", "--kit", "kit", "volume"], &password)
        .says(&["header copy repaired"]);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["3 of 3 good", "Automatic Unlock:   Enabled"]);
    // The kit alone opens nothing.
    destroy();
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    let other = "000000-000000-000000-000000-000000-000000-000000-000011";
    bench
        .cryptfs(&["recover", "--kit", "kit", "volume"], other)
        .fails(10, &["does not open"]);
}

#[test]
fn one_or_two_bad_copies_are_shown_and_check_repairs_them() {
    let (bench, _, _) = Bench::with_volume();
    std::fs::write(bench.path("volume/cryptfs.volume"), b"gone").expect("written");
    std::fs::remove_file(bench.path("volume/.cryptfs/header.2")).expect("removed");
    let said = bench.cryptfs(&["status", "--check", "volume"], "");
    assert_eq!(said.code, 4);
    assert!(said.out.contains("1 of 3 good"), "{}", said.out);
    assert_eq!(bench.cryptfs(&["check", "volume"], "").code, 4);
    let said = bench.cryptfs(&["check", "--repair", "volume"], "");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(said.out.matches("(put right)").count(), 2, "{}", said.out);
    assert_eq!(bench.cryptfs(&["check", "volume"], "").code, 0);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["3 of 3 good"]);
}

#[test]
fn headers_are_saved_and_put_back_but_not_silently_older_ones() {
    let (bench, password, id) = Bench::with_volume();
    bench
        .cryptfs(&["header", "backup", "volume", "saved"], "")
        .says(&["saved to"]);
    bench
        .cryptfs(&["header", "backup", "volume", "saved"], "")
        .fails(16, &["exists"]);
    bench
        .cryptfs(&["header", "restore", "volume", "saved"], "")
        .says(&["put back"]);
    bench
        .cryptfs(&["header", "restore", "volume", "saved"], "")
        .fails(15, &["older", "--accept-rollback"]);
    let accept = ["header", "restore", "--accept-rollback", "volume", "saved"];
    let said = bench.cryptfs(&accept, "");
    said.says(&["put back"]);
    assert!(
        said.err.contains("open the volume afterwards:") && said.err.contains(&id),
        "{}",
        said.err
    );
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["3 of 3 good", "Automatic Unlock:   Enabled"]);
    // Onto a volume whose header is gone, with the password.
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    std::fs::write(bench.path("volume/cryptfs.volume"), b"gone").expect("written");
    std::fs::remove_dir_all(bench.path("volume/.cryptfs")).expect("removed");
    bench.cryptfs(&accept, &password).says(&["put back"]);
    let (other, _, _) = Bench::with_volume();
    std::fs::copy(bench.path("saved"), other.path("saved")).expect("copied");
    other
        .cryptfs(&["header", "restore", "volume", "saved"], "")
        .fails(12, &["saved header is of volume"]);
}

#[test]
fn a_rolled_back_header_stops_auto_unlock_and_recover_goes_on() {
    let (bench, password, id) = Bench::with_volume();
    let names = ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"];
    let old: Vec<_> = names
        .map(|n| std::fs::read(bench.path("volume").join(n)).expect("read"))
        .into();
    let change = ["key", "add", "--pbkdf2-iterations", "1000", "volume"];
    assert_eq!(bench.cryptfs(&change, "").code, 0);
    for (name, bytes) in names.iter().zip(&old) {
        std::fs::write(bench.path("volume").join(name), bytes).expect("written");
    }
    let said = bench.cryptfs(&["status", "volume"], "");
    said.says(&["Not possible: the volume's header was rolled back"]);
    bench
        .cryptfs(&["recover", "volume"], &password)
        .says(&["unlocks the volume by itself again"]);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["Automatic Unlock:   Enabled", &id]);
}

#[test]
fn doctor_names_the_rung_that_fails_and_what_to_do() {
    let (bench, password, _) = Bench::with_volume();
    let doctor = |rung: &str, words: &[&str]| {
        let said = bench.cryptfs(&["doctor", "volume"], "");
        assert_eq!(said.code, 1, "{}", said.out);
        assert!(
            said.out.contains(&format!("failed  {rung}")),
            "{}",
            said.out
        );
        for word in words {
            assert!(said.out.contains(word), "no '{word}' in:\n{}", said.out);
        }
    };
    let key = bench.keyfile();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
    };
    mode(&key, 0o644);
    doctor("keyfile", &["permissions 0644", "run chmod 600"]);
    mode(&key, 0o600);
    mode(&bench.path("keys"), 0o755);
    doctor("keystore", &["permissions 0755", "run chmod 700"]);
    mode(&bench.path("keys"), 0o700);
    let (other, _, _) = Bench::with_volume();
    let bytes = std::fs::read(&key).expect("read");
    std::fs::copy(other.keyfile(), &key).expect("copied");
    doctor(
        "keyfile",
        &["is of another volume", "cryptfs recover VOLUME"],
    );
    std::fs::write(&key, &bytes[..40]).expect("written");
    doctor("keyfile", &["is damaged", "cryptfs recover VOLUME"]);
    std::fs::remove_file(&key).expect("removed");
    doctor("keyfile", &["no keyfile", "cryptfs recover VOLUME"]);
    // Another computer has taken this one's place.
    std::fs::write(&key, bytes).expect("written");
    mode(&key, 0o600);
    let elsewhere = ["--keystore", "other-keys", "volume"];
    let said = bench.cryptfs(&[&["recover"], &elsewhere[..]].concat(), &password);
    let id = said
        .err
        .split_whitespace()
        .last()
        .expect("an ID")
        .to_owned();
    let remove = [&["key", "remove"], &elsewhere[..], &[&id]].concat();
    bench.cryptfs(&remove, "").says(&["removed"]);
    doctor(
        "protector",
        &["the header has other keyfiles", "failed  unlock"],
    );
    bench
        .cryptfs(&["recover", "volume"], &password)
        .says(&["by itself again"]);
    // The header is older than what was seen.
    let header = bench.path("volume/cryptfs.volume");
    let old = std::fs::read(&header).expect("read");
    let add = ["key", "add", "--pbkdf2-iterations=1000", "volume"];
    bench.cryptfs(&add, "").says(&[]);
    std::fs::write(&header, old).expect("written");
    std::fs::remove_dir_all(bench.path("volume/.cryptfs")).expect("removed");
    doctor("unlock", &["rolled back", "--accept-rollback"]);
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    doctor("keystore", &["--keystore DIR", "cryptfs recover VOLUME"]);
    std::fs::write(header, b"gone").expect("written");
    doctor("header", &["cryptfs recover VOLUME rebuilds it"]);
}

#[test]
fn repair_puts_aside_and_deletes_nothing() {
    let (bench, _, _) = Bench::with_volume();
    std::fs::write(bench.path("volume/stray"), b"a letter").expect("written");
    let said = bench.cryptfs(&["check", "volume"], "");
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(
        said.out.contains("name stray does not open"),
        "{}",
        said.out
    );
    let said = bench.cryptfs(&["check", "--repair", "volume"], "");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("put aside in .cryptfs/lost+found"));
    let aside = std::fs::read_dir(bench.path("volume/.cryptfs/lost+found"));
    let mut aside = aside
        .expect("a directory")
        .map(|e| e.expect("an entry").path());
    let found = std::fs::read(aside.next().expect("put aside")).expect("read");
    assert_eq!(found, b"a letter");
    bench
        .cryptfs(&["check", "volume"], "")
        .says(&["0 findings"]);
}

/// A thief of the disk would have both: said where a keyfile is made, and not again at each mount.
#[test]
fn whether_keystore_and_volume_share_a_disk_is_said_when_a_keyfile_is_made() {
    let bench = Bench::empty();
    let told = |text: &str| text.contains("lie on the same disk");
    let said = bench.init(&["volume"]);
    if !told(&said.err) {
        crate::needs::say("the temporary directory lies on several disks");
        return;
    }
    let password = said.field("Recovery password:");
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    assert!(told(&bench.cryptfs(&["recover", "volume"], &password).err));
    let status = bench.cryptfs(&["status", "volume"], "").out;
    assert!(status.contains("same disk"), "{status}");
    assert!(!told(&bench.cryptfs(&["check", "volume"], "").err));
}

#[test]
fn help_names_every_command() {
    let said = Bench::empty().cryptfs(&["--help"], "");
    said.says(&[
        "init",
        "mount",
        "umount",
        "recover",
        "recovery-keys",
        "key",
        "status",
        "doctor",
        "check",
        "kit",
        "header",
    ]);
    let said = Bench::empty().rescue(&["--help"], "");
    said.says(&["--salvage", "--verify", "--kit", "--fd"]);
}
