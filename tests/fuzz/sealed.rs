//! Noise with a right tag: files, session records and trees of images that only a holder of the keys could have made.
//! They are opened, read, checked, written to and salvaged.
use super::targets::{Target, keys, sized, target};
use cryptfs::crypto::digest;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::name::{DirId, NameEncoding, Names};
use cryptfs::directory::session::Session;
use cryptfs::directory::unit::{self, FileId, Head, PAYLOAD, UNIT};
use cryptfs::directory::{Directory, Options, check};
use cryptfs::fs::*;
use cryptfs::image::device::Device;
use cryptfs::image::pages::Pages;
use cryptfs::image::pointer;
use cryptfs::image::superblock::Superblock;
use cryptfs::image::{self, Image};
use cryptfs::recover::{Job, salvage};
use cryptfs::volume::keys::{FileKeys, Keys};
use cryptfs::volume::{CreateOptions, Keystore, Locked, Rollback, create};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ME: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};
const READ: OpenFlags = OpenFlags {
    write: false,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};
const WRITE: OpenFlags = OpenFlags {
    write: true,
    ..READ
};
const ROOT_ID: DirId = DirId([5; 12]);
const FILE: FileId = FileId([3; 12]);
const STEP: usize = 1000;
/// Steps that are read of a file, and bytes written to it.
const STEPS: usize = 40;
const WRITTEN: &[u8] = b"written";

pub fn all() -> Vec<Target> {
    vec![session(), backing_file(), salvaged(), tree(), log()]
}

/// A tree in `dir`.
fn directory(dir: &Path, root: DirId, keys: Arc<Keys>) -> Directory {
    let options = Options {
        root,
        encoding: NameEncoding::Base64Url,
        read_only: false,
    };
    let fd = File::open(dir).expect("open").into();
    Directory::open(fd, keys, options, Backing::default()).expect("a tree")
}

/// A session record, its HMAC made right.
fn session() -> Target {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("session");
    let seed = [&b"CFSSESS\x01"[..], &[0xff; 16], &[1; 1], &[0; 7]].concat();
    target("session record", vec![seed], move |bytes| {
        let keys = keys();
        let body = sized(bytes, 32);
        let mac = digest::hmac_sha256(keys.session(), &[&body]);
        fs::write(&path, [&body[..], &mac].concat()).expect("write");
        let dir = File::open(home.path()).expect("open");
        let backing = Backing::default();
        let read = || Session::read(dir.as_fd(), &backing, keys.session());
        let one = read().expect("a record");
        one.begin(dir.as_fd(), &backing, keys.session())
            .expect("begin");
        let two = read().expect("a record");
        assert!(two.after_crash && two.unclean_upto >= one.current.min(u64::MAX - 1));
        two.end(dir.as_fd(), &backing, keys.session(), false)
            .expect("end");
        assert!(!read().expect("a record").after_crash);
    })
}

/// Pages of the form that is stored, with plaintext in place of the ciphertext: sealed, those with an odd first byte left
/// as they are.
fn seal(keys: &FileKeys, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    for (index, page) in sealed.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
        let valid = u16::from_le_bytes([page[30], page[31]]).into();
        if page[0] % 2 == 0 && page[..32] != [0; 32] {
            let (id, epoch) = (FILE, 1);
            let payload: [u8; PAYLOAD] = page[32..].try_into().expect("a payload");
            unit::seal(
                keys,
                index as u64,
                &Head { id, epoch, valid },
                &payload,
                page,
            );
        }
    }
    sealed
}

/// What [`seal`] takes: files as they are stored.
fn files() -> Vec<Vec<u8>> {
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir(home.path().join(".cryptfs")).expect("mkdir");
    let (keys, tree) = (keys(), directory(home.path(), ROOT_ID, keys()));
    let plain = |name: &str| {
        let mut bytes = fs::read(backing(home.path(), &keys, ROOT_ID, name)).expect("read");
        for (index, page) in bytes.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let Ok(Some(head)) = Head::parse(page) else {
                continue;
            };
            let file = keys.file(1, &head.id.0).expect("epoch 1");
            let mut payload = [0; PAYLOAD];
            unit::decrypt(&file, index as u64, page, &mut payload);
            page[32..].copy_from_slice(&payload);
            page[0] = 0;
        }
        bytes
    };
    let writes: [(&str, &[u64]); 4] = [
        ("small", &[0]),
        ("two units", &[0, 4000]),
        ("sparse", &[0, 14_000]),
        ("short middle", &[0, 4050]),
    ];
    let file = |(name, writes): (&str, &[u64])| {
        let made = tree.create(ROOT, OsStr::new(name), 0o644, WRITE, &ME);
        let (entry, handle) = made.expect("create");
        for at in writes {
            let written = tree.write(entry.node, handle, *at, &[7; 30], false);
            written.expect("write");
        }
        tree.release(entry.node, handle).expect("release");
        plain(name)
    };
    writes.into_iter().map(file).collect()
}

fn backing(dir: &Path, keys: &Arc<Keys>, root: DirId, name: &str) -> PathBuf {
    let names = Names::new(keys.clone(), NameEncoding::Base64Url);
    let sealed = names.file(root, name.as_bytes());
    dir.join(OsStr::from_bytes(sealed.entry.as_bytes()))
}

/// A file of a directory volume after a crash: what could be read of it can be read after a write elsewhere.
fn backing_file() -> Target {
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir(home.path().join(".cryptfs")).expect("mkdir");
    drop(directory(home.path(), ROOT_ID, keys())); // a crash
    let tree = directory(home.path(), ROOT_ID, keys());
    let path = backing(home.path(), &keys(), ROOT_ID, "name");
    let file = keys().file(1, &FILE.0).expect("epoch 1");
    target("backing file", files(), move |bytes| {
        fs::write(&path, seal(&file, bytes)).expect("write");
        use_file(&tree, OsStr::new("name"));
        check::check(&tree, true, &(), &mut |_| ()).expect("check");
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(home.path().join(".cryptfs/lost+found"));
    })
}

fn steps(tree: &Directory, node: NodeId, handle: Handle) -> Vec<Result<Vec<u8>>> {
    let read = |step| {
        let mut buf = vec![0; STEP];
        let count = tree.read(node, handle, (step * STEP) as u64, &mut buf)?;
        buf.truncate(count);
        Ok(buf)
    };
    (0..STEPS).map(read).collect()
}

fn use_file(tree: &Directory, name: &OsStr) {
    let Ok(entry) = tree.lookup(ROOT, name) else {
        return;
    };
    if let Ok(handle) = tree.open(entry.node, WRITE) {
        let node = entry.node;
        let size = tree.getattr(node).map_or(0, |attr| attr.size);
        let _ = tree.lseek(node, handle, 0, Whence::Hole);
        let before = steps(tree, node, handle);
        let at = size / 2;
        let written = tree.write(node, handle, at, WRITTEN, false);
        let after = steps(tree, node, handle);
        let end = at + WRITTEN.len() as u64;
        for (step, (before, after)) in before.iter().zip(&after).enumerate() {
            let from = (step * STEP) as u64;
            let Ok(before) = before else { continue };
            if written.is_ok() && from < end && at < from + STEP as u64 {
                continue;
            }
            let after = after.as_ref().expect("still readable");
            assert!(after == before, "step {step} of a file of {size} bytes");
        }
        let _ = tree.fallocate(node, handle, Allocate::Punch, size / 3, size / 2);
        for size in [size / 2 + 5000, size / 4] {
            let size = Some(size.min(1 << 20));
            let set = SetAttr {
                size,
                ..SetAttr::default()
            };
            let _ = tree.setattr(node, &set);
        }
        let _ = (tree.fsync(node, handle, false), tree.release(node, handle));
    }
    tree.forget(entry.node, 1);
}

/// The same file in a volume of which everything is copied out, once under its name and once as a stranger.
fn salvaged() -> Target {
    let home = tempfile::tempdir().expect("a directory");
    let volume = home.path().join("volume");
    let keystore = Keystore::create(Some(&home.path().join("keys"))).expect("a keystore");
    let options = CreateOptions {
        iterations: 1,
        ..CreateOptions::default()
    };
    let made = create(&volume, &options, &keystore).expect("a volume");
    let root = DirId(made.volume.header().root);
    let keys = Arc::new(made.volume.keys().expect("keys"));
    let file = keys.file(1, &FILE.0).expect("epoch 1");
    let paths = [
        backing(&volume, &keys, root, "name"),
        volume.join("stranger"),
    ];
    target("salvage", files(), move |bytes| {
        for path in &paths {
            fs::write(path, seal(&file, bytes)).expect("write");
        }
        let locked = Locked::open(&volume).expect("a volume");
        let opened = locked.unlock_auto(&keystore, Rollback::Refuse);
        let opened = opened.and_then(|volume| volume.into_opened());
        let to = home.path().join("out");
        let job = Job {
            volume: &volume,
            to: &to,
            resume: false,
            unverified: bytes.first().is_some_and(|byte| *byte & 4 != 0),
            privileges: false,
        };
        salvage(opened.expect("unlocked"), &job, &(), &mut |_| ()).expect("a salvage");
        fs::remove_dir_all(&to).expect("remove");
    })
}

/// The one node of an image's tree, after generation, size and next inode of the superblock.
fn tree() -> Target {
    let home = tempfile::tempdir().expect("a directory");
    let new = move || {
        let mut how = File::options();
        let how = how.read(true).write(true).create(true).truncate(true);
        let file = how.open(home.path().join("image")).expect("open");
        file.set_len(8 << 20).expect("a size");
        file
    };
    let seeds = vec![small_image(new())];
    target("image", seeds, move |bytes| {
        let file = new();
        let bytes = sized(bytes, 24 + 4096);
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let device = Device::new(file.try_clone().expect("dup").into(), false, None);
        let pages = Pages::new(device.expect("a device"), keys());
        let (mut cipher, mut roots) = (vec![0; 4096], Vec::new());
        let (generation, page) = (number(0), 1100);
        let kind = pointer::Kind::Node;
        pages
            .seal(
                kind,
                page,
                generation,
                &bytes[24..],
                &mut cipher,
                &mut roots,
            )
            .expect("seal");
        pages.device.write(page, &cipher).expect("write");
        let superblock = Superblock {
            generation,
            root: roots[0],
            pages: number(8),
            next_inode: number(16),
            log: 0,
            log_start: 0,
        };
        superblock.write(&pages).expect("write");
        let options = image::Options::default();
        let Ok(image) = Image::open(file.into(), keys(), &options) else {
            return;
        };
        let _ = image::check(&image, false, &(), &mut |_| ());
        use_image(&image);
        let _ = image::check(&image, true, &(), &mut |_| ());
        let _ = image.close();
    })
}

fn small_image(file: File) -> Vec<u8> {
    let fd = || file.try_clone().expect("dup").into();
    image::format(fd(), 8 << 20, keys(), (0, 0)).expect("an image");
    let image = Image::open(fd(), keys(), &image::Options::default()).expect("an image");
    use_image(&image);
    image.create_snapshot(b"kept").expect("snapshot");
    image.close().expect("close");
    let pages = Pages::new(Device::new(fd(), false, None).expect("a device"), keys());
    let (newest, _) = Superblock::read_all(&pages).expect("superblocks")[0];
    let mut plain = [0; 4096];
    pages.read(&newest.root, &mut plain).expect("the root");
    let words = [newest.generation, newest.pages, newest.next_inode];
    let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    [&words[..], &plain].concat()
}

/// The one page of an image's log.
fn log() -> Target {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("image");
    let file = |path: &Path| {
        let mut how = File::options();
        how.read(true).write(true).open(path).expect("open")
    };
    File::create(&path)
        .and_then(|new| new.set_len(8 << 20))
        .expect("a size");
    small_image(file(&path));
    let (superblock, seed) = small_log(file(&path));
    let base = fs::read(&path).expect("read");
    target("log", vec![seed], move |bytes| {
        let _ = &home;
        fs::write(&path, &base).expect("write");
        let fd = || file(&path).into();
        let pages = Pages::new(Device::new(fd(), false, None).expect("a device"), keys());
        let page = log_page(&superblock);
        let scope = pages.keys(1, page).expect("keys");
        let mut sealed = [0; 4096];
        scope
            .xts
            .encrypt(page, &sized(bytes, 4080), &mut sealed[16..]);
        let tag = scope.tag.tag(page, &log_head(&superblock), &sealed[16..]);
        sealed[..16].copy_from_slice(&tag);
        pages.device.write(page, &sealed).expect("write");
        for read_only in [true, false] {
            let options = image::Options {
                read_only,
                ..image::Options::default()
            };
            let Ok(image) = Image::open(fd(), keys(), &options) else {
                continue;
            };
            let _ = image::check(&image, false, &(), &mut |_| ());
            if !read_only {
                use_image(&image);
                let _ = image::check(&image, true, &(), &mut |_| ());
                let _ = image.close();
            }
        }
    })
}

/// Leaves an image with a record of one page in its log; the superblock, and the record's plaintext.
fn small_log(file: File) -> ((Superblock, [u8; 16]), Vec<u8>) {
    let fd = || file.try_clone().expect("dup").into();
    let image = Image::open(fd(), keys(), &image::Options::default()).expect("an image");
    let entry = image.lookup(ROOT, OsStr::new("kept 2")).expect("a file");
    let handle = image.open(entry.node, WRITE).expect("open");
    let written = image.write(entry.node, handle, 70_000, &[9; 5000], false);
    written.expect("write");
    image.sync().expect("sync");
    let pages = Pages::new(Device::new(fd(), false, None).expect("a device"), keys());
    let superblock = Superblock::read_all(&pages).expect("superblocks")[0];
    let page = log_page(&superblock);
    let mut sealed = [0; 4096];
    pages.device.read(page, &mut sealed).expect("read");
    let scope = pages.keys(1, page).expect("keys");
    let tag = scope.tag.tag(page, &log_head(&superblock), &sealed[16..]);
    assert_eq!(tag, sealed[..16], "a page of the log");
    let mut plain = vec![0; 4080];
    scope.xts.decrypt(page, &sealed[16..], &mut plain);
    (superblock, plain)
}

fn log_page((superblock, _): &(Superblock, [u8; 16])) -> u64 {
    image::layout::LOG + superblock.log_start
}

fn log_head((superblock, tag): &(Superblock, [u8; 16])) -> [u8; 16] {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&superblock.generation.to_le_bytes());
    head[8] = 4;
    head[9..].copy_from_slice(&tag[..7]);
    head
}

/// Reads and changes a little of all that the root lists.
fn use_image(image: &Image) {
    let mut names = Vec::new();
    if let Ok(handle) = image.opendir(ROOT) {
        let _ = image.readdir(ROOT, handle, 0, &mut |entry| {
            names.push(entry.name.to_owned());
            names.len() > 20
        });
        image.releasedir(ROOT, handle);
    }
    for name in &names {
        let Ok(entry) = image.lookup(ROOT, name) else {
            continue;
        };
        let node = entry.node;
        let _ = (image.readlink(node), image.listxattr(node));
        let _ = image.getxattr(node, OsStr::new("user.note"));
        if let Ok(handle) = image.open(node, WRITE) {
            let mut buf = [0; 9000];
            let _ = image.read(node, handle, 0, &mut buf);
            let _ = image.write(node, handle, entry.attr.size / 2, WRITTEN, false);
            let _ = image.lseek(node, handle, 0, Whence::Hole);
            let set = SetAttr {
                size: Some(5000),
                ..SetAttr::default()
            };
            let _ = image.setattr(node, &set);
            let _ = image.release(node, handle);
        }
        if !name.as_bytes().starts_with(b"kept") {
            let _ = (image.unlink(ROOT, name), image.rmdir(ROOT, name));
        }
        image.forget(node, 1);
    }
    for (number, name) in ["kept", "kept 2", "gone"]
        .map(OsStr::new)
        .iter()
        .enumerate()
    {
        let Ok((entry, handle)) = image.create(ROOT, name, 0o644, WRITE, &ME) else {
            continue;
        };
        let _ = image.write(entry.node, handle, 9000 * number as u64, &[7; 100], false);
        let _ = image.setxattr(
            entry.node,
            OsStr::new("user.note"),
            b"value",
            SetXattr::Either,
        );
        let _ = image.release(entry.node, handle);
        image.forget(entry.node, 1);
    }
    let _ = image.mkdir(ROOT, OsStr::new("kept dir"), 0o755, &ME);
    let _ = image.symlink(ROOT, OsStr::new("kept link"), OsStr::new("to"), &ME);
    let _ = image.sync();
}
