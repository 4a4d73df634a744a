//! The sheet to print: all of the password, in every form, and not on the disk that it protects.
use super::Bench;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn every_form_has_what_it_takes_to_open_the_volume() {
    for form in ["txt", "svg", "html", "pdf"] {
        let bench = Bench::empty();
        let file = format!("sheet.{form}");
        let said = bench.init(&[
            "--label",
            "a <b> (c)",
            "--force",
            "--sheet",
            &file,
            "my volume",
        ]);
        let (password, id) = (said.field("Recovery password:"), said.field("Password ID:"));
        let sheet = std::fs::read_to_string(bench.path(&file)).expect("text");
        for group in password.split('-') {
            assert!(sheet.contains(group), "{form}: no group {group}");
        }
        assert!(
            sheet.contains(&id) && sheet.contains("cryptfs recover "),
            "{form}"
        );
        let label = match form {
            "txt" => "a <b> (c)",
            "pdf" => r"a <b> \(c\)",
            _ => "a &lt;b&gt; (c)",
        };
        assert!(sheet.contains(label), "{form}");
        let mode = std::fs::metadata(bench.path(&file))
            .expect("stat")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // What is told to be exported needs no export.
        let status = bench.cryptfs(&["status", "my volume"], "").out;
        assert!(!status.contains("never exported"), "{status}");
    }
}

/// What the paper shows: rendered, and read by a scanner.
#[test]
fn the_code_on_paper_is_the_password() {
    let scanner = ["zbarimg", "pdftoppm", "rsvg-convert"];
    if !scanner.iter().all(|name| crate::needs::program(name)) {
        return;
    }
    for (form, renderer) in [
        (
            "pdf",
            &[
                "/usr/bin/pdftoppm",
                "-r",
                "150",
                "-png",
                "-singlefile",
                "sheet.pdf",
                "sheet",
            ][..],
        ),
        (
            "svg",
            &["/usr/bin/rsvg-convert", "-o", "sheet.png", "sheet.svg"],
        ),
    ] {
        let bench = Bench::empty();
        let said = bench.init(&["--force", "--sheet", &format!("sheet.{form}"), "volume"]);
        let rendered = bench.run(Path::new(renderer[0]), &renderer[1..], "");
        assert_eq!(rendered.code, 0, "{form}: {}", rendered.err);
        let scanned = bench.run(
            Path::new("/usr/bin/zbarimg"),
            &["-q", "--raw", "sheet.png"],
            "",
        );
        assert_eq!(
            scanned.out.trim(),
            said.field("Recovery password:"),
            "{form}"
        );
    }
}

/// A PDF has what its standard fonts have, and says so where that is not enough.
#[test]
fn letters_that_a_pdf_does_not_have_are_told() {
    let bench = Bench::empty();
    for (form, volume, told) in [
        ("pdf", "日記", true),
        ("html", "日記2", false),
        ("pdf", "fünf", false),
    ] {
        let file = format!("{volume}.{form}");
        let said = bench.init(&["--force", "--sheet", &file, volume]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(
            said.err.contains("Latin letters only"),
            told,
            "{}",
            said.err
        );
    }
}

/// The table at a PDF's end says where each object begins.
#[test]
fn a_pdf_keeps_its_table() {
    let bench = Bench::empty();
    bench.init(&["--force", "--sheet", "sheet.pdf", "volume"]);
    let pdf = std::fs::read_to_string(bench.path("sheet.pdf")).expect("text");
    let (_, table) = pdf.split_once("\nxref\n").expect("a table");
    let entries = table.lines().filter(|line| line.ends_with(" n "));
    for (i, entry) in entries.enumerate() {
        let place: usize = entry[..10].parse().expect("a number");
        assert!(pdf[place..].starts_with(&format!("{} 0 obj", i + 1)));
    }
    let start = pdf.lines().rev().nth(1).expect("startxref");
    let place: usize = start.parse().expect("a number");
    assert!(pdf[place..].starts_with("xref"));
}

#[test]
fn a_sheet_needs_a_known_form_a_new_file_and_one_password() {
    let (bench, _, id) = Bench::with_volume();
    let sheet = |more: &[&str]| {
        bench.cryptfs(
            &[&["recovery-keys", "--force", "--sheet"], more].concat(),
            "",
        )
    };
    let none = |said: super::Said| assert!(!said.out.contains("RecoveryPassword"), "{}", said.out);
    let said = sheet(&["sheet.doc"]);
    said.fails(64, &[".pdf"]);
    none(said);
    std::fs::write(bench.path("there.txt"), b"").expect("written");
    let said = sheet(&["there.txt"]);
    said.fails(16, &["exists"]);
    none(said);
    let other = bench.init(&["other"]).field("Password ID:");
    let said = sheet(&["sheet.txt"]);
    said.fails(64, &["--id PREFIX"]);
    none(said);
    sheet(&["sheet.txt", "--id", &id]).says(&["RecoveryPassword"]);
    let text = std::fs::read_to_string(bench.path("sheet.txt")).expect("text");
    assert!(text.contains(&id) && !text.contains(&other));
    bench
        .init(&["--sheet", "sheet.doc", "third"])
        .fails(64, &[]);
    assert!(!bench.path("third").exists());
}

#[test]
fn not_on_the_disk_that_it_protects() {
    let bench = Bench::empty();
    let said = bench.init(&["--sheet", "sheet.txt", "volume"]);
    if said.err.contains("cannot tell whether the sheet") {
        crate::needs::say("the temporary directory lies on no disk that could be told");
        return;
    }
    said.fails(16, &["the disk that it protects", "--force"]);
    assert!(!bench.path("volume").exists() && !bench.path("sheet.txt").exists());
}
