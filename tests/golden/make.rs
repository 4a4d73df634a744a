//! How the golden volumes were made. Run by tests/golden/make.sh, and by nothing else: a golden volume is made once.
use super::{described, shown, tree};
use cryptfs::crypto::digest::sha256;
use cryptfs::crypto::kdf::Stretch;
use cryptfs::crypto::tag::Algorithm;
use cryptfs::crypto::xts::Cipher;
use cryptfs::fs::*;
use cryptfs::recover::{How, file_system};
use cryptfs::volume::header::NameEncoding;
use cryptfs::volume::protector::NewProtector;
use cryptfs::volume::{
    CreateOptions, Credential, Keystore, ProtectorState, Site, create, date, kit,
};
use data_encoding::HEXLOWER;
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

const PASSPHRASE: &str = "correct horse battery staple";
const WRITE: OpenFlags = OpenFlags {
    write: true,
    truncate: false,
    kill_privileges: false,
    unlinkable: false,
};

#[test]
#[ignore = "makes golden volumes: a new format's only"]
fn make() {
    let base = std::env::var_os("CRYPTFS_GOLDEN").expect("run by make.sh");
    let standard = CreateOptions {
        label: "golden".to_owned(),
        ..CreateOptions::default()
    };
    let alternative = CreateOptions {
        cipher: Cipher::XtsAes128,
        tag: Algorithm::HmacSha256,
        name_encoding: NameEncoding::Base32Hex,
        label: "golden, the alternative".to_owned(),
        ..CreateOptions::default()
    };
    make_one(&Path::new(&base).join("v1-directory"), &standard);
    make_one(
        &Path::new(&base).join("v1-directory-alternative"),
        &alternative,
    );
}

/// volume, keystore, kit, manifest.json.
fn make_one(dir: &Path, options: &CreateOptions) {
    std::fs::create_dir_all(dir).expect("a directory");
    let keystore = Keystore::create(Some(&dir.join("keystore"))).expect("a keystore");
    let mut made = create(&dir.join("volume"), options, &keystore).expect("a volume");
    let passphrase = NewProtector {
        credential: Credential::Passphrase(PASSPHRASE.as_bytes()),
        stretch: Stretch::Argon2id {
            passes: 2,
            memory_kib: 1024,
            lanes: 2,
        },
        state: ProtectorState::Active,
        escrow: false,
        host: [0; 16],
        description: "a passphrase – for the test",
    };
    let added = made.volume.add_protector(Some(&keystore), &passphrase);
    added.expect("a passphrase");
    let noted = made
        .volume
        .annotate(Some(&keystore), &made.password_id, |slot| {
            slot.exported = date::now()
        });
    noted.expect("a date");
    let saved = kit::write(made.volume.header_bytes());
    std::fs::write(dir.join("kit"), saved).expect("a kit");
    let volume = described(&made.volume);
    let state = made.volume.remember(&keystore).expect("the state");
    let files =
        file_system(made.volume.into_opened().expect("keys"), &How::default()).expect("a tree");
    fill(&Made {
        files: files.clone(),
    });
    let manifest = json!({
        "credentials": {
            "recovery_password": made.recovery_password.reveal().to_string(),
            "passphrase": PASSPHRASE,
        },
        "volume": volume,
        "keystore": {
            "sequence": state.sequence,
            "header": HEXLOWER.encode(&state.header),
            "generation": state.generation,
            "path": shown(&state.path),
        },
        "tree": tree(&*files),
    });
    files.close().expect("a clean end");
    let text = format!("{manifest:#}\n");
    std::fs::write(dir.join("manifest.json"), text).expect("the manifest");
}

#[test]
#[ignore = "makes a golden image: a new format's only"]
fn make_image() {
    make_one_image("v1-image", |_| ());
}

/// An image of a daemon that was killed.
#[test]
#[ignore = "makes a golden image: a new format's only"]
fn make_image_with_a_log() {
    make_one_image("v1-image-log", |made| {
        let sync = || made.files.sync().expect("sync");
        let late = made.directory(ROOT, b"late", 0o755);
        made.file(late, b"small", 0o600, &[(0, 900)]);
        made.attribute(late, "user.note", b"in the log");
        sync();
        made.write(made.node(ROOT, b"grown"), b"grown", 100_000, 20_000);
        made.write(made.node(ROOT, b"12288"), b"late", 4096, 4096);
        made.resize(made.node(ROOT, b"cut"), 100);
        let (from, to) = (OsStr::new("1"), OsStr::new("one"));
        made.files
            .rename((ROOT, from), (late, to), Rename::Replace)
            .expect("rename");
        sync();
        for number in 0..12 {
            made.file(late, format!("{number}").as_bytes(), 0o644, &[(0, 1500)]);
        }
        made.files.unlink(ROOT, OsStr::new("63")).expect("unlink");
        sync();
    });
}

/// An image with the same content, put away; then what `crashed` does to it before a crash.
fn make_one_image(name: &str, crashed: impl FnOnce(&Made)) {
    let base = std::env::var_os("CRYPTFS_GOLDEN").expect("a directory to make it in");
    let dir = Path::new(&base).join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    let manifest = json!({"tree": image(&dir, crashed)});
    let text = format!("{manifest:#}\n");
    std::fs::write(dir.join("manifest.json"), text).expect("the manifest");
}

/// What is in it.
fn image(dir: &Path, crashed: impl FnOnce(&Made)) -> serde_json::Value {
    let keystore = Keystore::create(Some(&dir.join("keystore"))).expect("a keystore");
    let size = 8 << 20;
    let options = CreateOptions {
        site: Site::Image {
            size: Some(size),
            preallocate: false,
            overwrite: false,
        },
        ..CreateOptions::default()
    };
    let made = create(&dir.join("image"), &options, &keystore).expect("an image");
    let fd = made.volume.place().as_fd().try_clone_to_owned();
    let keys = Arc::new(made.volume.keys().expect("keys"));
    let owner = (Made::caller().uid, Made::caller().gid);
    cryptfs::image::format(fd.expect("a descriptor"), size, keys, owner).expect("a file system");
    let open = || {
        let opened = made.volume.share().expect("keys");
        let files = file_system(opened, &How::default()).expect("a tree");
        Made { files }
    };
    let made = open();
    fill(&made);
    made.files.close().expect("a clean end");
    drop(made);
    let made = open();
    crashed(&made);
    tree(&*made.files)
}

/// What is made, path by path.
struct Made {
    files: Arc<dyn FileSystem>,
}

impl Made {
    fn caller() -> Caller {
        Caller {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: 0,
        }
    }

    fn node(&self, parent: NodeId, name: &[u8]) -> NodeId {
        let found = self.files.lookup(parent, OsStr::from_bytes(name));
        found.expect("what was made").node
    }

    fn directory(&self, parent: NodeId, name: &[u8], mode: u32) -> NodeId {
        let name = OsStr::from_bytes(name);
        let made = self.files.mkdir(parent, name, mode, &Self::caller());
        let node = made.expect("mkdir").node;
        self.mode(node, mode); // a set-group-ID bit is not mkdir's to give
        node
    }

    /// A file, by these writes one after the other.
    fn file(&self, parent: NodeId, name: &[u8], mode: u32, writes: &[(u64, usize)]) -> NodeId {
        let text = OsStr::from_bytes(name);
        let made = self
            .files
            .create(parent, text, mode, WRITE, &Self::caller());
        let (entry, handle) = made.expect("create");
        self.files.release(entry.node, handle).expect("release");
        for (offset, length) in writes {
            self.write(entry.node, name, *offset, *length);
        }
        self.mode(entry.node, mode);
        entry.node
    }

    fn write(&self, node: NodeId, name: &[u8], offset: u64, length: usize) {
        let data = content(name, offset, length);
        let handle = self.files.open(node, WRITE).expect("open");
        self.files
            .write(node, handle, offset, &data, false)
            .expect("write");
        self.files.release(node, handle).expect("release");
    }

    fn mode(&self, node: NodeId, mode: u32) {
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.files.setattr(node, &set).expect("chmod");
    }

    fn symlink(&self, parent: NodeId, name: &[u8], target: &[u8]) {
        let (name, target) = (OsStr::from_bytes(name), OsStr::from_bytes(target));
        let made = self.files.symlink(parent, name, target, &Self::caller());
        made.expect("symlink");
    }

    fn attribute(&self, node: NodeId, name: &str, value: &[u8]) {
        let set = self
            .files
            .setxattr(node, OsStr::new(name), value, SetXattr::Create);
        set.expect("setxattr");
    }

    fn resize(&self, node: NodeId, size: u64) {
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.files.setattr(node, &set).expect("truncate");
    }

    fn punch(&self, node: NodeId, offset: u64, length: u64) {
        let handle = self.files.open(node, WRITE).expect("open");
        self.files
            .fallocate(node, handle, Allocate::Punch, offset, length)
            .expect("punch");
        self.files.release(node, handle).expect("release");
    }
}

/// Sets only the time of the last change.
pub fn set_mtime(files: &dyn FileSystem, node: NodeId, time: Time) {
    let set = SetAttr {
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    };
    files.setattr(node, &set).expect("utimes");
}

fn fill(made: &Made) {
    made.file(ROOT, b"empty", 0o644, &[]);
    made.file(ROOT, b"1", 0o600, &[(0, 1)]);
    made.file(ROOT, b"63", 0o640, &[(0, 63)]);
    // The most that leaves room for the hint in unit 0: 4000 - 13 - 4 bytes.
    made.file(ROOT, b"3983", 0o644, &[(0, 3983)]);
    made.file(ROOT, b"4000", 0o444, &[(0, 4000)]);
    made.file(ROOT, b"4001", 0o755, &[(0, 4001)]);
    let linked = made.file(ROOT, b"12288", 0o4755, &[(0, 5000), (5000, 7288)]);
    made.files
        .link(linked, ROOT, OsStr::new("12288 again"))
        .expect("link");
    // A unit that ends early with one after it.
    made.file(ROOT, b"short unit inside", 0o644, &[(0, 100), (4000, 100)]);
    let cut = made.file(ROOT, b"cut", 0o644, &[(0, 12_000)]);
    made.resize(cut, 5000);
    let sparse = made.file(
        ROOT,
        b"sparse",
        0o644,
        &[(0, 100), (100_000, 5000), (1 << 20, 10)],
    );
    made.punch(sparse, 100_000, 4500);
    let grown = made.file(ROOT, b"grown", 0o644, &[(0, 10)]);
    made.resize(grown, 300_000);
    made.file(ROOT, &[b'n'; 255], 0o644, &[(0, 20)]);
    for length in [128, 129, 160, 161] {
        made.file(ROOT, &vec![b'a'; length], 0o644, &[]);
    }
    made.file(ROOT, b"not UTF-8: \xff\xfe caf\xe9", 0o644, &[]);
    made.file(ROOT, "UTF-8: größer als €1 🔑".as_bytes(), 0o644, &[]);
    made.file(ROOT, b"cryptfs.volume", 0o644, &[]);
    made.symlink(ROOT, b"link", b"directory/file");
    // What XFS can keep at most: 1023 characters.
    made.symlink(ROOT, b"longer link", &[b's'; 739]);
    made.symlink(
        ROOT,
        b"link kept elsewhere",
        &"over/".repeat(720).into_bytes(),
    );
    let fifo = made.files.mknod(
        ROOT,
        OsStr::new("fifo"),
        Kind::Fifo.mode_bits() | 0o622,
        0,
        &Made::caller(),
    );
    fifo.expect("mknod");

    let directory = made.directory(ROOT, b"directory", 0o2750);
    let file = made.file(directory, b"file", 0o644, &[(0, 100)]);
    let old = made.file(directory, b"old name", 0o644, &[]);
    made.files
        .rename(
            (directory, OsStr::new("old name")),
            (directory, OsStr::new("new name")),
            Rename::Replace,
        )
        .expect("rename");
    let rewritten = made.node(directory, b"new name");
    assert_eq!(rewritten, old);
    let long = made.directory(directory, &[b'd'; 200], 0o1777);
    made.file(long, b"below", 0o644, &[]);
    made.file(long, &[b'f'; 200], 0o644, &[]);
    let deep = made.directory(long, b"deep", 0o700);
    made.file(deep, b"deepest", 0o644, &[(0, 100)]);
    made.directory(ROOT, b"empty directory", 0o755);

    made.attribute(file, "user.note", b"what is kept here");
    made.attribute(file, "user.empty", b"");
    made.attribute(file, "user.long", &content(b"value", 0, 300));
    made.attribute(file, "trusted.note", b"for root");
    made.attribute(directory, "user.note", b"what is kept here");
    made.attribute(ROOT, "user.root", b"\x00\x01\x02\xff");
    date_all(made, ROOT, &mut 0);
}

/// Gives every entry a time of its own, directories after what is in them. Whole seconds, but for a few: they cost the tar a
/// kilobyte each.
fn date_all(made: &Made, directory: NodeId, count: &mut u32) {
    let handle = made.files.opendir(directory).expect("opendir");
    let mut names = Vec::new();
    made.files
        .readdir(directory, handle, 0, &mut |entry| {
            names.push(entry.name.to_owned());
            false
        })
        .expect("readdir");
    made.files.releasedir(directory, handle);
    for name in names.iter().filter(|name| *name != "." && *name != "..") {
        let entry = made.files.lookup(directory, name).expect("lookup");
        match entry.attr.kind {
            Kind::Directory => date_all(made, entry.node, count),
            _ => date(made, entry.node, count),
        }
    }
    date(made, directory, count);
}

fn date(made: &Made, node: NodeId, count: &mut u32) {
    *count += 1;
    let time = Time {
        sec: 1_700_000_000 + i64::from(*count),
        nsec: if count.is_multiple_of(7) {
            123_456_789
        } else {
            0
        },
    };
    set_mtime(&*made.files, node, time);
}

/// Bytes without a pattern, from a name: no two units of it are alike.
fn content(name: &[u8], offset: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0u64.. {
        if out.len() >= length {
            break;
        }
        out.extend(sha256(&[
            name,
            &offset.to_le_bytes(),
            &number.to_le_bytes(),
        ]));
    }
    out.truncate(length);
    out
}
