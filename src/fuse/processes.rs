//! Which processes keep a mount busy.
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

impl Process {
    /// The process of this number.
    pub fn of(id: u32) -> Self {
        Self { id, name: name(id) }
    }
}

/// The processes that use something on the mount `point`, as far as we may look. Paths are compared, never followed: the
/// mount may not answer.
///
/// A process that the kernel has stopped in the middle of a change of its memory blocks whoever looks at it. So this is
/// given up after a moment.
pub fn using(point: &Path) -> Vec<Process> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (found, all) = channel();
    let point = point.to_owned();
    let look = move || drop(found.send(look_for_users(&point)));
    match std::thread::Builder::new().spawn(look) {
        Ok(_) => all.recv_timeout(PATIENCE).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

fn look_for_users(point: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|&id| uses(id, point)).map(Process::of).collect()
}

fn name(id: u32) -> String {
    let name = fs::read(format!("/proc/{id}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    match name.trim_end() {
        "" => "a process".to_owned(),
        name => name.replace(char::is_control, "?"),
    }
}

fn uses(id: u32, point: &Path) -> bool {
    let process = Path::new("/proc").join(id.to_string());
    let below = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(point));
    let open = || {
        fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
    };
    ["cwd", "root", "exe"]
        .iter()
        .any(|link| below(&process.join(link)))
        || open().any(|entry| below(&entry.path()))
        || fs::read(process.join("maps")).is_ok_and(|maps| maps_below(&maps, point))
}

/// The sixth field of a line of `/proc/PID/maps` is the path of what is mapped.
fn maps_below(maps: &[u8], point: &Path) -> bool {
    let path = |line: &[u8]| line.iter().position(|&b| b == b'/');
    maps.split(|&b| b == b'\n').any(|line| {
        path(line).is_some_and(|at| {
            Path::new(std::ffi::OsStr::from_bytes(&line[at..])).starts_with(point)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_its_working_directory() {
        let here = std::env::current_dir().unwrap();
        let me = std::process::id();
        assert!(using(&here).iter().any(|process| process.id == me));
        assert!(using(Path::new("/nowhere/at/all")).is_empty());
    }

    #[test]
    fn mapped_files_count() {
        let maps = b"7f00-7f01 r-xp 00000000 00:31 5   /m/lib.so (deleted)\n7f02-7f03 rw-p 0 00:00 0 [heap]\n";
        assert!(maps_below(maps, Path::new("/m")));
        assert!(!maps_below(maps, Path::new("/m/lib")));
    }
}
