//! Below an image, a file system that has no holes and takes none back: the space stays with the image, which uses it again.
use crate::model::rng::Rng;
use crate::needs;
use crate::programs::machine::{Disk, Machine, run};
use std::fs;

const IMAGES: [&[&str]; 2] = [
    &["--image", "--size", "32M"],
    &["--image", "--preallocate", "--size", "32M"],
];

#[test]
fn an_image_on_exfat_is_filled_emptied_and_resized() {
    for kind in IMAGES {
        if !needs::fuse() {
            return;
        }
        let Some(disk) = Disk::exfat(80 << 20) else {
            return;
        };
        let machine = Machine::on(&disk, kind);
        for (round, size) in [None, Some("48M"), Some("24M"), None].iter().enumerate() {
            if let Some(size) = size {
                let mut resize = machine.cryptfs(&["resize"]);
                run(resize.arg(machine.volume()).arg(size));
            }
            let point = machine.mount();
            let content = Rng::bytes(round as u64 + 1, 15 << 20);
            fs::write(point.join("large"), &content).expect("write");
            machine.remount();
            assert!(fs::read(point.join("large")).expect("read") == content);
            fs::remove_file(point.join("large")).expect("remove");
            machine.umount();
        }
        run(machine.cryptfs(&["check"]).arg(machine.volume()));
    }
}
