//! What monitoring relies on: no command calls a volume well that another one refuses, and what
//! cannot be looked at is never reported as good.
use super::Bench;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};

#[test]
fn monitoring_fails_closed_without_a_keystore() {
    let (bench, _, _) = Bench::with_volume();
    let nowhere = bench.path("nowhere");
    let nowhere = ["--keystore", nowhere.to_str().expect("UTF-8")];
    let with = |command: &[&str]| bench.cryptfs(&[command, &nowhere].concat(), "");
    assert_eq!(with(&["status", "--check"]).code, 1);
    assert_eq!(with(&["status", "--check", "volume"]).code, 3);
    with(&["report"]).fails(11, &["there is no keystore"]);
    with(&["status"]).says(&[]);

    let open = PermissionsExt::from_mode(0o755);
    fs::set_permissions(bench.path("keys"), open).expect("chmod");
    for command in [&["status", "--check"][..], &["status"], &["report"]] {
        bench.cryptfs(command, "").fails(11, &["too open"]);
    }
    let said = bench.cryptfs(&["status", "--check", "volume"], "");
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);

    let empty = bench.path("empty");
    fs::create_dir(&empty).expect("mkdir");
    fs::set_permissions(&empty, PermissionsExt::from_mode(0o700)).expect("chmod");
    let empty = empty.to_str().expect("UTF-8");
    let said = bench.cryptfs(&["status", "--check", "--keystore", empty], "");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
}

/// The header of this image is whole, and the file system behind it is gone.
#[test]
fn a_volume_that_mount_refuses_is_not_called_well() {
    let bench = Bench::empty();
    bench.init(&["--image", "--size", "16M", "v.img"]).says(&[]);
    assert_eq!(bench.cryptfs(&["status", "--check", "v.img"], "").code, 0);
    bench.cryptfs(&["doctor", "v.img"], "").says(&["contents"]);

    let image = File::options().write(true).open(bench.path("v.img"));
    let image = image.expect("open");
    let (header, second) = (16 << 10, 4 << 20);
    for (from, to) in [(header, second), (second + header, (16 << 20) - header)] {
        let zeros = vec![0; (to - from) as usize];
        image.write_all_at(&zeros, from).expect("write");
    }
    let said = bench.cryptfs(&["doctor", "v.img"], "");
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("failed  contents"), "{}", said.out);
    let said = bench.cryptfs(&["status", "--check", "v.img"], "");
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("Not possible"), "{}", said.out);
    let said = bench.cryptfs(&["report", "v.img"], "");
    assert!(said.out.contains("no: "), "{}", said.out);
}

#[test]
fn a_volume_that_is_gone_is_named_once_and_can_be_forgotten() {
    let (bench, _, _) = Bench::with_volume();
    let old = bench.cryptfs(&["status"], "").field("Volume ID:");
    fs::remove_dir_all(bench.path("volume")).expect("removed");
    bench.init(&["volume"]).says(&[]);
    let said = bench.cryptfs(&["status"], "");
    assert_eq!(said.out.matches("Volume ID:").count(), 1, "{}", said.out);
    let forget = format!("cryptfs forget {old}");
    assert!(said.err.contains(&forget), "{}", said.err);
    assert_eq!(bench.cryptfs(&["status", "--check"], "").code, 1);

    let new = said.field("Volume ID:");
    bench
        .cryptfs(&["forget", &new], &new)
        .fails(16, &["is still there", "cryptfs erase"]);
    bench
        .cryptfs(&["forget", &old], "yes")
        .fails(64, &["nothing was removed"]);
    bench
        .cryptfs(&["forget", "zz"], &old)
        .fails(64, &["cryptfs status shows the IDs"]);
    bench
        .cryptfs(&["forget", &old], &old)
        .says(&["is forgotten"]);
    let said = bench.cryptfs(&["status", "--check"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let log = fs::read_to_string(bench.path("keys/audit.log")).expect("an audit log");
    assert!(log.contains(r#""action":"forget""#), "{log}");
}

/// Its password stands nowhere but in the escrow: forgetting it would lose a disk that is only away.
#[test]
fn a_volume_whose_password_nobody_has_seen_is_not_forgotten() {
    let bench = Bench::empty();
    bench.init(&["--quiet", "volume"]).says(&[]);
    let id = bench.cryptfs(&["status"], "").field("Volume ID:");
    fs::rename(bench.path("volume"), bench.path("away")).expect("rename");
    bench
        .cryptfs(&["forget", &id], &id)
        .fails(16, &["cryptfs recovery-keys --id"]);
    bench
        .cryptfs(&["recovery-keys", "--id", &id[..8]], "")
        .says(&["RecoveryPassword"]);
    bench.cryptfs(&["forget", &id], &id).says(&["is forgotten"]);
}

/// Nobody got the recovery password: the volume must not stay as if somebody had.
#[test]
fn a_volume_whose_password_could_not_be_printed_is_taken_back() {
    let bench = Bench::empty();
    let cryptfs = env!("CARGO_BIN_EXE_cryptfs");
    fs::create_dir(bench.path("empty")).expect("mkdir");
    for volume in ["new", "empty", "--image --size 16M v.img"] {
        let line = format!("{cryptfs} init --pbkdf2-iterations 1000 {volume} >/dev/full");
        let said = bench.run(std::path::Path::new("/bin/sh"), &["-c", &line], "");
        said.fails(1, &["No space left"]);
    }
    assert!(!bench.path("new").exists() && !bench.path("v.img").exists());
    assert_eq!(
        fs::read_dir(bench.path("empty")).expect("readdir").count(),
        0
    );
    let kept = fs::read_dir(bench.path("keys")).expect("readdir").flatten();
    let kept: Vec<_> = kept.map(|entry| entry.file_name()).collect();
    let of_volumes = |name: &&std::ffi::OsString| *name != "id" && *name != "audit.log";
    assert_eq!(kept.iter().filter(of_volumes).count(), 0, "{kept:?}");
}

#[test]
fn hints_of_image_commands_work_when_followed() {
    let bench = Bench::empty();
    bench.init(&["--image", "--size", "16M", "v.img"]).says(&[]);
    bench
        .cryptfs(&["resize", "v.img"], "")
        .fails(64, &["cryptfs resize v.img 20G"]);
    bench
        .cryptfs(&["resize", "v.img", "20M"], "")
        .says(&["20971520 bytes now"]);
    bench
        .cryptfs(&["backup", "v.img", "copy.img"], "")
        .says(&["written to"]);
    let again = bench.cryptfs(&["backup", "v.img", "copy.img"], "");
    again.fails(16, &["cryptfs backup --update v.img copy.img"]);
    bench
        .cryptfs(&["backup", "--update", "v.img", "copy.img"], "")
        .says(&["written to"]);
}
