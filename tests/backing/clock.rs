//! A volume that was last used when the clock was years ahead. Sessions are numbered by the clock, but never back.
use crate::directory::{keys, me, open};
use crate::kinds::{DirectoryVolume, VolumeKind};
use cryptfs::crypto::digest::hmac_sha256;
use cryptfs::directory::Directory;
use cryptfs::directory::name::{DirId, NameEncoding, Names};
use cryptfs::fs::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const SIZE: usize = 10_000;

/// Seconds since 1970, ten years from now.
fn ahead() -> u64 {
    let now = SystemTime::now() + Duration::from_secs(10 * 365 * 86_400);
    now.duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// Writes the record of a clean end of session number `session`, as cryptfs 0.1.0 wrote it.
pub fn ended(home: &Path, session: u64) {
    let mut record = b"CFSSESS\x01".to_vec();
    record.extend(session.to_le_bytes());
    record.extend([0; 8]);
    record.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    record.extend(hmac_sha256(keys().session(), &[&record]));
    fs::write(home.join(".cryptfs/session"), record).expect("write");
}

/// The number in the record.
fn session(home: &Path) -> u64 {
    let record = fs::read(home.join(".cryptfs/session")).expect("read");
    u64::from_le_bytes(record[8..16].try_into().expect("8 bytes"))
}

fn write(tree: &Directory, name: &str, byte: u8) {
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let made = tree.create(ROOT, OsStr::new(name), 0o644, flags, &me());
    let (entry, handle) = made.expect("create");
    let written = tree.write(entry.node, handle, 0, &[byte; SIZE], false);
    written.expect("write");
    tree.release(entry.node, handle).expect("release");
}

fn read(tree: &Directory, name: &str) -> Result<Vec<u8>> {
    let entry = tree.lookup(ROOT, OsStr::new(name))?;
    let handle = tree.open(entry.node, OpenFlags::default())?;
    let mut data = vec![0; 2 * SIZE];
    let count = tree.read(entry.node, handle, 0, &mut data);
    tree.release(entry.node, handle)?;
    data.truncate(count?);
    Ok(data)
}

/// Makes a file's backing length claim one unit more, as a write that was cut short leaves it.
fn lengthen(home: &Path, name: &str) {
    let sealed = Names::new(keys(), NameEncoding::Base64Url).file(DirId([5; 12]), name.as_bytes());
    let path = home.join(OsStr::from_bytes(sealed.entry.as_bytes()));
    let file = fs::File::options().write(true).open(path).expect("open");
    file.set_len(5 * 4096).expect("set the length");
}

#[test]
fn a_clock_set_back_does_not_number_sessions_again() {
    let home = tempfile::tempdir().expect("a directory");
    DirectoryVolume.create(home.path());
    ended(home.path(), ahead());
    let tree = open(home.path());
    let first = session(home.path());
    assert!(first > ahead() - 1000);
    write(&tree, "ahead", 1);
    tree.close().expect("close");

    // The clock is right again. This session ends in a crash.
    let tree = open(home.path());
    assert!(!tree.after_crash());
    assert_eq!(session(home.path()), first + 1);
    write(&tree, "back", 2);
    tree.sync().expect("sync");
    drop(tree);
    ["ahead", "back"]
        .iter()
        .for_each(|name| lengthen(home.path(), name));

    let tree = open(home.path());
    assert!(tree.after_crash());
    assert_eq!(read(&tree, "ahead").expect("repaired"), [1; SIZE]);
    assert_eq!(read(&tree, "back").expect("repaired"), [2; SIZE]);
    write(&tree, "after", 3);
    tree.close().expect("close");

    // After a clean end the same is an error.
    lengthen(home.path(), "after");
    let tree = open(home.path());
    let error = read(&tree, "after").expect_err("another length was accepted");
    assert!(matches!(error, Error::Damaged(Damage::Length)), "{error}");
    assert_eq!(read(&tree, "ahead").expect("read"), [1; SIZE]);
    tree.close().expect("close");
}
