//! The journal of a salvage, `cryptfs-salvage.json` in the destination: a line of JSON for each entry that is not whole. It
//! is the report that stays, and it keeps a salvage that goes on from taking for whole what an earlier run copied with gaps.
//!
//! Nothing of a volume gets its name ([`reserve`]). On a file system that knows other spellings of it, nothing that this
//! salvage writes takes its place either: the destination knows the journal's inode ([`Journal::identity`]).
use super::climb::{Identity, identity};
use super::error::{Error, Result};
use super::target::is_left_out;
use super::verdict::{Outcome, Verdict};
use crate::codec::{self, Json, json};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Its name in the destination.
pub const NAME: &str = "cryptfs-salvage.json";

/// Under which name an entry of the volume's root directory is copied: none may be taken for the journal.
pub(crate) fn reserve(name: &[u8]) -> Vec<u8> {
    match name == NAME.as_bytes() {
        true => [name, b"+"].concat(),
        false => name.to_vec(),
    }
}

/// Whether a directory holds the journal of an earlier salvage: a file of one's own that has no other name.
pub(crate) fn is_in(dir: BorrowedFd<'_>) -> bool {
    fs::statat(dir, NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_own(&stat))
}

fn is_own(stat: &fs::Stat) -> bool {
    let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let owner = [0, geteuid().as_raw()].contains(&stat.st_uid);
    file && owner && stat.st_nlink == 1
}

/// The journal, open for adding.
pub struct Journal {
    file: File,
    earlier: HashMap<Vec<u8>, Outcome>,
    path: PathBuf,
}

impl Journal {
    /// Begins one in the destination, or goes on with it.
    pub fn open(top: BorrowedFd<'_>, to: &Path) -> Result<Self> {
        let path = to.join(NAME);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(top, NAME, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(Error::sys(&path))?);
        let stat = fs::fstat(&file).map_err(Error::sys(&path))?;
        if !is_own(&stat) {
            return Err(Error::sys(&path)(Errno::PERM));
        }
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        // A line that ctrl-C cut in half is of an entry that was not finished either.
        let text = String::from_utf8_lossy(&bytes);
        let earlier = earlier(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            let _ = file.write_all(b"\n");
        }
        Ok(Self {
            file,
            earlier,
            path,
        })
    }

    /// Which file it is.
    pub(crate) fn identity(&self) -> Result<Identity> {
        identity(&self.file).map_err(Error::sys(&self.path))
    }

    /// True where an earlier run left out something on purpose that this one may restore.
    pub(crate) fn left_out(&self, path: &Path) -> bool {
        let outcome = self.earlier.get(path.as_os_str().as_bytes());
        matches!(outcome, Some(Outcome::Attributes(which)) if which.iter().any(|w| is_left_out(w)))
    }

    /// Writes down what became of an entry, if it is not whole, and says what is to be reported of it: of one that an earlier
    /// run has copied, what that run found.
    pub fn settle(&self, mut verdict: Verdict) -> Result<Verdict> {
        let key = verdict.path.as_os_str().as_bytes();
        if verdict.outcome == Outcome::Earlier
            && let Some(outcome) = self.earlier.get(key)
        {
            verdict.outcome = outcome.clone();
            return Ok(verdict);
        }
        if !matches!(verdict.outcome, Outcome::Whole | Outcome::Earlier) {
            let line = codec::json_line(&record(&verdict)) + "\n";
            let written = (&self.file).write_all(line.as_bytes());
            written.map_err(|source| Error::Io {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(verdict)
    }
}

/// A verdict as JSON: `path` to read, `bytes` where that is not the path's own.
pub fn record(verdict: &Verdict) -> Json {
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
    let name = match verdict.placed {
        super::Placed::Name => "kept",
        super::Placed::Content => "from content",
        super::Placed::Lost => "lost",
    };
    let path = verdict.path.as_os_str().as_bytes();
    json!({"path": shown(path), "verdict": word, "detail": detail, "name": name})
}

/// What an earlier run found; of a path that was copied twice, the second time.
fn earlier(text: &str) -> HashMap<Vec<u8>, Outcome> {
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(Vec<u8>, Outcome)> {
    let record = codec::parse_json(line).ok()?;
    let detail = &record["detail"];
    let outcome = match record["verdict"].as_str()? {
        "ranges" => {
            let range = |pair: &Json| Some::<Range<u64>>(pair[0].as_u64()?..pair[1].as_u64()?);
            Outcome::Ranges(
                detail
                    .as_array()?
                    .iter()
                    .map(range)
                    .collect::<Option<_>>()?,
            )
        }
        "attributes" => {
            let which = detail.as_array()?.iter();
            Outcome::Attributes(which.filter_map(|w| Some(w.as_str()?.to_owned())).collect())
        }
        _ => return None, // what was lost is tried again
    };
    Some((unshown(record["path"].as_str()?), outcome))
}

/// A path that cannot drive the terminal: control characters, backslashes and bytes that are not text as `\xNN`.
pub fn shown(path: &[u8]) -> String {
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

fn unshown(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut parts = text.split("\\x");
    out.extend(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        out.extend(u8::from_str_radix(digits, 16).ok());
        out.extend(rest.as_bytes());
    }
    match out == b"." {
        true => Vec::new(),
        false => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_from_the_journal() {
        for path in [
            &b"a/b"[..],
            b"sp\xff\x1barse",
            b"back\\x41slash",
            b"",
            "Umläut".as_bytes(),
        ] {
            assert_eq!(unshown(&shown(path)), path);
        }
    }
}
