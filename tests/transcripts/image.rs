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
    image(&["v.img"]).fails(2, &["needs a size", "--size 20G"]);
    image(&["--size", "7M", "v.img"]).fails(2, &["8 MiB to 128 TiB"]);
    image(&["--size", "1.5G", "v.img"]).fails(2, &["a whole number of bytes"]);
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
