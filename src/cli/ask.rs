//! Asking for recovery passwords and passphrases: on a terminal without echo, from a descriptor, or from standard input. Never from
//! arguments or the environment.
use super::{Code, Error, Result, message};
use crate::crypto::secret::Secret;
use crate::volume::RecoveryPassword;
use crate::volume::recovery_password::{Entry, GROUPS, ParseError, holds_password};
use crate::volume::share::Share;
use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Bytes of what is typed or pasted: a whole sheet.
const LINE: usize = 4096;
/// Characters of a passphrase; what makes it strong is how it was chosen.
const SHORTEST: usize = 12;

/// A recovery password, from `fd` if one is named, else from standard input.
pub fn recovery_password(fd: Option<u32>) -> Result<RecoveryPassword> {
    if let Some(fd) = fd {
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        let file = File::open(&path).map_err(Error::io(&path))?;
        return read_line(file.as_fd(), &path);
    }
    if isatty(stdin()) {
        return typed();
    }
    read_line(stdin(), Path::new("standard input"))
}

/// A recovery password from its shares, one in each line, until there are enough.
pub fn shares(fd: Option<u32>) -> Result<RecoveryPassword> {
    let path = PathBuf::from(match fd {
        Some(fd) => format!("/proc/self/fd/{fd}"),
        None => "standard input".to_owned(),
    });
    let file = match fd {
        Some(_) => Some(File::open(&path).map_err(Error::io(&path))?),
        None => None,
    };
    let from = file.as_ref().map_or(stdin(), |file| file.as_fd());
    let terminal = match isatty(from) {
        true => Some(Terminal::silent(from).map_err(Error::io(&path))?),
        false => None,
    };
    let mut shares: Vec<Share> = Vec::new();
    loop {
        let line = match &terminal {
            Some(terminal) => {
                eprint!("share {} (not shown): ", shares.len() + 1);
                let line = terminal.line()?;
                eprintln!();
                line
            }
            None => match line_or_end(from, &path)? {
                Some(line) => line,
                None => return Err(too_few(&shares)),
            },
        };
        let typed = Share::parse(line.text()?.trim()).and_then(|share| {
            share.fits(&shares)?;
            Ok(share)
        });
        match typed {
            Ok(share) => {
                let number = share.number();
                message::note(format_args!("share {number}: check digits match"));
                shares.push(share);
            }
            Err(error) if terminal.is_some() => {
                message::warning(format_args!("{error}; type it again"));
            }
            Err(error) => return Err(Error::told(Code::WrongKey, error.to_string(), "")),
        }
        let enough = shares.first().map_or(1, |first| usize::from(first.needed));
        if shares.len() >= enough
            && let Some(password) = Share::combine(&shares)
        {
            return Ok(password);
        }
    }
}

/// The shares ended before there were enough.
fn too_few(shares: &[Share]) -> Error {
    let message = match shares.first() {
        None => "no share was given".to_owned(),
        Some(first) => format!(
            "{} of {} shares that are needed",
            shares.len(),
            first.needed
        ),
    };
    Error::told(
        Code::WrongKey,
        message,
        "give the shares one after the other, each on a line of its own",
    )
}

/// A passphrase, wiped when dropped.
pub struct Passphrase(Line);

impl Passphrase {
    /// Its bytes, as they were typed.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes.expose()[..self.0.length]
    }
}

/// A passphrase: one line from `fd` if one is named, else from standard input.
pub fn passphrase(fd: Option<u32>, prompt: &str) -> Result<Passphrase> {
    if let Some(fd) = fd {
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        let file = File::open(&path).map_err(Error::io(&path))?;
        return one_line(file.as_fd(), &path).map(Passphrase);
    }
    if !isatty(stdin()) {
        return one_line(stdin(), Path::new("standard input")).map(Passphrase);
    }
    let terminal = Terminal::silent(stdin()).map_err(Error::io(Path::new("terminal")))?;
    eprint!("{prompt} (not shown): ");
    let line = terminal.line();
    eprintln!();
    line.map(Passphrase)
}

/// A new passphrase: typed twice on a terminal.
pub fn new_passphrase(fd: Option<u32>) -> Result<Passphrase> {
    let first = passphrase(fd, "new passphrase")?;
    if fd.is_none() && isatty(stdin()) {
        let again = passphrase(None, "the same again")?;
        if first.bytes() != again.bytes() {
            return Err(Error::told(Code::Usage, "the two are not the same", ""));
        }
    }
    let length = String::from_utf8_lossy(first.bytes()).chars().count();
    if length < SHORTEST {
        let message = format!("a passphrase has at least {SHORTEST} characters");
        return Err(Error::told(
            Code::Usage,
            message,
            "six words drawn at random are a good one",
        ));
    }
    Ok(first)
}

/// A line that is no secret, from standard input: "erase ledger".
pub fn confirmation(prompt: &str) -> Result<String> {
    if isatty(stdin()) {
        eprint!("{prompt}: ");
    }
    let line = one_line(stdin(), Path::new("standard input"))?;
    Ok(line.text()?.trim().to_owned())
}

/// True if someone sits at a terminal.
pub fn is_interactive() -> bool {
    isatty(stdin())
}

/// The next line that is not blank; `None` at the end.
fn line_or_end(from: BorrowedFd<'_>, path: &Path) -> Result<Option<Line>> {
    loop {
        let mut line = Line::default();
        let mut ended = false;
        while !ended && !line.is_full() && !line.text().unwrap_or_default().ends_with('\n') {
            ended = line.read_byte(from).map_err(Error::io(path))?.is_none();
        }
        match line.text()?.trim().is_empty() {
            false => return Ok(Some(line)),
            true if ended => return Ok(None),
            true => {}
        }
    }
}

fn one_line(from: BorrowedFd<'_>, path: &Path) -> Result<Line> {
    let mut line = Line::default();
    while !line.is_full() {
        match line.read_byte(from).map_err(Error::io(path))? {
            None => break,
            Some(b'\n') => {
                line.pop();
                break;
            }
            Some(_) => {}
        }
    }
    Ok(line)
}

/// All of it in one line, or in eight.
fn read_line(from: BorrowedFd<'_>, path: &Path) -> Result<RecoveryPassword> {
    let mut line = Line::default();
    while !line.is_full() {
        match line.read_byte(from).map_err(Error::io(path))? {
            // The end of a line ends it once it holds a group of every kind that can be judged.
            None => break,
            Some(_) if line.has_all_groups() => break,
            Some(_) => {}
        }
    }
    Ok(RecoveryPassword::parse(line.text()?)?)
}

/// Group by group, each judged when the line ends; all in one line will do.
fn typed() -> Result<RecoveryPassword> {
    let terminal = Terminal::silent(stdin()).map_err(Error::io(Path::new("terminal")))?;
    message::note(
        "type the recovery password, all 48 digits or group by group (not shown; Enter judges it)",
    );
    let mut entry = Entry::default();
    while entry.count() < GROUPS {
        eprint!("group {} of {GROUPS}: ", entry.count() + 1);
        let line = terminal.line()?;
        eprintln!();
        let before = entry.count();
        match entry.push(line.text()?) {
            Ok(count) if count == before => {}
            Ok(1) => message::note("group 1: check digits match"),
            Ok(count) => message::note(format_args!("groups 1 to {count}: check digits match")),
            Err(ParseError::TooMany) => {
                message::warning("more than 8 groups: what was typed after the eighth is left out");
            }
            Err(error) => message::warning(format_args!("{error}; type it again")),
        }
    }
    Ok(entry.finish()?)
}

/// Typed bytes, wiped when dropped.
struct Line {
    bytes: Secret<LINE>,
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: Secret::fill_with(|_| {}),
            length: 0,
        }
    }
}

impl Line {
    fn text(&self) -> Result<&str> {
        let not_text = |_| Error::told(Code::WrongKey, "what was typed is not text", "");
        std::str::from_utf8(&self.bytes.expose()[..self.length]).map_err(not_text)
    }

    fn is_full(&self) -> bool {
        self.length == LINE
    }

    fn has_all_groups(&self) -> bool {
        let text = self.text().unwrap_or_default();
        let enough = || text.chars().filter(|c| c.is_numeric()).count() >= GROUPS * 6;
        let bare = || !text.chars().any(char::is_alphabetic) && enough();
        text.ends_with('\n') && (holds_password(text) || bare())
    }

    /// Adds one byte; `None` at the end of the file.
    fn read_byte(&mut self, from: BorrowedFd<'_>) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut byte))?;
        if read == 0 {
            return Ok(None);
        }
        self.push(byte[0]);
        Ok(Some(byte[0]))
    }

    /// A new buffer for each byte, so that all places that ever held some are wiped.
    fn push(&mut self, byte: u8) {
        let (old, length) = (&self.bytes, self.length);
        let new = Secret::fill_with(|new: &mut [u8; LINE]| {
            new.copy_from_slice(old.expose());
            if let Some(place) = new.get_mut(length) {
                *place = byte;
            }
        });
        self.bytes = new;
        self.length = LINE.min(length + 1);
    }

    /// Takes back the last character.
    fn pop(&mut self) {
        while self.length > 0 {
            self.length -= 1;
            let continues = self.bytes.expose()[self.length] & 0xc0 == 0x80;
            if !continues {
                break;
            }
        }
    }
}

/// A terminal that shows nothing and sends no signals, until it is dropped: control-C is read as a byte, so that the
/// settings are put back before the program ends.
struct Terminal<'a> {
    fd: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Terminal<'a> {
    fn silent(fd: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(fd)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(fd, OptionalActions::Drain, &silent)?;
        Ok(Self { fd, before })
    }

    fn line(&self) -> Result<Line> {
        let mut line = Line::default();
        loop {
            let mut byte = [0];
            let read = rustix::io::retry_on_intr(|| rustix::io::read(self.fd, &mut byte));
            let read = read.map_err(|e| Error::io(Path::new("terminal"))(e.into()))?;
            match (read, byte[0]) {
                (0, _) | (_, 3 | 4) => {
                    eprintln!();
                    return Err(Error::told(Code::Interrupted, "interrupted", ""));
                }
                (_, b'\r' | b'\n') => return Ok(line),
                (_, 8 | 127) => line.pop(),
                (_, 21) => line = Line::default(),
                (_, byte) => line.push(byte),
            }
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, OptionalActions::Drain, &self.before);
    }
}
