//! The documents say what the programs do: every command, option, mount option and exit code of the code stands in the manual
//! pages and the other way round; the README's links lead somewhere, and its commands work as they stand there.
use crate::transcripts::Bench;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What stands in a section of a manual page (`.Sh MOUNT OPTIONS`, `.Ss init`), without the heading.
fn section(page: &str, heading: &str) -> String {
    let text = read(page);
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{page} has no {heading}");
    let sub = heading.starts_with(".Ss");
    let ends = |line: &&str| line.starts_with(".Sh ") || sub && line.starts_with(".Ss ");
    lines
        .take_while(|line| !ends(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The words of a macro line, punctuation apart: `.It Fl -raw , Fl -json` gives `Fl`, `-raw`, `Fl`, `-json`.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().filter(|word| *word != ",")
}

/// The long options that a piece of a manual page lists (`.It ... Fl -name`), without their hyphens.
fn listed_options(text: &str) -> BTreeSet<String> {
    let items = text.lines().filter(|line| line.starts_with(".It "));
    items
        .flat_map(words)
        .filter_map(|word| word.strip_prefix('-'))
        .map(str::to_owned)
        .collect()
}

/// The long options that `--help` lists, aliases included, without their hyphens.
fn offered_options(help: &str) -> BTreeSet<String> {
    let (_, options) = help.split_once("Options:\n").expect("options");
    let mut found = BTreeSet::new();
    for line in options.lines().map(str::trim_start) {
        let long = match line.starts_with('-') {
            true => line.split_whitespace().find_map(|w| w.strip_prefix("--")),
            false => None,
        };
        found.extend(long.map(str::to_owned));
        // An alias may stand in the lines below.
        if let Some((_, alias)) = line.split_once("[alias: --") {
            found.extend(alias.split(']').next().map(str::to_owned));
        }
    }
    found
}

fn offered_commands(help: &str) -> Vec<String> {
    let Some((_, rest)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let lines = rest.lines().take_while(|line| !line.is_empty());
    // A line that goes on is indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn help(command: &[&str]) -> String {
    let said = Bench::empty().cryptfs(&[command, &["--help"]].concat(), "");
    assert_eq!(said.code, 0, "cryptfs {command:?} --help: {}", said.err);
    said.out
}

const COMMON: [&str; 3] = ["keystore", "help", "version"];

fn own(mut options: BTreeSet<String>) -> BTreeSet<String> {
    options.retain(|name| !COMMON.contains(&name.as_str()));
    options
}

/// The options of a command and of the commands below it.
fn options_of(command: &str) -> BTreeSet<String> {
    let text = help(&[command]);
    let mut options = own(offered_options(&text));
    for sub in offered_commands(&text) {
        options.extend(own(offered_options(&help(&[command, &sub]))));
    }
    options
}

#[test]
fn every_command_and_option_is_in_the_manual_page_and_the_other_way_round() {
    let commands = offered_commands(&help(&[]));
    let text = read("man/cryptfs.1");
    let written: Vec<_> = section("man/cryptfs.1", ".Sh COMMANDS")
        .lines()
        .filter_map(|line| line.strip_prefix(".Ss "))
        .filter(|name| *name != "Common options")
        .map(str::to_owned)
        .collect();
    assert_eq!(written, commands, "commands in the order of --help");
    for command in &commands {
        let listed = listed_options(&section("man/cryptfs.1", &format!(".Ss {command}")));
        assert_eq!(listed, options_of(command), "options of {command}");
        let synopsis = section("man/cryptfs.1", ".Sh SYNOPSIS");
        let line = format!(".Cm {command}");
        assert!(
            synopsis.lines().any(|l| l == line),
            "{command} in the synopsis"
        );
        for sub in offered_commands(&help(&[command])) {
            assert!(
                text.contains(&format!(".Cm {command} {sub}\n"))
                    || text.contains(&format!(".Cm {command} {sub} ")),
                "{command} {sub}"
            );
        }
    }
    let common = listed_options(&section("man/cryptfs.1", ".Ss Common options"));
    assert_eq!(common, COMMON.map(str::to_owned).into());
}

#[test]
fn whatever_speaks_json_has_a_schema() {
    let mut speak = BTreeSet::new();
    for command in offered_commands(&help(&[])) {
        let text = help(&[&command]);
        for sub in offered_commands(&text) {
            if offered_options(&help(&[&command, &sub])).contains("json") {
                speak.insert(format!("{command}-{sub}"));
            }
        }
        if offered_options(&text).contains("json") {
            // What recover reports on is the salvage.
            let name = if command == "recover" {
                "salvage"
            } else {
                &command
            };
            speak.insert(name.to_owned());
        }
    }
    let schemas = std::fs::read_dir(root().join("tests/schema")).expect("schemas");
    let schemas = schemas.map(|entry| entry.expect("an entry").path());
    let stem = |path: PathBuf| {
        path.file_stem()
            .expect("a name")
            .to_str()
            .map(str::to_owned)
    };
    let json = schemas.filter(|path| path.extension().is_some_and(|e| e == "json"));
    assert_eq!(json.filter_map(stem).collect::<BTreeSet<_>>(), speak);
}

#[test]
fn the_rescue_programs_options_are_in_its_page_and_the_other_way_round() {
    let said = Bench::empty().rescue(&["--help"], "");
    let offered = offered_options(&said.out);
    let listed = listed_options(&section("man/cryptfs-recover.1", ".Sh DESCRIPTION"));
    assert_eq!(listed, offered);
    let synopsis = section("man/cryptfs-recover.1", ".Sh SYNOPSIS");
    for name in offered
        .iter()
        .filter(|n| !["help", "version"].contains(&n.as_str()))
    {
        assert!(
            synopsis.contains(&format!("Fl -{name}")),
            "{name} in the synopsis"
        );
    }
}

/// The codes that a manual page lists: `.It 17`.
fn listed_codes(text: &str) -> BTreeSet<u8> {
    let items = text.lines().filter_map(|line| line.strip_prefix(".It "));
    items.filter_map(|item| item.parse().ok()).collect()
}

#[test]
fn every_exit_code_is_in_the_table_and_the_other_way_round() {
    let source = read("src/cli/message.rs");
    let (_, rest) = source.split_once("pub enum Code {").expect("the enum");
    let (body, _) = rest.split_once("\n}").expect("its end");
    let code = |line: &str| {
        line.trim()
            .strip_suffix(',')?
            .split_once(" = ")?
            .1
            .parse()
            .ok()
    };
    let mut codes: BTreeSet<u8> = body.lines().filter_map(code).collect();
    assert!(codes.len() > 5, "{codes:?}");
    codes.insert(0);
    let table = section("man/cryptfs.1", ".Sh EXIT STATUS");
    assert_eq!(listed_codes(&table), codes);
    let rescue = listed_codes(&section("man/cryptfs-recover.1", ".Sh EXIT STATUS"));
    assert!(rescue.is_subset(&codes), "{rescue:?}");
}

/// Commands with codes of their own, those that they reserve, and where they are.
#[test]
fn every_answer_of_status_and_check_is_in_its_table() {
    for (file, heading, reserved) in [
        ("src/cli/status.rs", ".Ss status", &[2][..]),
        ("src/cli/check.rs", ".Ss check", &[]),
    ] {
        let source = read(file);
        let (_, rest) = source
            .split_once("fn code(self) -> u8 {")
            .expect("the codes");
        let (body, _) = rest.split_once("\n    }\n").expect("its end");
        let code = |line: &str| {
            line.trim()
                .strip_suffix(',')?
                .split_once(" => ")?
                .1
                .parse()
                .ok()
        };
        let mut codes: BTreeSet<u8> = body.lines().filter_map(code).collect();
        assert!(codes.len() > 3, "{codes:?}");
        codes.extend(reserved);
        assert_eq!(listed_codes(&section("man/cryptfs.1", heading)), codes);
    }
}

/// The mount options that the page lists: `Cm name`, without a value's name.
#[cfg(feature = "fuse")]
fn listed_mount_options() -> BTreeSet<String> {
    let text = section("man/cryptfs.1", ".Sh MOUNT OPTIONS");
    let (list, _) = text
        .split_once(".Ss ")
        .expect("the sub-section after the list");
    let items = list.lines().filter(|line| line.starts_with(".It "));
    items
        .flat_map(|line| {
            let names = words(line).skip(1).take_while(|word| *word != "Ns");
            names.filter(|word| *word != "Cm").map(str::to_owned)
        })
        .collect()
}

/// The mount options that options.rs knows, from its tables and the arms of its two matches.
#[cfg(feature = "fuse")]
fn known_mount_options() -> BTreeSet<String> {
    let source = read("src/fuse/options.rs");
    let (code, _) = source.split_once("#[cfg(test)]").expect("tests");
    let between = |start: &str, end: &str| {
        let (_, rest) = code.split_once(start).expect(start);
        rest.split_once(end).expect(end).0
    };
    let quoted = |text: &str, quote: &str| -> Vec<String> {
        let parts = text.split(quote).skip(1);
        parts
            .filter_map(|part| part.split('"').next())
            .map(str::to_owned)
            .collect()
    };
    let mut names = BTreeSet::new();
    names.extend(quoted(between("const FLAGS:", "];"), "(\""));
    // Every second piece between quotation marks is a word of the list.
    let ignored = between("const IGNORED:", "];");
    names.extend(ignored.split('"').skip(1).step_by(2).map(str::to_owned));
    names.extend(quoted(between("fn add_one", "fn split"), "b\""));
    names
        .into_iter()
        .map(|name| match name.as_str() {
            "x-" | "X-" => "x-*".to_owned(),
            _ => name,
        })
        .collect()
}

#[test]
#[cfg(feature = "fuse")]
fn every_mount_option_is_in_the_page_and_is_taken() {
    let listed = listed_mount_options();
    assert_eq!(listed, known_mount_options());
    for name in &listed {
        let value = match name.as_str() {
            "allow_root" => continue, // said to be refused
            "threads" => "threads=4".to_owned(),
            "fsname" | "subtype" | "log" | "keystore" | "snapshot" => format!("{name}=value"),
            "x-*" => "x-systemd.automount".to_owned(),
            _ => name.clone(),
        };
        let taken = cryptfs::fuse::MountOptions::default().add(value.as_ref());
        assert_eq!(taken, Ok(()), "{name}");
    }
}

#[test]
fn the_manual_pages_are_clean_mdoc() {
    if !crate::needs::program("mandoc") {
        return;
    }
    let pages = std::fs::read_dir(root().join("man")).expect("man/");
    let pages: Vec<_> = pages.map(|e| e.expect("an entry").path()).collect();
    let lint = std::process::Command::new("mandoc")
        .args(["-Tlint", "-Wwarning"])
        .args(&pages)
        .output()
        .expect("mandoc");
    let said = String::from_utf8_lossy(&lint.stdout);
    assert!(lint.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_readmes_links_lead_to_files() {
    let text = read("README.md");
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|part| part.split(')').next());
    let targets: Vec<_> = targets.filter(|target| !target.contains("://")).collect();
    assert!(targets.len() > 4, "{targets:?}");
    for target in targets {
        let path = target.split('#').next().unwrap_or_default();
        if path == "man/cryptfs.5" && !root().join(path).exists() {
            crate::needs::say("man/cryptfs.5 is not written yet");
            continue;
        }
        assert!(root().join(path).exists(), "README links to {target}");
    }
}

/// `cryptfs` commands in running text: `` `cryptfs doctor VOLUME` ``.
fn quoted_commands(text: &str) -> Vec<Vec<String>> {
    let spans = text.split('`').skip(1).step_by(2);
    let commands = spans.filter(|span| span.starts_with("cryptfs"));
    commands
        .map(|span| span.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn commands_in_the_readmes_text_exist() {
    let text = read("README.md");
    let prose: String = text.split("```").step_by(2).collect();
    let commands = quoted_commands(&prose);
    assert!(commands.len() > 3, "{commands:?}");
    let known = offered_commands(&help(&[]));
    let rescue = offered_options(&Bench::empty().rescue(&["--help"], "").out);
    for command in commands {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let options = match words[..] {
            ["cryptfs"] | ["cryptfs-recover"] => continue,
            ["cryptfs-recover", ..] => rescue.clone(),
            ["cryptfs", name, ..] => {
                assert!(known.iter().any(|k| k == name), "{command:?}");
                options_of(name)
            }
            _ => panic!("{command:?}"),
        };
        for option in words.iter().filter_map(|word| word.strip_prefix("--")) {
            assert!(options.contains(option), "{command:?}");
        }
    }
}

/// The first block of the README, typed as it stands there.
#[test]
#[cfg(feature = "fuse")]
fn the_readmes_first_commands_work() {
    if !crate::needs::fuse() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    std::fs::create_dir(at("papers")).expect("mkdir");
    std::fs::write(at("papers/letter"), "dear").expect("write");
    let text = read("README.md");
    let block = text.split("```console\n").nth(1).expect("a transcript");
    let block = block.split("```").next().unwrap_or_default();
    let mut password = String::new();
    for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let said = typed(home.path(), line, &password);
        assert!(said.status.success(), "{line}: {said:?}");
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        let printed = out
            .lines()
            .find_map(|l| l.strip_prefix("Recovery password:"));
        if let Some(printed) = printed {
            password = printed.trim().to_owned();
        }
        if line.contains("umount") {
            assert!(!at("private/papers").exists());
            // What the line after the next but one tells of.
            std::fs::remove_dir_all(at("keys")).expect("a keystore");
        }
    }
    let read = std::fs::read_to_string(at("private/papers/letter"));
    let end = typed(home.path(), "cryptfs umount ~/private", "");
    assert_eq!(read.expect("the letter"), "dear");
    assert!(end.status.success(), "{end:?}");
}

/// Runs a line in a shell, at home.
#[cfg(feature = "fuse")]
fn typed(home: &std::path::Path, line: &str, input: &str) -> std::process::Output {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cryptfs"));
    let bin = program.parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh")
        .args(["-c", line])
        .current_dir(home)
        .env("HOME", home)
        .env("CRYPTFS_KEYSTORE", home.join("keys"))
        .env("PATH", format!("{}:{path}", bin.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut stdin = shell.stdin.take().expect("piped");
    let _ = stdin.write_all(input.as_bytes()); // most lines read nothing
    drop(stdin);
    shell.wait_with_output().expect("sh")
}
