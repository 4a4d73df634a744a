//! Recovery passwords for several keepers, and for an organisation that has a key.
use super::{Bench, Said};
use crate::needs;

fn shares(said: &Said) -> Vec<String> {
    let lines = said
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("Share "));
    let share = |line: &str| line.split_once(':').expect("a share").1.trim().to_owned();
    lines.map(share).collect()
}

#[test]
fn two_of_three_open_the_volume_and_one_does_not() {
    let bench = Bench::empty();
    let said = bench.init(&["--split", "2of3", "volume"]);
    let made = shares(&said);
    assert_eq!(made.len(), 3, "{}", said.out);
    assert!(!said.out.contains("Recovery password:"), "{}", said.out);
    // Nor does this computer give the whole away.
    bench.cryptfs(&["recovery-keys"], "").says(&["(not kept"]);
    let recover = ["recover", "--shares", "--verify", "volume"];
    for (a, b) in [(0, 1), (2, 0), (1, 2)] {
        bench
            .cryptfs(&recover, &format!("{}\n{}\n", made[a], made[b]))
            .says(&["opens volume"]);
    }
    bench
        .cryptfs(&recover, &format!("{}\n", made[0]))
        .fails(10, &["1 of 2 shares that are needed"]);
    bench
        .cryptfs(&recover, &format!("{}\n{}\n", made[0], made[0]))
        .fails(10, &["share 1 was typed already"]);
    let mut wrong = made[1].clone();
    let digit = if wrong.ends_with('3') { "4" } else { "3" };
    wrong.replace_range(wrong.len() - 1.., digit);
    bench
        .cryptfs(&recover, &format!("{}\n{wrong}\n", made[0]))
        .fails(10, &["group 9: the check digits do not match"]);
    let other = shares(&Bench::empty().init(&["--split", "2of3", "volume"]));
    let said = bench.cryptfs(&recover, &format!("{}\n{}\n", made[0], other[1]));
    assert_eq!(said.code, 10, "{}", said.err);
}

#[test]
fn a_rotation_to_shares_is_proven_by_shares() {
    let (bench, old, _) = Bench::with_volume();
    let rotate = [
        "key",
        "rotate",
        "--pbkdf2-iterations",
        "1000",
        "--split",
        "3of4",
        "volume",
    ];
    let made = shares(&bench.cryptfs(&rotate, ""));
    let typed = format!("{}\n{}\n{}\n", made[3], made[1], made[0]);
    bench
        .cryptfs(&["key", "rotate", "--finish", "--shares", "volume"], &typed)
        .says(&["is proven"]);
    bench
        .cryptfs(&["recover", "--verify", "volume"], &old)
        .fails(10, &[]);
}

#[test]
fn sealed_to_a_public_key_it_comes_back_with_the_private_one() {
    if !needs::program("age") || !needs::program("age-keygen") {
        return;
    }
    let bench = Bench::empty();
    let identity = bench.path("identity");
    let made = std::process::Command::new("age-keygen")
        .arg("-o")
        .arg(&identity)
        .output();
    assert!(made.expect("age-keygen runs").status.success());
    let text = std::fs::read_to_string(&identity).expect("an identity");
    let recipient = text
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .expect("a key");
    let seal = [
        "--quiet",
        "--no-escrow",
        "--seal-to",
        recipient,
        "--sealed",
        "sealed.age",
        "volume",
    ];
    let said = bench.init(&seal);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    let opened = std::process::Command::new("age")
        .args(["--decrypt", "--identity"])
        .args([&identity, &bench.path("sealed.age")])
        .output()
        .expect("age runs");
    let sheet = String::from_utf8(opened.stdout).expect("text");
    let rows = sheet.lines().skip_while(|line| !line.starts_with("    "));
    let password: Vec<_> = rows.take(2).flat_map(str::split_whitespace).collect();
    bench
        .cryptfs(&["recover", "--verify", "volume"], &password.join("-"))
        .says(&["opens volume"]);
    let refused = ["--seal-to", "age1nobody", "--sealed", "other.age", "other"];
    bench
        .init(&refused)
        .fails(64, &["refused the recipient", "hint:"]);
    assert!(!bench.path("other").exists() && !bench.path("other.age").exists());
}
