//! What auditors and programs read: the audit log, the report, every --json output; and the end of a volume.
use super::{Bench, Said};
use crate::schema;
use cryptfs::codec::parse_json;

#[test]
fn the_audit_log_shows_what_was_done_to_it() {
    let (bench, password, _) = Bench::with_volume();
    bench.cryptfs(&["recover", "--verify", "volume"], &password);
    let wrong = "000000-000000-000000-000000-000000-000000-000000-000011";
    bench
        .cryptfs(&["recover", "--verify", "volume"], wrong)
        .fails(10, &[]);
    let said = bench.cryptfs(&["audit", "verify"], "");
    said.says(&[
        "3 lines, each follows",
        "2 lines have the right MAC",
        "1 lines, written while",
    ]);
    let last = said.field("Last line:");
    bench
        .cryptfs(&["audit", "verify", "--expect", &last], "")
        .says(&["Expected:           line 3"]);
    let path = bench.path("keys/audit.log");
    let text = std::fs::read_to_string(&path).expect("a log");
    let mut lines: Vec<_> = text.lines().collect();
    // Cut at the end: only what was noted elsewhere shows it.
    std::fs::write(&path, lines[..2].join("\n") + "\n").expect("written");
    assert_eq!(bench.cryptfs(&["audit", "verify"], "").code, 0);
    bench
        .cryptfs(&["audit", "verify", "--expect", &last], "")
        .fails(17, &["cut or written anew"]);
    // One taken out.
    let out = lines.remove(1);
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let said = bench.cryptfs(&["audit", "verify"], "");
    assert_eq!(said.code, 17);
    assert!(said.out.contains("broken at line 2"), "{}", said.out);
    // One that says something else.
    lines.insert(1, out);
    std::fs::write(
        &path,
        lines.join("\n").replace("unlocked", "refused ") + "\n",
    )
    .expect("written");
    let said = bench.cryptfs(&["audit", "verify"], "");
    assert!(
        said.code == 17 && said.out.contains("lines [2] have a wrong MAC"),
        "{}",
        said.out
    );
}

/// The lines of a log, chained anew as someone can who may write the file and cannot open the volume.
fn chained(lines: &mut [serde_like::Line]) -> String {
    let mut previous = "0".repeat(64);
    let mut text = String::new();
    for line in lines {
        let json = line.with("previous", &previous);
        let sum = cryptfs::crypto::digest::sha256(&[json.as_bytes()]);
        previous = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&json);
        text.push('\n');
    }
    text
}

#[test]
fn a_disclosure_cannot_be_taken_out_of_the_audit_log() {
    let (bench, password, _) = Bench::with_volume();
    bench.cryptfs(&["recovery-keys"], "").says(&[&password]);
    bench
        .cryptfs(&["recover", "--verify", "volume"], &password)
        .says(&["opens"]);
    bench.cryptfs(&["audit", "verify"], "").says(&["3 lines"]);
    let path = bench.path("keys/audit.log");
    let text = std::fs::read_to_string(&path).expect("a log");
    let mut lines: Vec<_> = text.lines().map(serde_like::Line::new).collect();
    assert!(
        text.lines().nth(1).is_some_and(|l| l.contains("disclosed")),
        "{text}"
    );
    lines.remove(1);
    for line in &mut lines[1..] {
        line.remove("mac");
    }
    std::fs::write(&path, chained(&mut lines)).expect("written");
    let said = bench.cryptfs(&["audit", "verify"], "");
    assert_eq!(said.code, 17, "{}", said.out);
    assert!(
        said.out.contains("lines [2] have a wrong MAC, or none"),
        "{}",
        said.out
    );
}

/// A line of JSON whose members are strings or null, kept in their order.
mod serde_like {
    pub struct Line(Vec<(String, String)>);

    impl Line {
        pub fn new(text: &str) -> Self {
            let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
            let member = |part: &str| {
                let (name, value) = part.split_once(':').expect("a member");
                (name.trim_matches('"').to_owned(), value.to_owned())
            };
            // No value here holds ',"'.
            let parts = inner.split(",\"").map(|part| part.trim_start_matches('"'));
            Self(parts.map(member).collect())
        }

        pub fn remove(&mut self, name: &str) {
            self.0.retain(|(known, _)| known != name);
        }

        pub fn with(&mut self, name: &str, value: &str) -> String {
            for (known, text) in &mut self.0 {
                if known == name {
                    *text = format!("\"{value}\"");
                }
            }
            let members: Vec<_> = self.0.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

#[test]
fn the_report_states_facts_and_no_certificate() {
    let (bench, password, _) = Bench::with_volume();
    let said = bench.cryptfs(&["report", "volume"], "");
    said.says(&[
        "SC-28",
        "SC-12",
        "SC-13",
        "MP-6",
        "164.312",
        "PCI DSS",
        "XTS-AES-256",
        "claims no certification",
        "does not satisfy PCI DSS",
    ]);
    assert!(!said.out.contains(&password));
    bench.cryptfs(&["report"], "").says(&["[ledger]"]);
}

/// Runs a command, and proves that what it says is as its schema has it. `check` and `salvage` say a line of JSON for each thing.
fn judged(bench: &Bench, name: &str, arguments: &[&str], input: &str) -> Said {
    let said = match name {
        "rescue" => bench.rescue(arguments, input),
        _ => bench.cryptfs(arguments, input),
    };
    let name = name.replace("rescue", "salvage");
    match &name[..] {
        "check" | "salvage" => {
            for line in said.out.lines() {
                schema::check(&name, &parse_json(line).expect("a line of JSON"));
            }
        }
        _ => schema::check(&name, &parse_json(&said.out).expect("JSON")),
    }
    said
}

/// Every command that has `--json`, under its schema's name.
const OUTPUTS: [(&str, &[&str]); 10] = [
    ("status", &["status", "--json"]),
    ("key-list", &["key", "list", "--json", "volume"]),
    ("recovery-keys", &["recovery-keys", "--json"]),
    ("recovery-keys", &["recovery-keys", "--raw"]),
    ("audit-verify", &["audit", "verify", "--json"]),
    ("report", &["report", "--json"]),
    ("check", &["check", "--json", "volume"]),
    (
        "salvage",
        &["recover", "--json", "--salvage", "out", "volume"],
    ),
    ("rescue", &["--json", "--salvage", "out2", "volume"]),
    ("bench", &["bench", "--json", "--seconds", "0.001"]),
];

#[test]
fn every_json_output_keeps_its_schema() {
    let (bench, password, _) = Bench::with_volume();
    for (name, arguments) in OUTPUTS {
        let said = judged(&bench, name, arguments, &password);
        assert_eq!(said.code, 0, "{name}: {}", said.err);
        assert!(said.out.len() > 2, "{name} says nothing");
    }
}

/// In trouble as well: findings, losses, missing dates, volumes that are away, keys that are gone.
#[test]
fn in_trouble_json_outputs_keep_their_schemas() {
    let bench = Bench::empty();
    let password = bench
        .init(&["--no-escrow", "volume"])
        .field("Recovery password:");
    bench
        .init(&["--quiet", "--image", "--size", "16M", "image"])
        .says(&[]);
    let away = bench.init(&["away"]);
    away.says(&[]);
    std::fs::rename(bench.path("away"), bench.path("elsewhere")).expect("renamed");
    let passphrase = ["key", "add", "--passphrase", "--argon2-memory=64", "volume"];
    bench
        .cryptfs(&passphrase, "correct horse battery")
        .says(&[]);
    let rotate = ["key", "rotate", "--pbkdf2-iterations=1000", "volume"];
    bench.cryptfs(&rotate, "").says(&[]);
    std::fs::write(bench.path("volume/stray"), b"no unit at all").expect("written");
    std::fs::write(bench.path("volume/cryptfs.volume"), b"gone").expect("written");
    let log = bench.path("keys/audit.log");
    let text = std::fs::read_to_string(&log).expect("a log");
    std::fs::write(&log, text.replace("disclosed", "undisclosed")).expect("written");
    let outputs = || OUTPUTS.iter().filter(|(name, _)| *name != "bench");
    let codes = outputs().map(|(name, arguments)| {
        let said = judged(&bench, name, arguments, &password);
        (*name, said.code)
    });
    let wanted = [
        ("status", 0),
        ("key-list", 0),
        ("recovery-keys", 0),
        ("recovery-keys", 0),
        ("audit-verify", 17),
        ("report", 1),
        ("check", 4),
        ("salvage", 17),
        ("rescue", 17),
    ];
    assert_eq!(codes.collect::<Vec<_>>(), wanted);
    let check = ["check", "--repair", "--json", "volume"];
    assert_eq!(judged(&bench, "check", &check, "").code, 1);
    judged(&bench, "check", &["check", "--json", "image"], "").says(&["findings"]);
    let snapshots = ["snapshot", "list", "--json", "image"];
    judged(&bench, "snapshot-list", &snapshots, "").says(&["[]"]);
    let create = ["snapshot", "create", "image", "one"];
    bench.cryptfs(&create, "").says(&[]);
    judged(&bench, "snapshot-list", &snapshots, "").says(&["one"]);
    let resume = [
        "recover",
        "--json",
        "--resume",
        "--salvage",
        "out",
        "volume",
    ];
    judged(&bench, "salvage", &resume, "");
    std::fs::remove_dir_all(bench.path("keys")).expect("removed");
    let said = judged(&bench, "status", &["status", "--json", "volume"], "");
    assert!(
        said.out.contains("\"automatic_unlock\": false"),
        "{}",
        said.out
    );
    judged(&bench, "report", &["report", "--json", "volume"], "");
}

#[test]
fn an_erased_volume_opens_no_more() {
    let (bench, password, _) = Bench::with_volume();
    bench
        .cryptfs(&["kit", "volume", "kit"], "")
        .says(&["written"]);
    bench
        .cryptfs(&["erase", "volume"], "wrong\n")
        .fails(64, &["nothing was destroyed"]);
    bench
        .cryptfs(&["erase", "volume"], "\n")
        .fails(64, &["nothing was destroyed"]);
    bench
        .cryptfs(&["doctor", "volume"], "")
        .says(&["ok      unlock"]);
    let said = bench.cryptfs(&["erase", "volume"], "ledger\n");
    said.says(&[
        "header copy cryptfs.volume",
        "header.2",
        ".key",
        "can no longer be opened",
    ]);
    assert!(
        said.err.contains("recovery kits") && said.err.contains("800-88"),
        "{}",
        said.err
    );
    bench
        .cryptfs(&["recover", "--verify", "volume"], &password)
        .fails(16, &["not a cryptfs volume"]);
    let left: Vec<_> = std::fs::read_dir(bench.path("keys"))
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["audit.log"]);
    // It says so itself: what was taken elsewhere still opens it.
    bench
        .cryptfs(
            &["recover", "--verify", "--kit", "kit", "volume"],
            &password,
        )
        .says(&["opens volume"]);
}
