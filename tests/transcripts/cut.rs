//! An image that was cut: nothing is written to it before it is known to be as long as it should be. Its last header copy
//! seems to be lost, and the place where it would be put back is content of a file.
use super::Bench;
use crate::needs;
use rustix::fs::{FallocateFlags, fallocate};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const SIZE: u64 = 16 << 20;

/// A cut image, whose every byte from 8 MiB on was content; its recovery password.
fn cut() -> (Bench, String, Vec<u8>) {
    let bench = Bench::empty();
    let said = bench.init(&["--image", "--size", "16M", "v.img"]);
    let password = said.field("Recovery password:");
    let file = std::fs::File::options()
        .write(true)
        .open(bench.path("v.img"));
    let file = file.expect("an image");
    file.write_all_at(&[0xa5; 4 << 20], 8 << 20).expect("write");
    file.set_len(12 << 20).expect("cut");
    let bytes = std::fs::read(bench.path("v.img")).expect("read");
    (bench, password, bytes)
}

#[test]
fn no_command_writes_to_what_was_content() {
    let (bench, password, before) = cut();
    std::fs::create_dir(bench.path("m")).expect("mkdir");
    let unchanged = |what: &str, from: usize| {
        let now = std::fs::read(bench.path("v.img")).expect("read");
        let differs = (from..before.len()).find(|at| now[*at] != before[*at]);
        assert_eq!(differs, None, "{what} wrote to the image");
        assert_eq!(now.len(), before.len());
    };
    let content = 8 << 20;
    if needs::fuse() {
        bench
            .cryptfs(&["mount", "v.img", "m"], "")
            .fails(17, &["12582912 bytes of 16777216"]);
        unchanged("mount", 0);
    }
    bench
        .cryptfs(&["check", "--repair", "v.img"], "")
        .fails(4, &["of 16777216", "hint:"]);
    unchanged("check --repair", 0);
    bench
        .cryptfs(&["recover", "v.img"], &password)
        .fails(17, &["of 16777216", "hint:"]);
    unchanged("recover", 0);
    bench
        .rescue(&["v.img"], &password)
        .fails(17, &["of 16777216", "hint:"]);
    unchanged("cryptfs-recover", 0);
    bench
        .cryptfs(&["snapshot", "create", "v.img", "s"], "")
        .fails(17, &["of 16777216"]);
    unchanged("snapshot create", 0);
    // The header changes, but not where it would lie in a file.
    bench.cryptfs(&["recovery-keys"], "").says(&[&password]);
    unchanged("recovery-keys", content);
    bench
        .cryptfs(&["key", "add", "v.img"], "")
        .says(&["Recovery password:"]);
    unchanged("key add", content);
    // It is whole again: the copy at its end is put back.
    let file = std::fs::File::options()
        .write(true)
        .open(bench.path("v.img"));
    file.and_then(|file| file.set_len(SIZE)).expect("lengthen");
    bench.cryptfs(&["check", "--repair", "v.img"], "");
    bench
        .cryptfs(&["status", "v.img"], "")
        .says(&["3 of 3 good"]);
}

/// A loop device, gone when dropped.
pub struct Loop(pub String);

impl Loop {
    /// `None`, and said so, where this machine has none.
    pub fn new(file: &Path) -> Option<Self> {
        if !needs::root("a loop device") || !needs::program("losetup") {
            return None;
        }
        let made = Command::new("losetup")
            .args(["-f", "--show"])
            .arg(file)
            .output();
        let made = made.expect("losetup runs");
        if !made.status.success() {
            needs::say("no loop devices");
            return None;
        }
        Some(Self(
            String::from_utf8_lossy(&made.stdout).trim().to_owned(),
        ))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

/// What holds header copies anywhere is not taken for an empty device.
#[test]
fn a_device_with_a_header_anywhere_is_not_taken() {
    let bench = Bench::empty();
    bench.init(&["--image", "--size", "16M", "v.img"]).says(&[]);
    let good = std::fs::read(bench.path("v.img")).expect("read");
    let Some(device) = Loop::new(&bench.path("v.img")) else {
        return;
    };
    let cleared: [&[(usize, usize)]; 3] = [
        &[(0, 1 << 20)],
        &[(0, 5 << 20)],
        &[(0, 1 << 20), ((16 << 20) - 16384, 16 << 20)],
    ];
    for ranges in cleared {
        let mut bytes = good.clone();
        ranges
            .iter()
            .for_each(|(from, to)| bytes[*from..*to].fill(0));
        std::fs::File::options()
            .write(true)
            .open(&device.0)
            .and_then(|file| file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()))
            .expect("write");
        bench
            .init(&["--image", &device.0])
            .fails(16, &["holds", "--overwrite"]);
        let now = std::fs::read(&device.0).expect("read");
        assert!(now == bytes, "{ranges:?}: refused, and yet written to");
    }
    // An empty one is taken.
    let file = std::fs::File::options()
        .write(true)
        .open(bench.path("v.img"))
        .expect("open");
    fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        SIZE,
    )
    .expect("punch");
    file.sync_all().expect("sync");
    bench.init(&["--image", &device.0]).says(&[]);
}
