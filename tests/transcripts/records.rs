//! What auditors and programs read: the audit log, the report, every --json output; and the end of a volume.
use super::Bench;
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

#[test]
fn every_json_output_keeps_its_schema() {
    let (bench, password, _) = Bench::with_volume();
    std::fs::write(bench.path("volume/stray"), b"x").expect("written");
    let outputs: [(&str, &[&str]); 7] = [
        ("status", &["status", "--json"]),
        ("key-list", &["key", "list", "--json", "volume"]),
        ("recovery-keys", &["recovery-keys", "--json"]),
        ("audit-verify", &["audit", "verify", "--json"]),
        ("report", &["report", "--json"]),
        ("check", &["check", "--json", "volume"]),
        (
            "salvage",
            &["recover", "--json", "--salvage", "out", "volume"],
        ),
    ];
    for (name, arguments) in outputs {
        let said = bench.cryptfs(arguments, &password);
        match name {
            "check" | "salvage" => {
                for line in said.out.lines() {
                    schema::check(name, &parse_json(line).expect("a line of JSON"));
                }
            }
            _ => schema::check(name, &parse_json(&said.out).expect("JSON")),
        }
    }
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
