//! The rungs of the keystore: a keyfile sealed by a TPM2 or kept in the desktop's keyring, each against the real program.
mod rig;

use super::{Bench, Said};
use crate::needs;
use rig::{Desktop, Tpm};
use std::path::Path;

const CRYPTFS: &str = env!("CARGO_BIN_EXE_cryptfs");
const NO_TPM: &str = "TPM2TOOLS_TCTI=device:/nonexistent";
const ROTATE: [&str; 3] = ["key", "rotate", "--keyfile"];

fn has(programs: &[&str]) -> bool {
    programs.iter().all(|program| needs::program(program))
}

/// `cryptfs` with a variable in its environment.
fn with(bench: &Bench, variable: &str, arguments: &[&str], input: &str) -> Said {
    let all = [&[variable, CRYPTFS], arguments, &["volume"]].concat();
    bench.run(Path::new("/usr/bin/env"), &all, input)
}

fn rotate(bench: &Bench, variable: &str, form: &str) {
    let arguments = [&ROTATE[..], &["--protect", form]].concat();
    with(bench, variable, &arguments, "").says(&["replaces this computer's old one"]);
}

/// Asserts that `doctor` fails and says each of these.
fn doctor_fails(bench: &Bench, variable: &str, texts: &[&str]) {
    let said = with(bench, variable, &["doctor"], "");
    assert_eq!(said.code, 1, "{}", said.out);
    for text in texts {
        assert!(said.out.contains(text), "no '{text}' in:\n{}", said.out);
    }
}

#[test]
fn a_keyfile_sealed_by_a_tpm2() {
    if !has(&["swtpm", "tpm2_unseal"]) {
        return;
    }
    let (bench, password, _) = Bench::with_volume();
    let (tpm, elsewhere) = (Tpm::new(), Tpm::new());
    let (here, other) = (&tpm.variable(), &elsewhere.variable());
    rotate(&bench, here, "tpm2");
    let sealed = std::fs::read(bench.keyfile()).expect("read");
    assert!(sealed.starts_with(b"CFSTPM1\x1a") && !holds(&sealed, b"CFSKEY"));
    let kept = ["ok      kept as   tpm2", "ok      unlock"];
    with(&bench, here, &["doctor"], "").says(&kept);
    with(&bench, here, &["status"], "").says(&["Keyfile:            tpm2"]);
    if cfg!(feature = "fuse") && needs::fuse() {
        std::fs::create_dir(bench.path("mount")).expect("mkdir");
        let mount = [here, CRYPTFS, "mount", "volume", "mount"];
        let said = bench.run(Path::new("/usr/bin/env"), &mount, "");
        said.says(&[]);
        // The disk alone opens nothing.
        assert!(!said.err.contains("same disk"), "{}", said.err);
        bench.cryptfs(&["umount", "mount"], "").says(&[]);
    }
    // Who listens between TPM2 and computer hears what is public, and not the keyfile.
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
    assert!(tpm.bus().contains(&hexadecimal(&sealed[8..56])));
    assert!(!tpm.bus().contains(&hexadecimal(b"CFSKEY")));
    // Nothing stays in the TPM2, so it does not fill up; what replaces the keyfile is sealed too.
    for _ in 0..4 {
        with(&bench, here, &["check"], "").says(&["0 findings"]);
    }
    with(&bench, here, &ROTATE, "").says(&["replaces"]);
    with(&bench, here, &["doctor"], "").says(&kept);
    // Another computer: its TPM2 does not open it, and takes a new one after `recover`.
    let check = with(&bench, other, &["check"], "");
    check.fails(11, &["of another TPM2", "cryptfs recover"]);
    doctor_fails(
        &bench,
        other,
        &[
            "of another TPM2",
            "failed  kept as   tpm2",
            "cryptfs recover --protect file",
        ],
    );
    with(&bench, other, &["recover"], &password).says(&["by itself again"]);
    with(&bench, other, &["doctor"], "").says(&kept);
    // One without a TPM2: it does not change to a weaker form unless it is told so.
    let recover = with(&bench, NO_TPM, &["recover"], &password);
    recover.fails(11, &["cannot be kept as tpm2", "--protect", "file"]);
    with(&bench, NO_TPM, &["recover", "--protect", "file"], &password).says(&["by itself again"]);
    with(&bench, NO_TPM, &["doctor"], "").says(&["note    kept as   file", "ok      unlock"]);
}

#[test]
fn a_form_that_fails_leaves_no_volume() {
    let bench = Bench::empty();
    let said = with(&bench, NO_TPM, &["init", "--protect", "tpm2"], "");
    said.fails(11, &["cannot be kept as tpm2", "--protect", "file"]);
    assert!(!bench.path("volume").exists());
    assert_eq!(bench.snapshot(), []);
}

/// It was staged, and could not be had again: the rotation ended there.
#[test]
fn a_new_keyfile_that_does_not_open_does_not_hide_the_old_one() {
    let (bench, _, _) = Bench::with_volume();
    let new = bench.keyfile().with_extension("key.new");
    std::fs::copy(bench.keyfile(), &new).expect("copied, mode and all");
    std::fs::write(&new, b"CFSTPM1\x1a").expect("written");
    with(&bench, NO_TPM, &["check"], "").says(&["0 findings"]);
    with(&bench, NO_TPM, &ROTATE, "").says(&["replaces"]);
    assert!(!new.exists());
}

#[test]
fn a_sealed_keyfile_that_is_damaged_is_an_error() {
    if !has(&["swtpm", "tpm2_unseal"]) {
        return;
    }
    let (bench, _, _) = Bench::with_volume();
    let tpm = Tpm::new();
    rotate(&bench, &tpm.variable(), "tpm2");
    let sealed = std::fs::read(bench.keyfile()).expect("read");
    for (length, why) in [
        (8, "is damaged"),
        (20, "is damaged"),
        (60, "tpm2_load"),
        (287, "tpm2_load"),
    ] {
        std::fs::write(bench.keyfile(), &sealed[..length]).expect("written");
        with(&bench, &tpm.variable(), &["check"], "").fails(11, &[why, "cryptfs recover"]);
    }
    std::fs::write(bench.keyfile(), &sealed).expect("written");
    with(&bench, &tpm.variable(), &["check"], "").says(&["0 findings"]);
}

#[test]
fn a_keyfile_in_the_desktops_keyring() {
    if !has(&[
        "dbus-run-session",
        "gnome-keyring-daemon",
        "secret-tool",
        "dbus-send",
    ]) {
        return;
    }
    let bench = Bench::empty();
    let desktop = Desktop::new();
    let session = &desktop.variable();
    let init = [
        "init",
        "--pbkdf2-iterations",
        "1000",
        "--protect",
        "secret-service",
    ];
    let made = with(&bench, session, &init, "");
    made.says(&["Recovery password:"]);
    let (password, id) = (made.field("Recovery password:"), made.field("Volume ID:"));
    let kept = ["ok      kept as   secret-service", "ok      unlock"];
    with(&bench, session, &["doctor"], "").says(&kept);
    let marker = std::fs::read(bench.keyfile()).expect("read");
    assert!(marker.starts_with(b"CFSSVC1\x1a") && marker.len() == 24);
    // What replaces it is kept there too, and the old one is gone.
    let before = desktop.entries(&id);
    with(&bench, session, &ROTATE, "").says(&["replaces"]);
    let after = desktop.entries(&id);
    assert_eq!(
        after.matches("attribute.protector = ").count(),
        1,
        "{after}"
    );
    assert_ne!(protector(&before), protector(&after));
    with(&bench, session, &["doctor"], "").says(&kept);
    // Without a session, and with the keyring locked.
    let without = "DBUS_SESSION_BUS_ADDRESS_OF=none";
    let hints = [
        "no desktop session",
        "unlock its keyring",
        "cryptfs recover",
    ];
    with(&bench, without, &["check"], "").fails(11, &hints);
    doctor_fails(
        &bench,
        without,
        &[&hints[..], &["failed  kept as   secret-service"]].concat(),
    );
    // It goes with its protector, and with the volume.
    let remove = [CRYPTFS, "key", "remove", "volume", &protector(&after)];
    let removed = bench.run(
        Path::new("/usr/bin/env"),
        &[&[&session[..]], &remove[..]].concat(),
        "",
    );
    removed.says(&["removed"]);
    assert_eq!(desktop.entries(&id), "");
    let again = ["recover", "--protect", "secret-service"];
    with(&bench, session, &again, &password).says(&["by itself again"]);
    assert_ne!(desktop.entries(&id), "");
    desktop.lock();
    with(&bench, session, &["check"], "").fails(11, &["locked, or has no such entry"]);
    with(&bench, session, &["recover"], &password).fails(11, &["locked", "--protect", "file"]);
    with(
        &bench,
        session,
        &["recover", "--protect", "file"],
        &password,
    )
    .says(&["by itself again"]);
    with(&bench, without, &["doctor"], "").says(&["note    kept as   file", "ok      unlock"]);
}

#[test]
fn crypto_erase_reaches_the_keyring() {
    if !has(&["dbus-run-session", "gnome-keyring-daemon", "secret-tool"]) {
        return;
    }
    let (bench, _, _) = Bench::with_volume();
    let desktop = Desktop::new();
    rotate(&bench, &desktop.variable(), "secret-service");
    let id = bench.keyfile().file_stem().expect("a name").to_owned();
    let id = id.to_str().expect("a volume ID");
    assert_ne!(desktop.entries(id), "");
    with(&bench, &desktop.variable(), &["erase"], "ledger\n").says(&["can no longer be opened"]);
    assert_eq!(desktop.entries(id), "");
}

/// Every program that is started gets its arguments and environment as all can see them: no keyfile is in them.
#[test]
fn no_program_has_the_keyfile_in_its_arguments_or_environment() {
    if !has(&[
        "strace",
        "swtpm",
        "tpm2_unseal",
        "dbus-run-session",
        "gnome-keyring-daemon",
        "secret-tool",
    ]) {
        return;
    }
    let (tpm, desktop) = (Tpm::new(), Desktop::new());
    for (variable, form, program) in [
        (tpm.variable(), "tpm2", "/usr/bin/tpm2_unseal"),
        (desktop.variable(), "secret-service", "/usr/bin/secret-tool"),
    ] {
        let (bench, _, _) = Bench::with_volume();
        let log = bench.path("log");
        let trace = [
            "strace",
            "-f",
            "-v",
            "-s",
            "99999",
            "-e",
            "trace=execve",
            "-o",
        ];
        let log_name = log.to_str().expect("UTF-8");
        let command = [&[CRYPTFS][..], &ROTATE, &["--protect", form, "volume"]].concat();
        let all = [&[&variable[..]], &trace[..], &[log_name], &command].concat();
        let said = bench.run(Path::new("/usr/bin/env"), &all, "");
        if said.err.contains("ptrace") {
            return needs::say("strace may not trace here");
        }
        said.says(&["replaces"]);
        let log = std::fs::read(log).expect("a log");
        assert!(holds(&log, program.as_bytes()), "{program} was not seen");
        // Its magic as it is, in hexadecimal digits and in base64.
        for secret in ["CFSKEY", "4346534b4559", "Q0ZTS0VZ"] {
            assert!(!holds(&log, secret.as_bytes()), "{form}: {secret}");
        }
    }
}

fn protector(entries: &str) -> String {
    let line = entries
        .lines()
        .find_map(|line| line.strip_prefix("attribute.protector = "));
    line.unwrap_or_else(|| panic!("no protector in:\n{entries}"))
        .to_owned()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
