//! The layer rule of `src/lib.rs`, enforced: who may use whom, and which crate comes in by which door.
//!
//! The checker reads `src/` as text, comments and strings left out. It sees `crate::x`, `use crate::{x, y}`,
//! `super::super::x` and paths that begin with an outside crate. Each rule is broken once by a made-up file below: a
//! test that cannot fail is no test.
use std::path::{Path, PathBuf};

/// Which modules of ours a module may use, besides itself.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("printable", &[]),
    ("sys", &[]),
    ("crypto", &[]),
    ("codec", &[]),
    ("fs", &[]),
    ("volume", &["codec", "crypto", "printable", "sys"]),
    ("directory", &["codec", "crypto", "fs", "sys", "volume"]),
    ("image", &["codec", "crypto", "fs", "sys", "volume"]),
    ("fuse", &["fs", "printable", "sys"]),
    (
        "recover",
        &[
            "codec",
            "crypto",
            "directory",
            "fs",
            "image",
            "printable",
            "sys",
            "volume",
        ],
    ),
    (
        "cli",
        &[
            "codec",
            "crypto",
            "directory",
            "fs",
            "fuse",
            "image",
            "printable",
            "recover",
            "sys",
            "volume",
        ],
    ),
];

/// Crates, and the one place of each. "" is any place.
const DOORS: [(&str, &[&str]); 9] = [
    ("fuse/", &["fuser"]),
    ("cli/", &["clap", "indicatif", "qrcode"]),
    (
        "crypto/",
        &[
            "aes",
            "aes_kw",
            "aes_siv",
            "argon2",
            "getrandom",
            "hkdf",
            "hmac",
            "pbkdf2",
            "polyval",
            "sha2",
            "subtle",
            "xts_mode",
        ],
    ),
    ("codec.rs", &["bincode", "serde", "serde_json"]),
    ("sys/", &["libc"]),
    ("volume/passphrase.rs", &["unicode_normalization"]),
    ("", &["rustix"]),
    (
        "",
        &[
            "data_encoding",
            "parking_lot",
            "rustc_hash",
            "thiserror",
            "zeroize",
        ],
    ),
    ("", &["std", "core", "alloc"]),
];

/// Where `unsafe` may stand.
const UNSAFE: [&str; 3] = ["sys/", "crypto/tag/vpclmul.rs", "crypto/xts/vaes.rs"];

/// Replaces comments, strings and character literals by spaces.
fn bare(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skipped(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        match end == at {
            true => out.push(bytes[at]),
            false => out.extend(
                bytes[at..end]
                    .iter()
                    .map(|b| if *b == b'\n' { b'\n' } else { b' ' }),
            ),
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the comment or literal that begins here; 0 if none does.
fn skipped(rest: &[u8], before: Option<u8>) -> usize {
    let find = |needle: &[u8], from: usize| {
        let found = rest[from..]
            .windows(needle.len())
            .position(|window| window == needle);
        found.map_or(rest.len(), |place| from + place + needle.len())
    };
    let word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => find(b"\n", 2) - 1,
        [b'/', b'*', ..] => find(b"*/", 2),
        [b'r', tail @ ..] if !word && matches!(tail.first(), Some(b'"' | b'#')) => {
            let hashes = tail.iter().take_while(|byte| **byte == b'#').count();
            match tail.get(hashes) {
                Some(b'"') => find(&[b"\"", &b"#".repeat(hashes)[..]].concat(), hashes + 2),
                _ => 0,
            }
        }
        [b'"', ..] => {
            let mut at = 1;
            while at < rest.len() && rest[at] != b'"' {
                at += if rest[at] == b'\\' { 2 } else { 1 };
            }
            at + 1
        }
        [b'\'', b'\\', ..] => find(b"'", 3),
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
    .min(rest.len())
}

/// The text as words, "::" and single signs.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            word => word,
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The first words of the paths that begin at `at`: one, or those of a group in braces.
fn heads<'a>(tokens: &[&'a str], at: usize) -> Vec<&'a str> {
    if tokens.get(at) != Some(&"{") {
        return tokens
            .get(at)
            .copied()
            .filter(|token| is_word(token))
            .into_iter()
            .collect();
    }
    let (mut depth, mut fresh, mut found) = (0, true, Vec::new());
    for token in &tokens[at..] {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && fresh && is_word(token) => found.push(*token),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        fresh = depth == 1 && matches!(*token, "{" | ",");
    }
    found
}

/// What is wrong with one file: `path` is relative to `src/`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let bare = bare(text);
    let tokens = tokens(&bare);
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let depth = path
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .split('/')
        .count();
    let mut wrong = Vec::new();
    let mut complain = |what: String| wrong.push(format!("src/{path}: {what}"));
    for (at, token) in tokens.iter().enumerate() {
        let begins = at == 0 || tokens[at - 1] != "::";
        let leads = tokens.get(at + 1) == Some(&"::");
        match *token {
            "crate" if leads => {
                for used in heads(&tokens, at + 2) {
                    complain_of_module(module, used, &mut complain);
                }
            }
            "super" if begins => {
                let climbed = tokens[at..]
                    .chunks(2)
                    .take_while(|pair| *pair == ["super", "::"])
                    .count();
                for used in heads(&tokens, at + 2 * climbed)
                    .into_iter()
                    .filter(|_| climbed >= depth)
                {
                    if MAY_USE.iter().any(|(known, _)| *known == used) {
                        complain_of_module(module, used, &mut complain);
                    }
                }
            }
            "cryptfs" if begins && leads && !is_main(path) => {
                complain("names its own crate".into())
            }
            "unsafe" if !UNSAFE.iter().any(|place| path.starts_with(place)) => {
                complain("unsafe".into())
            }
            _ if begins && (leads || follows_use(&tokens, at)) => {
                complain_of_crate(path, token, &mut complain)
            }
            "serde" | "clap" if at > 1 && tokens[at - 2..at] == ["#", "["] => {
                complain_of_crate(path, token, &mut complain);
            }
            _ => {}
        }
    }
    wrong
}

fn follows_use(tokens: &[&str], at: usize) -> bool {
    at > 0 && matches!(tokens[at - 1], "use" | "crate") && (at < 2 || tokens[at - 2] != "::")
}

/// The mains use `cli` and nothing else.
fn is_main(path: &str) -> bool {
    matches!(path, "main.rs" | "../tools/recover.rs")
}

fn complain_of_module(module: &str, used: &str, complain: &mut dyn FnMut(String)) {
    let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == module) else {
        return match module {
            "lib" | "main" | "" => {}
            _ => complain(format!("module {module} is not in the drawing")),
        };
    };
    if used != module && !allowed.contains(&used) {
        complain(format!("{module} uses {used}"));
    }
}

fn complain_of_crate(path: &str, used: &str, complain: &mut dyn FnMut(String)) {
    let door = DOORS.iter().find(|(_, crates)| crates.contains(&used));
    if let Some((places, _)) = door
        && !places.split(", ").any(|place| path.starts_with(place))
    {
        complain(format!("{used} comes in by {places}"));
    }
}

/// Rust files below a directory.
fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_layer_rule_is_broken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let src = root.join("src");
    let mut wrong = Vec::new();
    for file in files(&src) {
        let path = file
            .strip_prefix(&src)
            .expect("below src")
            .to_str()
            .expect("UTF-8");
        wrong.extend(complaints(
            path,
            &std::fs::read_to_string(&file).expect("a file"),
        ));
    }
    for main in ["src/main.rs", "tools/recover.rs"] {
        let text = bare(&std::fs::read_to_string(root.join(main)).expect("a main"));
        let tokens = tokens(&text);
        let uses = tokens
            .windows(3)
            .filter(|w| w[0] == "cryptfs" && w[1] == "::" && w[2] != "cli");
        wrong.extend(uses.map(|w| format!("{main}: uses {}", w[2])));
    }
    assert!(
        wrong.is_empty(),
        "broken layer rules:\n{}",
        wrong.join("\n")
    );
}

/// Every dependency of the library has a door, or is for all.
#[test]
fn every_dependency_has_a_door() {
    let manifest = include_str!("../Cargo.toml");
    let section = manifest
        .split("\n[dependencies]\n")
        .nth(1)
        .expect("dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"));
    for name in names.filter(|name| !name.starts_with('#')) {
        let known = DOORS
            .iter()
            .any(|(_, crates)| crates.contains(&name.as_str()));
        assert!(known, "{name} has no line in tests/layers.rs");
    }
}

#[test]
fn every_kind_of_breach_is_found() {
    let breaches = [
        (
            "crypto/tag/mod.rs",
            "use crate::volume::keys::Keys;",
            "crypto uses volume",
        ),
        (
            "volume/mod.rs",
            "fn f() -> crate::fs::Result<()> { Ok(()) }",
            "volume uses fs",
        ),
        (
            "directory/file/mod.rs",
            "use crate::{crypto::tag, image::page};",
            "directory uses image",
        ),
        (
            "image/mod.rs",
            "use crate::{\n  fs::{self, Error},\n  directory,\n};",
            "image uses directory",
        ),
        ("fuse/mod.rs", "use crate::recover;", "fuse uses recover"),
        ("recover/mod.rs", "use crate::fuse::x;", "recover uses fuse"),
        (
            "sys/mod.rs",
            "use super::crypto::random;",
            "sys uses crypto",
        ),
        (
            "fs/types.rs",
            "use super::super::volume::Uuid;",
            "fs uses volume",
        ),
        (
            "directory/mod.rs",
            "use crate::cli::message;",
            "directory uses cli",
        ),
        (
            "helper.rs",
            "use crate::fs;",
            "module helper is not in the drawing",
        ),
        (
            "directory/mod.rs",
            "fn f() { fuser::mount() }",
            "fuser comes in by fuse/",
        ),
        (
            "recover/mod.rs",
            "use clap::Parser;",
            "clap comes in by cli/",
        ),
        (
            "volume/mod.rs",
            "use aes::Aes256;",
            "aes comes in by crypto/",
        ),
        (
            "fs/mod.rs",
            "use serde::{Serialize};",
            "serde comes in by codec.rs",
        ),
        (
            "fs/mod.rs",
            "#[serde(default)] struct S;",
            "serde comes in by codec.rs",
        ),
        (
            "directory/mod.rs",
            "unsafe { libc::sync() }",
            "libc comes in by sys/",
        ),
        ("directory/mod.rs", "unsafe {}", "unsafe"),
        ("crypto/xts/mod.rs", "unsafe {}", "unsafe"),
        ("crypto/tag/portable.rs", "unsafe {}", "unsafe"),
        ("fs/mod.rs", "use cryptfs::volume;", "names its own crate"),
    ];
    for (path, text, want) in breaches {
        let wrong = complaints(path, text);
        let found = wrong
            .iter()
            .any(|wrong| *wrong == format!("src/{path}: {want}"));
        assert!(found, "{path}: {text}\nwanted {want}, got {wrong:?}");
    }
}

#[test]
fn what_is_allowed_is_not_complained_of() {
    let fine = [
        (
            "volume/keys.rs",
            "use crate::crypto::kdf::{Label, Prk}; // use crate::fs",
        ),
        (
            "directory/tree/content.rs",
            "use super::super::file::File; /* crate::image */",
        ),
        (
            "crypto/siv.rs",
            "mod tests { use super::super::tests::hex; }",
        ),
        ("crypto/xts/vaes.rs", "use aes::x; unsafe { f() }"),
        ("crypto/tag/vpclmul.rs", "unsafe { f() }"),
        (
            "cli/mod.rs",
            "use crate::{fuse, recover}; fn f() { let s = \"unsafe libc::\"; }",
        ),
        (
            "directory/unit.rs",
            r##"const S: &str = r#"use clap::"#; const C: char = '"'; const D: char = '"';"##,
        ),
        (
            "directory/unit.rs",
            r"fn f<'a>(x: &'a u8) { let _ = ('\'', 'x', '\\'); }",
        ),
        ("sys/fuse.rs", "use libc::c_int; unsafe {}"),
    ];
    for (path, text) in fine {
        assert_eq!(
            complaints(path, text),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }
}
