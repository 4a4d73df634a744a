//! Directories that lie deeper than any bound that was ever thought of.
use super::{ME, fresh, open};
use cryptfs::fs::{FileSystem, ROOT, Rename};
use std::ffi::OsStr;

#[test]
fn directories_are_renamed_at_any_depth() {
    let home = tempfile::tempdir().expect("a directory");
    let image = fresh(home.path(), 64);
    let name = OsStr::new("d");
    let (mut dir, mut above) = (ROOT, ROOT);
    for _ in 0..65_700 {
        let entry = image.mkdir(dir, name, 0o755, &ME).expect("mkdir");
        (above, dir) = (dir, entry.node);
    }
    let made = image.mkdir(ROOT, OsStr::new("moved"), 0o755, &ME);
    let moved = made.expect("mkdir").node;
    let rename = |from, to| image.rename(from, to, Rename::NoReplace);
    rename((ROOT, OsStr::new("moved")), (dir, OsStr::new("inside"))).expect("rename");
    // A directory does not go into itself, however far below.
    let into_itself = rename((ROOT, name), (moved, name)).expect_err("a loop");
    assert_eq!(into_itself.errno(), rustix::io::Errno::INVAL.raw_os_error());
    rename((above, name), (ROOT, OsStr::new("up"))).expect("rename");
    image.close().expect("close");
    drop(image);
    let image = open(home.path());
    let inside = super::find(&image, "/up/inside").expect("found");
    assert_eq!(inside, moved);
}
