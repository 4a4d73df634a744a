//! The life of key protectors: rotated only against proof, added for people and computers, retired.
use super::{Bench, Said};

const FAST: [&str; 2] = ["--pbkdf2-iterations", "1000"];
const LIGHT: [&str; 2] = ["--argon2-memory", "64"];

fn rotate(bench: &Bench, more: &[&str], input: &str) -> Said {
    bench.cryptfs(
        &[&["key", "rotate"], &FAST[..], &LIGHT[..], more, &["volume"]].concat(),
        input,
    )
}

fn drill(bench: &Bench, password: &str) -> Said {
    bench.cryptfs(&["recover", "--verify", "volume"], password)
}

#[test]
fn the_old_password_goes_only_once_the_new_one_was_proven() {
    let (bench, old, old_id) = Bench::with_volume();
    let said = rotate(&bench, &[], "");
    said.says(&["Replaces:", &old_id, "Password ID:", "Recovery password:"]);
    assert!(
        said.err.contains("key rotate --finish volume"),
        "{}",
        said.err
    );
    let new = said.field("Recovery password:");
    let new_id = said.field("Password ID:");
    // Both open until then, and the person is reminded.
    drill(&bench, &old).says(&[&old_id]);
    let status = bench.cryptfs(&["status", "--check", "volume"], "");
    assert_eq!(status.code, 4);
    assert!(status.out.contains("is not finished"), "{}", status.out);
    rotate(&bench, &[], "").fails(1, &["already being replaced", "--finish"]);
    rotate(&bench, &["--finish"], &old).fails(10, &["not the new one"]);
    drill(&bench, &old).says(&[&old_id]);
    rotate(&bench, &["--finish"], &new).says(&[
        &new_id,
        "is proven",
        "removed from every header copy",
    ]);
    drill(&bench, &old).fails(10, &["does not open the volume", &new_id[..8]]);
    drill(&bench, &new).says(&[&new_id]);
    assert_eq!(bench.cryptfs(&["status", "--check", "volume"], "").code, 0);
    rotate(&bench, &["--finish"], &new).fails(1, &["no rotation"]);
    let old_bytes: Vec<u8> = uuid_bytes(&old_id);
    for (path, bytes) in bench.snapshot() {
        let found = bytes.windows(16).any(|window| window == old_bytes);
        assert!(!found, "{} still holds the old protector", path.display());
    }
}

fn uuid_bytes(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hexadecimal");
    (0..32).step_by(2).map(byte).collect()
}

#[test]
fn a_drill_with_the_new_password_is_the_proof() {
    let (bench, old, _) = Bench::with_volume();
    let new = rotate(&bench, &[], "").field("Recovery password:");
    drill(&bench, &new).says(&["opens volume"]);
    rotate(&bench, &["--finish"], "").says(&["is proven"]);
    drill(&bench, &old).fails(10, &[]);
}

#[test]
fn among_several_the_one_that_is_due_is_rotated_or_the_one_named() {
    let (bench, password, id) = Bench::with_volume();
    let add = ["key", "add", FAST[0], FAST[1], "volume"];
    let other = bench.cryptfs(&add, "").field("Password ID:");
    rotate(&bench, &[], "").fails(64, &["has 2 recovery passwords", "hint:"]);
    bench
        .cryptfs(&["recover", "volume"], &password)
        .says(&["by itself again"]);
    assert_eq!(rotate(&bench, &[], "").field("Replaces:"), id);
    let said = bench.cryptfs(
        &[&["key", "rotate"], &FAST[..], &["volume", &other[..8]]].concat(),
        "",
    );
    assert_eq!(said.field("Replaces:"), other);
}

#[test]
fn used_or_disclosed_again_a_password_is_due() {
    let (bench, password, id) = Bench::with_volume();
    let due = |bench: &Bench| {
        bench
            .cryptfs(&["status", "volume"], "")
            .out
            .contains("should be replaced")
    };
    drill(&bench, &password);
    assert!(!due(&bench), "a drill is no use");
    bench.cryptfs(&["recovery-keys"], "").says(&[&password]);
    assert!(due(&bench), "it had been delivered by init");
    let list = bench.cryptfs(&["key", "list", "volume"], "").out;
    assert!(
        list.lines()
            .any(|l| l.contains(&id) && l.contains("rotate-due")),
        "{list}"
    );
    let new = rotate(&bench, &[], "").field("Recovery password:");
    rotate(&bench, &["--finish"], &new).says(&["is proven"]);
    assert!(!due(&bench));
    bench
        .cryptfs(&["recover", "volume"], &new)
        .says(&["by itself again"]);
    assert!(due(&bench), "recover uses it up");
}

#[test]
fn a_keyfile_is_replaced_by_one_that_was_proven() {
    let (bench, _, _) = Bench::with_volume();
    let before = std::fs::read(bench.keyfile()).expect("read");
    rotate(&bench, &["--keyfile"], "").says(&["replaces this computer's old one"]);
    let after = std::fs::read(bench.keyfile()).expect("read");
    assert_ne!(before, after);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["ok      unlock"]);
    std::fs::write(bench.keyfile(), before).expect("written");
    bench
        .cryptfs(&["check", "volume"], "")
        .fails(10, &["does not open"]);
}

#[test]
fn a_passphrase_opens_and_is_replaced() {
    let (bench, _, _) = Bench::with_volume();
    let add = [&["key", "add", "--passphrase"], &LIGHT[..], &["volume"]].concat();
    bench
        .cryptfs(&add, "short\n")
        .fails(64, &["at least 12 characters"]);
    bench
        .cryptfs(&add, "correct horse battery\n")
        .says(&["opens the volume"]);
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    let recover = ["recover", "--passphrase", "volume"];
    bench
        .cryptfs(&recover, "correct horse buttery\n")
        .fails(10, &["this passphrase does not open", "caps lock"]);
    bench
        .cryptfs(&recover, "correct horse battery\n")
        .says(&["by itself again"]);
    rotate(&bench, &["--passphrase"], "another long passphrase\n").says(&["replaces the old one"]);
    bench
        .cryptfs(&recover, "correct horse battery\n")
        .fails(10, &[]);
    bench
        .cryptfs(&recover, "another long passphrase\n")
        .says(&["by itself again"]);
    let log = std::fs::read_to_string(bench.path("keys/audit.log")).expect("a log");
    assert!(!log.contains("horse") && !log.contains("another long"));
}

/// macOS spells an umlaut as a letter and a mark, Linux as one character.
#[test]
fn a_passphrase_opens_from_every_keyboard() {
    let (bench, _, _) = Bench::with_volume();
    let add = [&["key", "add", "--passphrase"], &LIGHT[..], &["volume"]].concat();
    bench
        .cryptfs(&add, "Gr\u{fc}ne K\u{f6}nigin\n")
        .says(&["opens the volume"]);
    let recover = ["recover", "--passphrase", "volume"];
    for typed in [
        "Gru\u{308}ne Ko\u{308}nigin\n",
        "Gr\u{fc}ne\u{a0}K\u{f6}nigin\n",
    ] {
        bench.cryptfs(&recover, typed).says(&["by itself again"]);
    }
}

#[test]
fn a_split_password_is_called_that_and_its_hints_work() {
    let (bench, _, _) = Bench::with_volume();
    let split = [&["key", "add", "--split", "2of3"], &FAST[..], &["volume"]].concat();
    let said = bench.cryptfs(&split, "");
    assert!(said.out.contains("\nShare 1 of 3: "), "{}", said.out);
    assert!(
        said.err
            .contains("cryptfs recover --verify --shares volume"),
        "{}",
        said.err
    );
    let shares: Vec<_> = (1..3)
        .map(|n| said.field(&format!("Share {n} of 3:")))
        .collect();
    bench
        .cryptfs(
            &["recover", "--verify", "--shares", "volume"],
            &shares.join("\n"),
        )
        .says(&["opens volume"]);
    bench
        .cryptfs(&["recover", "--verify", "--shares", "volume"], &shares[0])
        .fails(10, &["1 of 2 shares", "hint:"]);
    bench
        .cryptfs(&["key", "list", "volume"], "")
        .says(&["split 2of3"]);
    bench
        .cryptfs(&["status", "volume"], "")
        .says(&["split 2of3"]);
    bench
        .cryptfs(&["recovery-keys"], "")
        .says(&["(not kept: split 2of3 shares)"]);
    let id = said.field("Password ID:");
    let again = [
        &["key", "rotate", "--split", "2of2"],
        &FAST[..],
        &["volume", &id],
    ]
    .concat();
    let said = bench.cryptfs(&again, "");
    assert!(
        said.err.contains("key rotate --finish --shares volume"),
        "{}",
        said.err
    );
    let shares: Vec<_> = (1..3)
        .map(|n| said.field(&format!("Share {n} of 2:")))
        .collect();
    bench
        .cryptfs(
            &["key", "rotate", "--finish", "--shares", "volume"],
            &shares.join("\n"),
        )
        .says(&["is proven"]);
    bench
        .cryptfs(&["key", "list", "volume"], "")
        .says(&["split 2of2"]);
}

#[test]
fn what_is_pasted_from_a_sheet_is_taken() {
    let (bench, password, _) = Bench::with_volume();
    let sheet = ["recovery-keys", "--sheet", "sheet.txt", "--force"];
    assert_eq!(bench.cryptfs(&sheet, "").code, 0);
    let sheet = std::fs::read_to_string(bench.path("sheet.txt")).expect("a sheet");
    for pasted in [
        format!("Recovery password:  {password}\n"),
        format!("'{password}'\n"),
        password.replacen('-', "", 3),
        sheet,
    ] {
        bench
            .cryptfs(&["recover", "--verify", "volume"], &pasted)
            .says(&["opens volume"]);
    }
}

#[test]
fn a_keyfile_on_a_stick_without_modes() {
    let (bench, _, _) = Bench::with_volume();
    let add = [
        "key",
        "add",
        "--computer",
        "other",
        "--keyfile",
        "travels",
        "volume",
    ];
    assert_eq!(bench.cryptfs(&add, "").code, 0);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bench.path("travels"), open).expect("chmod");
    let enrol = ["key", "enrol", "volume", "travels", "--keystore", "new"];
    let said = bench.cryptfs(&enrol, "");
    said.fails(
        11,
        &[
            "are too open",
            "install -m 600 travels ~/cryptfs.key && cryptfs key enrol volume",
        ],
    );
}

/// The disk has moved: recovered there by hand, the old computer's protector retired.
#[test]
fn a_disk_moves_to_another_computer() {
    let (bench, password, _) = Bench::with_volume();
    let elsewhere = ["--keystore", "keys-of-the-new-computer"];
    let said = bench.cryptfs(
        &[&["recover", "volume"], &elsewhere[..]].concat(),
        &password,
    );
    said.says(&["by itself again"]);
    let hint = said
        .err
        .lines()
        .find(|l| l.contains("still unlocks it too"))
        .expect("a hint");
    let id = hint.split_whitespace().last().expect("an ID");
    bench
        .cryptfs(
            &[&["key", "remove", "volume", id], &elsewhere[..]].concat(),
            "",
        )
        .says(&["removed"]);
    bench
        .cryptfs(&[&["doctor", "volume"], &elsewhere[..]].concat(), "")
        .says(&["ok      unlock"]);
    let old = bench.cryptfs(&["doctor", "volume"], "");
    assert_eq!(old.code, 1, "{}", old.out);
    assert!(old.out.contains("failed  protector"), "{}", old.out);
}

#[test]
fn a_keyfile_for_another_computer_is_spent_there() {
    let (bench, _, _) = Bench::with_volume();
    bench
        .cryptfs(
            &[
                "key",
                "add",
                "--computer",
                "replica",
                "--keyfile",
                "travels",
                "volume",
            ],
            "",
        )
        .says(&["for replica"]);
    let elsewhere = ["--keystore", "keys-of-replica"];
    let enrol = [&["key", "enrol", "volume", "travels"], &elsewhere[..]].concat();
    bench
        .cryptfs(&enrol, "")
        .says(&["unlocks the volume by itself"]);
    bench
        .cryptfs(&[&["check", "volume"], &elsewhere[..]].concat(), "")
        .says(&["0 findings"]);
    bench
        .cryptfs(&["check", "volume"], "")
        .says(&["0 findings"]);
    bench.cryptfs(&enrol, "").fails(10, &["does not open"]);
}

#[test]
fn a_keyfile_sealed_to_this_computer() {
    if !crate::needs::program("systemd-creds") || !crate::needs::root("systemd-creds") {
        return;
    }
    let (bench, password, _) = Bench::with_volume();
    let said = rotate(&bench, &["--keyfile", "--protect", "systemd-creds"], "");
    if said.err.contains("systemd-creds:") {
        crate::needs::say("systemd-creds cannot seal on this machine");
        bench
            .cryptfs(&["doctor", "volume"], "")
            .says(&["ok      unlock"]);
        return;
    }
    said.says(&["replaces this computer's old one"]);
    let sealed = std::fs::read(bench.keyfile()).expect("read");
    assert!(!sealed.starts_with(b"CFSKEY"));
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["kept as   systemd-creds", "ok      unlock"]);
    // What replaces it stays sealed, by recover as well.
    rotate(&bench, &["--keyfile"], "").says(&["replaces"]);
    bench
        .cryptfs(&["recover", "volume"], &password)
        .says(&["by itself again"]);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["kept as   systemd-creds", "ok      unlock"]);
    // One that was sealed elsewhere does not open, and says what to do.
    let mut other = std::fs::read(bench.keyfile()).expect("read");
    other[100] = if other[100] == b'A' { b'B' } else { b'A' };
    std::fs::write(bench.keyfile(), other).expect("written");
    bench
        .cryptfs(&["check", "volume"], "")
        .fails(11, &["systemd-creds:", "cryptfs recover"]);
    std::fs::remove_file(bench.keyfile()).expect("removed");
    bench
        .cryptfs(&["recover", "volume"], &password)
        .says(&["by itself again"]);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["a file of mode 0600", "ok      unlock"]);
}
