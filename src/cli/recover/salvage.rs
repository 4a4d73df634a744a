//! Copying out, and the report on it.
use super::*;

/// Copies everything out that still decrypts.
pub fn salvage(volume: Volume, to: &Path, what: &What) -> Result<ExitCode> {
    let lock = volume.place().lock(Access::ReadOnly)?;
    let files = file_system(volume.into_opened()?, true)?;
    let bar = Bar::bytes("copying");
    let job = copy_out::Job {
        from: &*files,
        volume: &what.volume,
        to,
        resume: what.resume,
    };
    let summary = copy_out::copy_out(&job, &bar, &mut |verdict| {
        if what.json {
            bar.line(&json_line(&record(verdict)));
        } else if let Some(problem) = problem(&verdict.outcome) {
            bar.line(&format!("{}: {problem}", shown(&verdict.path)));
        }
    });
    bar.end();
    let summary = summary?;
    drop(lock);
    finish(&summary, what.json)
}

fn finish(summary: &Summary, as_json: bool) -> Result<ExitCode> {
    let Summary {
        whole,
        ranges,
        attributes,
        lost,
        lost_bytes,
    } = *summary;
    if as_json {
        let line = json!({"whole": whole, "ranges_lost": ranges, "attributes_lost": attributes, "lost": lost, "bytes_lost": lost_bytes});
        outln!("{}", json_line(&json!({"summary": line})))?;
    } else {
        outln!(
            "{whole} whole, {ranges} with bytes lost ({lost_bytes} bytes), {attributes} with attributes lost, {lost} lost"
        )?;
    }
    match summary.is_complete() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(Code::Damage.into()),
    }
}

fn problem(outcome: &Outcome) -> Option<String> {
    match outcome {
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
    }
}

fn record(verdict: &Verdict) -> Json {
    let (word, detail) = match &verdict.outcome {
        Outcome::Whole => ("whole", Json::Null),
        Outcome::Earlier => ("earlier", Json::Null),
        Outcome::Ranges(ranges) => (
            "ranges",
            ranges.iter().map(|r| json!([r.start, r.end])).collect(),
        ),
        Outcome::Attributes(which) => ("attributes", json!(which)),
        Outcome::Lost(why) => ("lost", json!(why)),
    };
    json!({"path": shown(&verdict.path), "verdict": word, "detail": detail})
}

/// A path that cannot drive the terminal: control characters and bytes that are not text as `\xNN`.
fn shown(path: &Path) -> String {
    shown_bytes(path.as_os_str().as_bytes())
}

/// As [`shown`].
pub fn shown_bytes(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_control() || c == '\\' {
                true => out.extend(c.to_string().bytes().map(|b| format!("\\x{b:02x}"))),
                false => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
    out
}
