//! Copying out, and the report on it.
use super::*;
use crate::printable::printable;
use crate::recover::journal::{self, record};
use crate::sys::process::Signals;
use rustix::process::Signal;
use std::io::IsTerminal;

/// Copies everything out that still decrypts.
pub fn salvage(volume: Volume, to: &Path, what: &What) -> Result<ExitCode> {
    let _lock = volume.place().lock(Access::ReadOnly)?;
    let bar = Bar::bytes("copying");
    on_interrupt()?;
    let job = Job {
        volume: &what.volume,
        to,
        resume: what.resume,
        unverified: what.unverified,
        privileges: what.privileges,
    };
    let summary = recover::salvage(volume.into_opened()?, &job, &bar, &mut |verdict| {
        if what.json {
            bar.line(&json_line(&record(verdict)));
        } else if let Some(problem) = problem(verdict) {
            bar.line(&format!("{}: {problem}", shown(&verdict.path)));
        }
    });
    bar.end();
    let summary = summary?;
    if !summary.is_complete() {
        let path = to.join(journal::NAME);
        message::note(format_args!(
            "what is not whole is listed in {}",
            printable(&path)
        ));
    }
    if summary.left_out > 0 {
        message::note(format_args!(
            "{} entries are without what would give power over this computer: set-user-ID bits, device nodes, security attributes",
            summary.left_out
        ));
        message::hint(format_args!(
            "if nobody else could write to the volume: {}",
            again(&["--resume", "--privileges"])
        ));
    }
    finish(&summary, what.json)
}

/// Ends at ctrl-C, wherever it is, and says how to go on: what is half done then is done again. The bar stays as it is: it may
/// be locked by a report that nobody reads.
fn on_interrupt() -> Result<()> {
    let failed = Error::io(Path::new("signals"));
    let signals = Signals::block(&[Signal::INT, Signal::TERM]).map_err(failed)?;
    let hint = format!("go on with {}", again(&["--resume"]));
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            if std::io::stderr().is_terminal() {
                eprintln!();
            }
            message::error(&Error::told(Code::Interrupted, "interrupted", &hint));
            std::process::exit(Code::Interrupted as i32);
        }
    });
    Ok(())
}

/// This command once more, with options that it does not have yet. No argument is ever a secret.
fn again(options: &[&str]) -> String {
    let arguments: Vec<_> = std::env::args_os().collect();
    let (program, rest) = match arguments.split_first() {
        Some((program, rest)) => (Path::new(program).file_name(), rest),
        None => (None, &[][..]),
    };
    let program = program.unwrap_or("cryptfs".as_ref());
    let options = options.iter().map(AsRef::<std::ffi::OsStr>::as_ref);
    let new = options.filter(|option| !rest.iter().any(|given| given == option));
    let words = rest.iter().map(AsRef::as_ref).chain(new);
    let words = std::iter::once(program).chain(words);
    let typed: Vec<_> = words.map(|word| message::typed(Path::new(word))).collect();
    typed.join(" ")
}

fn finish(summary: &Summary, as_json: bool) -> Result<ExitCode> {
    let Summary {
        whole,
        ranges,
        attributes,
        lost,
        lost_bytes,
        names_from_content,
        names_lost,
        left_out: _,
    } = *summary;
    if as_json {
        let line = json!({
            "whole": whole,
            "ranges_lost": ranges,
            "attributes_lost": attributes,
            "lost": lost,
            "bytes_lost": lost_bytes,
            "names_from_content": names_from_content,
            "names_lost": names_lost,
        });
        outln!("{}", json_line(&json!({"summary": line})))?;
    } else {
        outln!(
            "{whole} whole, {ranges} with bytes lost ({lost_bytes} bytes), {attributes} with attributes lost, {lost} lost"
        )?;
        if names_from_content + names_lost > 0 {
            outln!(
                "{names_from_content} names put back from what the files say, {names_lost} names lost"
            )?;
        }
    }
    match summary.is_complete() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(Code::Damage.into()),
    }
}

fn problem(verdict: &Verdict) -> Option<String> {
    let outcome = match &verdict.outcome {
        Outcome::Whole | Outcome::Earlier => None,
        Outcome::Ranges(ranges) => {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|r| format!("{}-{}", r.start, r.end - 1))
                .collect();
            Some(format!("bytes lost: {}", ranges.join(", ")))
        }
        Outcome::Attributes(which) => Some(format!("attributes lost: {}", which.join(", "))),
        Outcome::Lost(why) => Some(format!("lost: {why}")),
    };
    match (outcome, verdict.placed) {
        (None, Placed::Lost) => Some("name lost".to_owned()),
        (Some(what), Placed::Lost) => Some(format!("name lost; {what}")),
        (outcome, Placed::Name | Placed::Content) => outcome,
    }
}

fn shown(path: &Path) -> String {
    journal::shown(path.as_os_str().as_bytes())
}

/// A path that cannot drive the terminal.
pub fn shown_bytes(path: &[u8]) -> String {
    journal::shown(path)
}
