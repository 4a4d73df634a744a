//! Do the keystore and the volume lie on the same physical disk? Its thief would have both.
use super::header::{Header, Kind};
use super::place::Place;
use crate::sys::mountinfo;
use rustix::fs::{self, Stat, major, minor};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameDisk {
    /// They share a disk.
    Same,
    /// They do not.
    Different,
    /// Network, memory and overlay file systems, or a kernel that does not say.
    CannotTell,
}

/// Compares the disks under two open files or directories.
pub fn same_disk(one: impl AsFd, other: impl AsFd) -> SameDisk {
    match (disks(one), disks(other)) {
        (Some(a), Some(b)) if a.is_disjoint(&b) => SameDisk::Different,
        (Some(_), Some(_)) => SameDisk::Same,
        _ => SameDisk::CannotTell,
    }
}

/// The smallest write that the disk takes whole, in bytes, where a power cut may therefore tear a unit that is written over:
/// in a directory volume on a disk that takes less than a unit. `None`: not so, or nobody can tell.
pub fn tears_units(place: &Place, header: &Header) -> Option<u32> {
    let size = physical_block_size(place.as_fd())?;
    let torn = header.kind == Kind::Directory && size < 4096 && !has_journal_of_data(place);
    torn.then_some(size)
}

/// A page that was torn where it belongs is whole in the journal of such a file system (ext4).
fn has_journal_of_data(place: &Place) -> bool {
    let Ok(stat) = fs::fstat(place.as_fd()) else {
        return false;
    };
    let device = (major(stat.st_dev), minor(stat.st_dev));
    let mounts = mountinfo::mounts().unwrap_or_default();
    let mut here = mounts.iter().filter(|mount| mount.device == device);
    here.any(|mount| mount.super_option("data") == Some(OsStr::new("journal")))
}

/// The smallest write that the disks under a file take whole, in bytes (512 or 4096, as a rule); `None`: cannot tell.
fn physical_block_size(file: impl AsFd) -> Option<u32> {
    let sizes = disks(file)?.into_iter().map(|disk| {
        let text = std::fs::read_to_string(disk.join("queue/physical_block_size")).ok()?;
        text.trim().parse().ok()
    });
    sizes.collect::<Option<Vec<u32>>>()?.into_iter().min()
}

fn disks(file: impl AsFd) -> Option<BTreeSet<PathBuf>> {
    let stat = fs::fstat(&file).ok()?;
    let number = device_number(&stat)?;
    let mut found = BTreeSet::new();
    collect(Path::new("/sys"), &number, 0, &mut found)?;
    Some(found).filter(|disks| !disks.is_empty())
}

/// "major:minor" of the block device that holds a file. btrfs and others number their files' device by themselves: the
/// mount table then names the real one.
fn device_number(stat: &Stat) -> Option<String> {
    let block = fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::BlockDevice;
    let device = if block { stat.st_rdev } else { stat.st_dev };
    let number = format!("{}:{}", major(device), minor(device));
    if Path::new("/sys/dev/block").join(&number).exists() {
        return Some(number);
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let source = PathBuf::from(mount_source(&table, &number)?);
    let stat = fs::stat(&source).ok()?;
    let block = fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::BlockDevice;
    block.then(|| format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev)))
}

/// The source of the mount with this device number: the second field after the lone hyphen.
fn mount_source(table: &str, number: &str) -> Option<String> {
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(number))?;
    let (_, rest) = line.split_once(" - ")?;
    let source = rest.split(' ').nth(1)?;
    source
        .starts_with("/dev/")
        .then(|| source.replace("\\040", " "))
}

/// The whole disks under a block device: through device mapper, RAID and loop devices, from partition to disk.
fn collect(sys: &Path, number: &str, depth: usize, found: &mut BTreeSet<PathBuf>) -> Option<()> {
    if depth > 16 {
        return None;
    }
    let device = std::fs::canonicalize(sys.join("dev/block").join(number)).ok()?;
    let below: Vec<_> = std::fs::read_dir(device.join("slaves"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    if !below.is_empty() {
        for slave in below {
            let number = std::fs::read_to_string(slave.join("dev")).ok()?;
            collect(sys, number.trim(), depth + 1, found)?;
        }
        return Some(());
    }
    if let Ok(backing) = std::fs::read_to_string(device.join("loop/backing_file")) {
        let stat = fs::stat(backing.trim_end()).ok()?;
        return collect(sys, &device_number(&stat)?, depth + 1, found);
    }
    let disk = match device.join("partition").exists() {
        true => device.parent()?.to_owned(),
        false => device,
    };
    found.insert(disk);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_sources() {
        let table = "36 35 0:31 / /data rw,noatime shared:1 - btrfs /dev/mapper/vg\\040x rw,space_cache\n\
                     40 1 0:40 / /tmp rw - tmpfs tmpfs rw\n";
        assert_eq!(
            mount_source(table, "0:31").as_deref(),
            Some("/dev/mapper/vg x")
        );
        assert_eq!(mount_source(table, "0:40"), None);
        assert_eq!(mount_source(table, "8:1"), None);
    }

    #[test]
    fn through_slaves_and_partitions() {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path();
        let make = |path: &str| std::fs::create_dir_all(sys.join(path)).unwrap();
        let link =
            |to: &str, at: &str| std::os::unix::fs::symlink(sys.join(to), sys.join(at)).unwrap();
        make("dev/block");
        make("devices/sda/sda1");
        make("devices/dm-0/slaves");
        std::fs::write(sys.join("devices/sda/sda1/partition"), "1\n").unwrap();
        std::fs::write(sys.join("devices/sda/sda1/dev"), "8:1\n").unwrap();
        link("devices/sda/sda1", "dev/block/8:1");
        link("devices/dm-0", "dev/block/253:0");
        link("devices/sda/sda1", "devices/dm-0/slaves/sda1");
        let mut found = BTreeSet::new();
        collect(sys, "253:0", 0, &mut found).unwrap();
        let wanted = std::fs::canonicalize(sys.join("devices/sda")).unwrap();
        assert_eq!(found, BTreeSet::from([wanted]));
        assert_eq!(collect(sys, "9:9", 0, &mut found), None);
    }

    #[test]
    fn memory_has_no_disk() {
        if let Ok(proc) = std::fs::File::open("/proc/self") {
            assert_eq!(same_disk(&proc, &proc), SameDisk::CannotTell);
        }
    }
}
