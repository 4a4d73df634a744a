//! The daemon's log: syslog, a file or standard error. Never a name, a path inside the volume, or content.
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// How much it matters (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Notice = 5,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// Where it goes.
#[derive(Debug)]
enum Sink {
    Stderr,
    File(File),
    Syslog(UnixDatagram),
    Nowhere,
}

static SINK: Mutex<Sink> = Mutex::new(Sink::Stderr);

/// From now on to the system's log; to nowhere if there is none.
pub fn to_syslog() {
    let connect = || {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect("/dev/log")?;
        Ok(socket)
    };
    *SINK.lock() = connect().map_or_else(|_: io::Error| Sink::Nowhere, Sink::Syslog);
}

/// From now on to nowhere.
pub fn to_nowhere() {
    *SINK.lock() = Sink::Nowhere;
}

/// From now on to `file`, which [`open`] gave.
pub fn to_file(file: File) {
    *SINK.lock() = Sink::File(file);
}

/// Opens a log for appending; a new one has mode 0600. A symbolic link is followed only where it is root's or this user's own:
/// root would write what happens in a mount to wherever someone else's link leads.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let link = std::fs::symlink_metadata(path).ok();
    let link = link.filter(|there| there.file_type().is_symlink());
    let own = [0, rustix::process::geteuid().as_raw()];
    let follow = link.is_some_and(|link| own.contains(&link.uid()));
    let flags = match follow {
        true => rustix::fs::OFlags::empty(),
        false => rustix::fs::OFlags::NOFOLLOW,
    };
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

/// Writes one line. A log that fails is no reason to stop.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    let process = std::process::id();
    let _ = match &mut *SINK.lock() {
        Sink::Stderr => writeln!(io::stderr(), "cryptfs: {}: {message}", level.name()),
        Sink::File(file) => {
            let line = format!(
                "{} cryptfs[{process}]: {}: {message}\n",
                now(),
                level.name()
            );
            file.write_all(line.as_bytes())
        }
        Sink::Syslog(socket) => {
            const DAEMON: u8 = 3 << 3;
            let priority = DAEMON | level as u8;
            socket
                .send(format!("<{priority}>cryptfs[{process}]: {message}").as_bytes())
                .map(drop)
        }
        Sink::Nowhere => Ok(()),
    };
}

/// Something failed.
pub fn error(message: fmt::Arguments<'_>) {
    write(Level::Error, message);
}

/// Something is not as it should be.
pub fn warning(message: fmt::Arguments<'_>) {
    write(Level::Warning, message);
}

/// Something worth knowing later.
pub fn notice(message: fmt::Arguments<'_>) {
    write(Level::Notice, message);
}

/// The time as RFC 3339 has it, UTC.
fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    rfc3339(since)
}

fn rfc3339(since: Duration) -> String {
    let seconds = since.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, in eras of 400 of them: the leap day is then the last of its year.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let milli = since.subsec_millis();
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00.000Z");
    }
}
