//! An image's life: the same commands.
use super::Bench;
use std::os::unix::fs::FileExt;

/// With an image of 16 MiB, and its recovery password.
fn bench() -> (Bench, String) {
    let bench = Bench::empty();
    let said = bench.init(&["--image", "--size", "16M", "--label", "ledger", "v.img"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let password = said.field("Recovery password:");
    (bench, password)
}

#[test]
fn made_shown_and_proven() {
    let (bench, password) = bench();
    let length = std::fs::metadata(bench.path("v.img")).expect("an image");
    assert_eq!(length.len(), 16 << 20);
    let said = bench.cryptfs(&["status", "v.img"], "");
    said.says(&["[ledger]", "Kind:               image", "3 of 3 good"]);
    let said = bench.cryptfs(&["check", "v.img"], "");
    said.says(&["1 directories, 0 files", "0 findings"]);
    let said = bench.cryptfs(&["recover", "--verify", "v.img"], &password);
    said.says(&["opens volume"]);
    let said = bench.cryptfs(&["recovery-keys"], "");
    said.says(&[&password]);
}

#[test]
fn what_cannot_be_an_image_is_left_as_it_is() {
    let bench = Bench::empty();
    std::fs::write(bench.path("letter"), "dear").expect("write");
    let image = |more: &[&str]| bench.init(&[&["--image"], more].concat());
    image(&["--size", "16M", "letter"]).fails(16, &["letter is not empty", "hint:"]);
    assert_eq!(std::fs::read(bench.path("letter")).expect("there"), b"dear");
    image(&["v.img"]).fails(64, &["needs a size", "--size 20G"]);
    for size in ["0", "5", "16K", "7M", "129T", "7000000T"] {
        image(&["--size", size, "v.img"]).fails(64, &["8 MiB to 128 TiB"]);
    }
    image(&["--size", "1.5G", "v.img"]).fails(64, &["a whole number of bytes"]);
    image(&["--size", "16M", "nowhere/v.img"]).fails(16, &["nowhere does not exist"]);
    assert!(!bench.path("v.img").exists());
    assert_eq!(
        std::fs::read_dir(bench.path("keys")).map_or(0, Iterator::count),
        1
    ); // the log
}

#[test]
fn lost_header_copies_and_a_lost_keystore_come_back() {
    let (bench, password) = bench();
    let file = std::fs::File::options()
        .write(true)
        .open(bench.path("v.img"));
    let file = file.expect("an image");
    let lose = |at: u64| file.write_all_at(&[0xee; 16384], at).expect("write");
    lose(0);
    lose(4 << 20);
    bench
        .cryptfs(&["status", "v.img"], "")
        .says(&["1 of 3 good"]);
    std::fs::rename(bench.path("keys"), bench.path("lost")).expect("rename");
    let said = bench.cryptfs(&["recover", "v.img"], &password);
    said.says(&[
        "header copy repaired (at 0",
        "unlocks the volume by itself again",
    ]);
    bench
        .cryptfs(&["status", "v.img"], "")
        .says(&["3 of 3 good"]);
    // All three: the keystore's.
    for at in [0, 4 << 20, (16 << 20) - 16384] {
        lose(at);
    }
    bench.cryptfs(&["check", "v.img"], "").fails(16, &["hint:"]);
    let said = bench.cryptfs(&["recover", "v.img"], &password);
    said.says(&["header copy repaired (at the end"]);
    bench.cryptfs(&["check", "v.img"], "").says(&["0 findings"]);
}

#[test]
fn a_header_is_not_put_over_another_image() {
    let (bench, password) = bench();
    let said = bench.cryptfs(&["kit", "v.img", "kit"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    std::fs::write(bench.path("other"), vec![7; 16 << 20]).expect("write");
    let said = bench.cryptfs(&["recover", "--kit", "kit", "other"], &password);
    said.fails(12, &["opens nothing in", "hint:"]);
    let bytes = std::fs::read(bench.path("other")).expect("there");
    assert!(bytes.iter().all(|byte| *byte == 7));
}

#[test]
fn erased() {
    let (bench, password) = bench();
    let said = bench.cryptfs(&["erase", "v.img"], "ledger");
    said.says(&["destroyed: header copy at the end"]);
    let said = bench.cryptfs(&["recover", "v.img"], &password);
    assert_ne!(said.code, 0, "{}", said.out);
}

#[test]
fn snapshots_are_kept_shown_and_given_up() {
    let (bench, _) = bench();
    let snapshot = |arguments: &[&str]| bench.cryptfs(&[&["snapshot"], arguments].concat(), "");
    snapshot(&["create", "v.img", "first"]).says(&[]);
    snapshot(&["create", "v.img", "second"]).says(&[]);
    snapshot(&["create", "v.img", "first"]).fails(16, &["already", "hint:"]);
    snapshot(&["create", "v.img", ".x"]).fails(64, &["begins with no dot"]);
    snapshot(&["delete", "v.img", "third"]).fails(16, &["no snapshot 'third'", "snapshot list"]);
    let said = snapshot(&["list", "v.img"]);
    let names: Vec<_> = said
        .out
        .lines()
        .map(|line| line.rsplit(' ').next())
        .collect();
    assert_eq!(names, [Some("first"), Some("second")], "{}", said.out);
    snapshot(&["delete", "v.img", "first"]).says(&[]);
    let said = snapshot(&["list", "--json", "v.img"]);
    let json = cryptfs::codec::parse_json(&said.out).expect("JSON");
    assert_eq!(json[0]["name"], "second");
    assert!(json[1].is_null() && json[0]["generation"].is_u64());
    bench.cryptfs(&["check", "v.img"], "").says(&["0 findings"]);
    bench.init(&["directory"]).says(&[]);
    snapshot(&["list", "directory"]).fails(64, &["this is a directory volume"]);
}

#[test]
fn a_backup_is_made_brought_up_to_date_and_put_back() {
    let (bench, _) = bench();
    let backup = |arguments: &[&str]| bench.cryptfs(&[&["backup"], arguments].concat(), "");
    backup(&["v.img", "b.img"]).says(&["backup of generation"]);
    backup(&["v.img", "b.img"]).fails(16, &["b.img is not empty"]);
    let said = bench.cryptfs(&["snapshot", "create", "v.img", "kept"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    backup(&["--update", "v.img", "b.img"]).says(&["backup of generation"]);
    bench.cryptfs(&["check", "b.img"], "").says(&["0 findings"]);
    let said = bench.cryptfs(&["snapshot", "list", "b.img"], "");
    said.says(&["kept"]);
    // Another volume's, and one of another size, are not written over.
    bench
        .init(&["--image", "--size", "16M", "other.img"])
        .says(&[]);
    backup(&["--update", "v.img", "other.img"]).fails(16, &["not a backup of this image", "hint:"]);
    // Put back: noticed, and taken when that is said.
    std::fs::copy(bench.path("b.img"), bench.path("v.img")).expect("copy");
    let said = bench.cryptfs(&["check", "--repair", "v.img"], "");
    said.fails(15, &["was seen here", "--accept-rollback"]);
}

#[test]
fn an_image_grows_and_shrinks() {
    let (bench, password) = bench();
    let resize = |size: &str| bench.cryptfs(&["resize", "v.img", size], "");
    let length = || std::fs::metadata(bench.path("v.img")).expect("there").len();
    for (size, bytes) in [("24M", 24 << 20), ("12M", 12 << 20), ("12M", 12 << 20)] {
        resize(size).says(&[&format!("has {bytes} bytes now")]);
        assert_eq!(length(), bytes);
        let said = bench.cryptfs(&["status", "v.img"], "");
        said.says(&["3 of 3 good"]);
        bench.cryptfs(&["check", "v.img"], "").says(&["0 findings"]);
    }
    resize("7M").fails(64, &["8 MiB to 128 TiB"]);
    bench
        .cryptfs(&["resize", "v.img"], "")
        .fails(64, &["needs a size"]);
    let said = bench.cryptfs(&["snapshot", "create", "v.img", "kept"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    resize("9M").fails(1, &["snapshots hold pages", "snapshot delete"]);
    let said = bench.cryptfs(&["recover", "--verify", "v.img"], &password);
    said.says(&["opens volume"]);
}
