//! Golden volumes: made once, by format 1, and opened for ever (tests/golden/README.md says how they were made).
//!
//! What must be in them stands in a manifest beside each. It is compared with what the library reads, by every credential, and
//! with what golden/read.py reads: a reader written from man/cryptfs.5 alone.
mod make;

use crate::needs;
use cryptfs::crypto::digest::sha256;
use cryptfs::crypto::tag::Algorithm;
use cryptfs::crypto::xts::Cipher;
use cryptfs::fs::{Attr, Caller, FileSystem, Kind, NodeId, OpenFlags, ROOT};
use cryptfs::recover::{How, file_system};
use cryptfs::volume::header::NameEncoding;
use cryptfs::volume::{
    Access, Credential, Keystore, Locked, MountOptions, Mountable, ProtectorKind, RecoveryPassword,
    Rollback, Volume, kit, uuid,
};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// All of them, and each one's tar and manifest in tests/golden.
const VOLUMES: [&str; 2] = ["v1-directory", "v1-directory-alternative"];

/// A golden volume, unpacked.
struct Golden {
    dir: tempfile::TempDir,
    wanted: Value,
    attributes: bool,
}

impl Golden {
    fn unpack(name: &str) -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let text = std::fs::read_to_string(data.join(format!("{name}.json"))).expect("a manifest");
        let dir = tempfile::tempdir().expect("a temporary directory");
        // --xattrs takes the names that begin with "user.": the backing store has no others.
        let done = Command::new("tar")
            .args(["--extract", "--xattrs", "--preserve-permissions"])
            .args(["--no-same-owner", "--file"])
            .arg(data.join(format!("{name}.tar")))
            .current_dir(dir.path())
            .stderr(Stdio::null())
            .status();
        assert!(done.expect("tar runs").success(), "{name}.tar");
        let attributes = rustix::fs::setxattr(
            dir.path(),
            "user.golden",
            b"",
            rustix::fs::XattrFlags::empty(),
        );
        if let Err(why) = &attributes {
            let here = dir.path().display();
            needs::say(&format!("extended attributes, which {here} lacks: {why}"));
        }
        let mut golden = Self {
            dir,
            wanted: serde_json::from_str(&text).expect("JSON"),
            attributes: attributes.is_ok(),
        };
        golden.wanted["tree"] = golden.comparable(golden.wanted["tree"].clone());
        golden
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keystore(&self) -> Keystore {
        Keystore::open(Some(&self.path("keystore"))).expect("the keystore opens")
    }

    fn locked(&self) -> Locked {
        Locked::open(&self.path("volume")).expect("the header is found")
    }

    fn credential(&self, name: &str) -> &str {
        self.wanted["credentials"][name].as_str().expect("a text")
    }

    fn recovery_password(&self) -> RecoveryPassword {
        RecoveryPassword::parse(self.credential("recovery_password")).expect("eight groups")
    }

    /// A tree without what this machine's temporary directory cannot keep.
    fn comparable(&self, mut tree: Value) -> Value {
        for entry in tree.as_array_mut().into_iter().flatten() {
            if let (false, Some(entry)) = (self.attributes, entry.as_object_mut()) {
                entry.remove("xattrs");
            }
        }
        tree
    }

    /// Compares header, escrow and tree, reading only.
    fn assert_holds(&self, volume: Volume, by: &str) {
        assert_eq!(described(&volume), self.wanted["volume"], "{by}");
        let opened = volume.into_opened().expect("content keys");
        let files = file_system(opened, &How::to_read()).expect("the tree opens");
        self.assert_tree(&self.comparable(tree(&*files)), by);
    }

    /// Compares entry by entry, so that a difference fits on a screen.
    fn assert_tree(&self, found: &Value, by: &str) {
        let all = |tree: &Value| {
            let entries = tree.as_array().expect("a list").iter();
            let named = entries.map(|entry| (entry["path"].to_string(), entry.clone()));
            named.collect::<BTreeMap<_, _>>()
        };
        let (wanted, found) = (all(&self.wanted["tree"]), all(found));
        let paths = |tree: &BTreeMap<String, Value>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&found), paths(&wanted), "{by}");
        for (path, entry) in &wanted {
            assert_eq!(found[path], *entry, "{by}: {path}");
        }
    }

    /// What golden/read.py prints.
    fn read_independently(&self, credential: &[&OsStr]) -> Vec<u8> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/read.py");
        let child = Command::new("python3")
            .arg(script)
            .arg(self.path("volume"))
            .args(credential)
            .output()
            .expect("python3 runs");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{credential:?}: {said}");
        child.stdout
    }

    /// Compares what golden/read.py prints.
    fn assert_reads_the_same(&self, credential: &[&OsStr]) {
        let printed = self.read_independently(credential);
        let mut read: Value = serde_json::from_slice(&printed).expect("JSON");
        let by = format!("read.py {credential:?}");
        assert_eq!(read["volume"], self.wanted["volume"], "{by}");
        self.assert_tree(&self.comparable(read["tree"].take()), &by);
        if let Some(kept) = read.get("keystore") {
            assert_eq!(*kept, self.wanted["keystore"], "{by}");
        }
    }
}

/// What a header says, as far as a manifest repeats it, and its recovery passwords.
fn described(volume: &Volume) -> Value {
    let header = volume.header();
    let passwords = header
        .protectors()
        .filter(|slot| slot.kind == ProtectorKind::RecoveryPassword)
        .map(|slot| {
            let password = volume.escrowed_in(slot).map(|p| p.reveal().to_string());
            (uuid::text(&slot.id), json!(password))
        });
    json!({
        "uuid": uuid::text(&header.uuid),
        "label": header.label,
        "computer": header.computer,
        "sequence": header.sequence,
        "root": HEXLOWER.encode(&header.root),
        "cipher": match header.cipher {
            Cipher::XtsAes256 => "XTS-AES-256",
            Cipher::XtsAes128 => "XTS-AES-128",
        },
        "tag": match header.tag {
            Algorithm::PolyvalAes256 => "POLYVAL",
            Algorithm::HmacSha256 => "HMAC",
        },
        "names": match header.name_encoding {
            NameEncoding::Base64Url => "base64url",
            NameEncoding::Base32Hex => "base32hex",
        },
        "recovery_passwords": passwords.collect::<Map<_, _>>(),
    })
}

/// Everything below the root, sorted by path.
fn tree(files: &dyn FileSystem) -> Value {
    let mut walk = Walk {
        files,
        found: BTreeMap::new(),
    };
    let root = files.getattr(ROOT).expect("the root's attributes");
    walk.entry(b"/", ROOT, &root);
    // Several names of one file: each says which is the first.
    let mut first = BTreeMap::new();
    for (path, (ino, entry)) in &mut walk.found {
        if entry["kind"] == "file" && *ino != 0 {
            let one = first.entry(*ino).or_insert_with(|| path.clone());
            entry["same_file_as"] = json!(shown(one));
        }
    }
    walk.found.into_values().map(|(_, entry)| entry).collect()
}

struct Walk<'a> {
    files: &'a dyn FileSystem,
    /// By path; with the inode number of files that have several names.
    found: BTreeMap<Vec<u8>, (u64, Value)>,
}

impl Walk<'_> {
    fn entry(&mut self, path: &[u8], node: NodeId, attr: &Attr) {
        let mut entry = json!({
            "path": shown(path),
            "kind": match attr.kind {
                Kind::File => "file",
                Kind::Directory => "directory",
                Kind::Symlink => "symlink",
                Kind::Fifo => "fifo",
                Kind::Socket | Kind::CharDevice | Kind::BlockDevice => "other",
            },
            "mode": format!("{:04o}", attr.mode),
            "mtime": format!("{}.{:09}", attr.mtime.sec, attr.mtime.nsec),
            "xattrs": self.attributes(node),
        });
        let several = attr.kind == Kind::File && attr.nlink > 1;
        match attr.kind {
            Kind::File => {
                let content = self.content(node, attr.size);
                entry["size"] = json!(attr.size);
                entry["sha256"] = json!(HEXLOWER.encode(&sha256(&[&content])));
            }
            Kind::Symlink => {
                let target = self.files.readlink(node).expect("a target");
                entry["size"] = json!(attr.size);
                entry["target"] = json!(shown(&target));
            }
            Kind::Directory => self.directory(path, node),
            _ => {}
        }
        let ino = if several { attr.ino } else { 0 };
        let known = self.found.insert(path.to_vec(), (ino, entry));
        assert!(known.is_none(), "{} twice", shown(path));
    }

    fn directory(&mut self, path: &[u8], node: NodeId) {
        let handle = self.files.opendir(node).expect("opendir");
        let mut names = Vec::new();
        self.files
            .readdir(node, handle, 0, &mut |entry| {
                names.push(entry.name.to_owned());
                false
            })
            .expect("readdir");
        self.files.releasedir(node, handle);
        for name in names.iter().filter(|name| *name != "." && *name != "..") {
            let entry = self.files.lookup(node, name).expect("what is listed");
            let path = [path.strip_suffix(b"/").unwrap_or(path), name.as_bytes()].join(&b'/');
            self.entry(&path, entry.node, &entry.attr);
            self.files.forget(entry.node, 1);
        }
    }

    fn content(&self, node: NodeId, size: u64) -> Vec<u8> {
        let handle = self.files.open(node, OpenFlags::default()).expect("open");
        let mut content = vec![0xaa; size as usize + 1];
        let read = self.files.read(node, handle, 0, &mut content);
        content.truncate(read.expect("read"));
        self.files.release(node, handle).expect("release");
        assert_eq!(content.len() as u64, size);
        content
    }

    fn attributes(&self, node: NodeId) -> Map<String, Value> {
        let names = self.files.listxattr(node).expect("names of attributes");
        let value = |name: &[u8]| self.files.getxattr(node, OsStr::from_bytes(name));
        let named = names.into_iter().map(|name| {
            let value = value(&name).expect("a value");
            (shown(&name), json!(HEXLOWER.encode(&value)))
        });
        named.collect()
    }
}

/// Bytes as text: what is not visible ASCII, and the percent sign, as %XX.
fn shown(bytes: &[u8]) -> String {
    let text = |byte: &u8| match byte {
        b'%' => "%25".to_owned(),
        0x21..=0x7e => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(text).collect()
}

#[test]
fn opened_by_every_credential() {
    for name in VOLUMES {
        let golden = Golden::unpack(name);
        let locked = golden.locked();
        let keystore = golden.keystore();
        let volume = locked.unlock_auto(&keystore, Rollback::Refuse);
        let volume = volume.expect("the keyfile fits");
        let saved = std::fs::read(golden.path("kit")).expect("the kit");
        assert_eq!(
            kit::read(&saved).expect("intact").bytes,
            volume.header_bytes()
        );
        golden.assert_holds(volume, &format!("{name} by keyfile"));
        let password = golden.recovery_password();
        let volume = locked.unlock(Credential::Recovery(&password));
        golden.assert_holds(
            volume.expect("the password fits"),
            &format!("{name} by recovery password"),
        );
        let passphrase = golden.credential("passphrase").as_bytes();
        let volume = locked.unlock(Credential::Passphrase(passphrase));
        golden.assert_holds(
            volume.expect("the passphrase fits"),
            &format!("{name} by passphrase"),
        );
    }
}

#[test]
fn the_keystores_record_is_read() {
    for name in VOLUMES {
        let golden = Golden::unpack(name);
        let keystore = golden.keystore();
        let volume = golden.locked().unlock_auto(&keystore, Rollback::Refuse);
        let opened = volume
            .expect("the keyfile fits")
            .into_opened()
            .expect("keys");
        let state = keystore.state(
            &keystore.seat(&opened.header.uuid, &opened.place),
            opened.keys.session(),
        );
        let state = state.expect("the record is authentic");
        let kept = json!({
            "sequence": state.sequence,
            "header": HEXLOWER.encode(&state.header),
            "generation": state.generation,
            "path": shown(&state.path),
        });
        assert_eq!(kept, golden.wanted["keystore"], "{name}");
    }
}

/// Mounting writes: a session, and a new file. What was there before stays.
#[test]
fn mounted_and_written_to() {
    for name in VOLUMES {
        let golden = Golden::unpack(name);
        let options = MountOptions {
            access: Access::ReadWrite,
            rollback: Rollback::Refuse,
        };
        let mount = Mountable::open(&golden.path("volume"), &golden.keystore(), options, &|_| {
            Ok(true)
        });
        let mount = mount.expect("it opens for a mount");
        assert!(mount.repaired.is_empty());
        let files = file_system(mount.opened, &How::default()).expect("the tree opens");
        let root = files.getattr(ROOT).expect("the root's attributes");
        let caller = Caller {
            uid: root.uid,
            gid: root.gid,
            umask: 0,
        };
        let (name_of_new, write) = (
            OsStr::new("new"),
            OpenFlags {
                write: true,
                ..OpenFlags::default()
            },
        );
        let (entry, handle) = files
            .create(ROOT, name_of_new, 0o600, write, &caller)
            .expect("create");
        files
            .write(entry.node, handle, 0, b"new", false)
            .expect("write");
        files.release(entry.node, handle).expect("release");
        files.unlink(ROOT, name_of_new).expect("unlink");
        make::set_mtime(&*files, ROOT, root.mtime);
        files.close().expect("close");
        drop((files, mount.lock));
        let volume = golden
            .locked()
            .unlock_auto(&golden.keystore(), Rollback::Refuse);
        golden.assert_holds(volume.expect("the keyfile fits"), name);
    }
}

/// A power cut: the record of sessions is gone, and a file's length is ahead of its data. Nothing else may look different.
#[test]
fn opened_after_a_crash() {
    for name in VOLUMES {
        let golden = Golden::unpack(name);
        golden.crash();
        let password = golden.recovery_password();
        let volume = golden.locked().unlock(Credential::Recovery(&password));
        golden.assert_holds(volume.expect("the password fits"), name);
    }
}

impl Golden {
    /// The one file with two names is not sparse: units that were never written may follow it.
    fn crash(&self) {
        use std::os::unix::fs::MetadataExt;
        std::fs::remove_file(self.path("volume/.cryptfs/session")).expect("the record");
        let entries = std::fs::read_dir(self.path("volume")).expect("the backing directory");
        let linked = entries
            .map(|entry| entry.expect("an entry").path())
            .find(|path| {
                path.symlink_metadata()
                    .is_ok_and(|m| m.nlink() == 2 && m.is_file())
            })
            .expect("a file with two names");
        let file = std::fs::File::options()
            .write(true)
            .open(&linked)
            .expect("open");
        let before = file.metadata().expect("stat");
        file.set_len(before.len() + 3 * 4096).expect("grow");
        // The kernel takes the set-user-ID bit away where this is not root.
        file.set_permissions(before.permissions())
            .expect("set mode");
        let modified = before.modified().expect("mtime");
        file.set_modified(modified).expect("set mtime");
    }
}

/// Python with what golden/read.py needs.
fn can_run_the_reader() -> bool {
    let has_cryptography = Command::new("python3")
        .args(["-c", "import cryptography.hazmat.primitives.ciphers.aead"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_cryptography {
        needs::say("python3 with the cryptography package is not installed");
    }
    has_cryptography
}

#[test]
fn the_worked_example_is_in_the_manual() {
    if !can_run_the_reader() {
        return;
    }
    let golden = Golden::unpack(VOLUMES[0]);
    let keystore = golden.path("keystore");
    let arguments = [
        OsStr::new("--keystore"),
        keystore.as_os_str(),
        OsStr::new("--example"),
    ];
    let printed = golden.read_independently(&arguments);
    let example = String::from_utf8(printed).expect("text");
    let page = include_str!("../man/cryptfs.5");
    assert!(
        page.contains(&example),
        "not in man/cryptfs.5 as it is:\n{example}"
    );
}

#[test]
fn an_independent_reader_reads_the_same() {
    if !can_run_the_reader() {
        return;
    }
    for name in VOLUMES {
        let golden = Golden::unpack(name);
        let password = golden.credential("recovery_password").to_owned();
        let (keystore, kit) = (golden.path("keystore"), golden.path("kit"));
        let by_password = [OsStr::new("--password"), OsStr::new(&password)];
        golden.assert_reads_the_same(&[OsStr::new("--keystore"), keystore.as_os_str()]);
        golden.assert_reads_the_same(&by_password);
        // Every header copy is gone: the kit has one.
        let root = std::fs::File::open(golden.path("volume")).expect("the backing directory");
        let before = root.metadata().and_then(|m| m.modified()).expect("mtime");
        for copy in ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"] {
            std::fs::remove_file(golden.path("volume").join(copy)).expect("a header copy");
        }
        root.set_modified(before).expect("set mtime");
        golden.crash();
        let by_kit = [OsStr::new("--kit"), kit.as_os_str()];
        golden.assert_reads_the_same(&[&by_password[..], &by_kit[..]].concat());
    }
}

/// An image that ended well, and one that crashed with records in its log.
const IMAGES: [&str; 2] = ["v1-image", "v1-image-log"];

/// A golden image, unpacked, and the tree that must be in it.
fn golden_image(name: &str) -> (tempfile::TempDir, Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir.path()).arg("-xf");
    let unpacked = tar.arg(kept.join(format!("{name}.tar"))).status();
    assert!(unpacked.expect("tar").success());
    let manifest = std::fs::read(kept.join(format!("{name}.json"))).expect("a manifest");
    let mut manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    (dir, manifest["tree"].take())
}

fn assert_entries(wanted: &Value, found: &Value) {
    let (wanted, found) = (wanted.as_array(), found.as_array());
    let (wanted, found) = (wanted.expect("entries"), found.expect("entries"));
    assert_eq!(wanted.len(), found.len());
    let pairs = wanted.iter().zip(found);
    pairs.for_each(|(wanted, found)| assert_eq!(wanted, found));
}

#[test]
fn the_images_open_by_their_keystores() {
    for (dir, wanted) in IMAGES.map(golden_image) {
        let keystore = Keystore::open(Some(&dir.path().join("keystore"))).expect("a keystore");
        let locked = Locked::open(&dir.path().join("image")).expect("an image");
        let volume = locked
            .unlock_auto(&keystore, Rollback::Refuse)
            .expect("unlocked");
        let opened = volume.into_opened().expect("keys");
        let files = file_system(opened, &How::to_read()).expect("the tree opens");
        assert_entries(&wanted, &tree(&*files));
    }
}

#[test]
fn an_independent_reader_reads_the_images() {
    if !can_run_the_reader() {
        return;
    }
    for (dir, wanted) in IMAGES.map(golden_image) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/read_image.py");
        let mut reader = Command::new("python3");
        let read = reader
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg(dir.path().join("image"))
            .arg("--keystore")
            .arg(dir.path().join("keystore"))
            .output()
            .expect("python3 runs");
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success(), "{said}");
        let found: Value = serde_json::from_slice(&read.stdout).expect("JSON");
        assert_entries(&wanted, &found);
    }
}
