//! Which processes hold a lock on a file: `/proc/locks`.
use rustix::fs::{major, minor};

/// The processes that hold a flock(2) on the file `(device, inode)`, as far as this process's namespace shows them.
pub fn holders(device: u64, inode: u64) -> Vec<u32> {
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    find(&table, device, inode)
}

/// A line: `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`. One that begins with `->` only waits.
fn find(table: &str, device: u64, inode: u64) -> Vec<u32> {
    let wanted = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    let holder = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, process, file, ..] if file == wanted => process.parse().ok(),
            _ => None,
        }
    };
    table
        .lines()
        .filter_map(holder)
        .filter(|&process| process != 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_file_is_found() {
        let table = "1: POSIX  ADVISORY  WRITE 7 08:01:55 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 08:01:55 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 08:01:55 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 08:01:56 0 EOF\n";
        let device = rustix::fs::makedev(8, 1);
        assert_eq!(find(table, device, 55), [8]);
        assert!(find(table, device, 56).is_empty());
        assert!(find(table, rustix::fs::makedev(8, 2), 55).is_empty());
    }
}
