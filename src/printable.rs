//! Names that others chose, as text that a terminal and a program can take.
//!
//! Linux allows every byte but `/` and NUL in a file name. Printed as it is, such a name can move
//! the cursor, change colours, or hide its true end. Every path and name that is printed goes
//! through [`printable`]; what goes into JSON goes through [`exact`].
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter, Write};
use std::path::Path;

/// Shows a name as it is where it is plain text, and as the shell word `$'...'` otherwise.
///
/// In that form control characters, bytes that are not UTF-8, and characters that change the
/// direction of the text are escaped. Bash, zsh and ksh turn it back into the exact name.
pub fn printable<T: AsRef<OsStr> + ?Sized>(name: &T) -> Printable<'_> {
    Printable(name.as_ref())
}

/// Returns a path as a shell takes it, for commands that people copy.
pub fn typed(path: &Path) -> String {
    let path = printable(path).to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    match path.chars().all(plain) || path.starts_with("$'") {
        true => path,
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

/// Returns a name for JSON: as it is where it is UTF-8, and as the shell word `$'...'` otherwise.
///
/// A name that itself begins with `$'` is escaped too, so that no two names give one text.
pub fn exact<T: AsRef<OsStr> + ?Sized>(name: &T) -> String {
    let name = name.as_ref();
    match name.to_str() {
        Some(text) if !text.starts_with("$'") => text.to_owned(),
        _ => quoted(name.as_encoded_bytes()),
    }
}

/// A name that is safe to print; see [`printable`].
pub struct Printable<'a>(&'a OsStr);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.to_str() {
            Some(text) if !text.starts_with("$'") && !text.contains(misleads) => f.pad(text),
            _ => f.pad(&quoted(self.0.as_encoded_bytes())),
        }
    }
}

/// Replaces what a terminal would obey in a text of several lines; line ends and tabs stay.
///
/// This is the last guard before the terminal, for text that was put together elsewhere.
pub fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
    let obeyed = |c: char| misleads(c) && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match obeyed(c) {
            true => escape(&mut out, c),
            false => out.push(c),
        }
    }
    out.into()
}

/// True for control characters, line separators, and what changes the direction of text.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// Writes a name as a word of the shell, `$'...'`.
fn quoted(name: &[u8]) -> String {
    let mut out = String::from("$'");
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '\'' => out.extend(['\\', c]),
                c if misleads(c) => escape(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            byte_escape(&mut out, *byte);
        }
    }
    out.push('\'');
    out
}

/// Writes a character as the bytes of its UTF-8 form, which every shell with `$'...'` reads.
fn escape(out: &mut String, c: char) {
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        byte_escape(out, byte);
    }
}

/// Writes three octal digits: unlike `\x1b`, they cannot run into a hexadecimal digit behind them.
fn byte_escape(out: &mut String, byte: u8) {
    let _ = write!(out, "\\{byte:03o}"); // a String takes everything
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn shown(name: &[u8]) -> String {
        printable(OsStr::from_bytes(name)).to_string()
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["/srv/my data", "/srv/Grüße/資料", "it's", "", "a\\b"] {
            assert_eq!(shown(name.as_bytes()), name);
            assert_eq!(exact(name), name);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(shown(b"/a\x1b[31m"), "$'/a\\033[31m'");
        assert_eq!(shown(b"a\nb"), "$'a\\012b'");
        assert_eq!(shown(b"a\xffb'"), "$'a\\377b\\''");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "$'a\\342\\200\\256b'");
        assert_eq!(harmless("a\x1b[2J\tb\n"), "a\\033[2J\tb\n");
    }

    #[test]
    fn json_keeps_every_name_apart() {
        assert_eq!(exact("a\u{1b}"), "a\u{1b}");
        assert_eq!(exact("$'a'"), "$'$\\'a\\''");
        assert_eq!(exact(OsStr::from_bytes(b"/\xff")), "$'/\\377'");
    }
}
