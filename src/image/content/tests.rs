//! A cut that failed half-way: what was cut does not come back, whatever makes the file longer again.
use crate::fs::{Allocate, Caller, FileSystem, NodeId, ROOT, SetAttr};
use crate::image::key;
use crate::image::layout::PAGE;
use crate::image::{Image, Options, format};
use std::ffi::OsStr;
use std::sync::Arc;

fn image() -> Image {
    let fd = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, 8 << 20).unwrap();
    let keys = Arc::new(crate::image::tree::tests::keys());
    format(fd.try_clone().unwrap(), 8 << 20, keys.clone(), (0, 0)).unwrap();
    Image::open(fd, keys, &Options::default()).unwrap()
}

/// A file of ten pages of which six were cut; their pages are still there.
fn half_cut(image: &Image) -> NodeId {
    let caller = Caller {
        uid: 0,
        gid: 0,
        umask: 0,
    };
    let name = OsStr::new("file");
    let entry = image.mknod(ROOT, name, 0o100_644, 0, &caller).unwrap();
    let content = [7; 10 * PAGE];
    image.write(entry.node, 0, 0, &content, false).unwrap();
    image
        .core
        .store
        .change(None, |change| {
            change.put(&key::orphan(entry.node), &[])?;
            change.edit(entry.node, |inode| inode.size = 4 * PAGE as u64)
        })
        .unwrap();
    entry.node
}

#[test]
fn what_was_cut_does_not_come_back() {
    let size = 9 * PAGE as u64;
    type Grow = fn(&Image, NodeId, u64);
    let ways: [Grow; 3] = [
        |image, node, size| image.write(node, 0, size - 1, &[0], false).unwrap(),
        |image, node, size| {
            let set = SetAttr {
                size: Some(size),
                ..SetAttr::default()
            };
            image.setattr(node, &set).map(drop).unwrap();
        },
        |image, node, size| {
            let how = Allocate::Reserve { keep_size: false };
            image.fallocate(node, 0, how, 0, size).unwrap();
        },
    ];
    for (number, grow) in ways.into_iter().enumerate() {
        let image = image();
        let node = half_cut(&image);
        grow(&image, node, size);
        let mut found = [1; 10 * PAGE];
        let count = image.read(node, 0, 0, &mut found).unwrap();
        assert_eq!(count as u64, size, "way {number}");
        assert!(found[..4 * PAGE].iter().all(|byte| *byte == 7));
        assert!(
            found[4 * PAGE..count].iter().all(|byte| *byte == 0),
            "way {number}"
        );
    }
}
