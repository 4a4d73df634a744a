//! What noise is thrown at: everything that reads bytes from a disk or words from a person. Where a checksum or a tag
//! would stop all changes at the door, it is made right again.
use cryptfs::codec::{self, InodeRecord, NameRecord, PositionRecord, SnapshotRecord, StateRecord};
use cryptfs::crypto::digest::sha256;
use cryptfs::crypto::secret::Secret;
use cryptfs::crypto::tag::Algorithm;
use cryptfs::crypto::xts::Cipher;
use cryptfs::directory::file::hint;
use cryptfs::directory::name::{DirId, NameEncoding, Names};
use cryptfs::directory::unit::{self, FileId, Head};
use cryptfs::directory::{layout, link, xattr};
use cryptfs::image::acl::Acl;
use cryptfs::image::{key, node::Node, pointer::Pointer};
use cryptfs::recover::journal::Journal;
use cryptfs::volume::audit::AuditLog;
use cryptfs::volume::header::Header;
use cryptfs::volume::keys::Keys;
use cryptfs::volume::keystore::Keystore;
use cryptfs::volume::recovery_password::RecoveryPassword;
use cryptfs::volume::share::{Share, Split};
use cryptfs::volume::{CreateOptions, Place, create, kit, uuid};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

type Run = dyn Fn(&[u8]);

/// A parser, and inputs that it takes.
pub struct Target {
    pub name: &'static str,
    pub seeds: Vec<Vec<u8>>,
    pub run: Box<Run>,
}

pub fn target(name: &'static str, seeds: Vec<Vec<u8>>, run: impl Fn(&[u8]) + 'static) -> Target {
    let run = Box::new(run);
    Target { name, seeds, run }
}

/// All of them.
pub fn all() -> Vec<Target> {
    let mut all = of_volumes();
    all.extend(of_directories());
    all.extend(of_images());
    all.extend(super::sealed::all());
    all
}

/// The bytes, with a right SHA-256 in their last 32.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(end) = bytes.len().checked_sub(32) {
        let sum = sha256(&[&bytes[..end]]);
        bytes[end..].copy_from_slice(&sum);
    }
    bytes
}

/// The bytes, cut or with zeros to this length: where another length is refused at the door.
pub fn sized(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(length, 0);
    bytes
}

fn page(bytes: &[u8]) -> [u8; 4096] {
    sized(bytes, 4096).try_into().expect("4096 bytes")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The keys of every volume here.
pub fn keys() -> Arc<Keys> {
    let secret = |byte| Secret::fill_with(|bytes| bytes.fill(byte));
    let fveks = [(1, secret(7))];
    let (cipher, tag) = (Cipher::XtsAes256, Algorithm::PolyvalAes256);
    Arc::new(Keys::derive(&[1; 16], cipher, tag, &fveks, secret(9)).expect("one FVEK"))
}

/// What every volume has: header, kit, recovery password, keystore, audit log.
fn of_volumes() -> Vec<Target> {
    let home = Arc::new(tempfile::tempdir().expect("a directory"));
    let keystore = Keystore::create(Some(&home.path().join("keys"))).expect("a keystore");
    let options = CreateOptions {
        iterations: 1,
        ..CreateOptions::default()
    };
    let mut made = create(&home.path().join("volume"), &options, &keystore).expect("a volume");
    made.volume.enrol(&keystore, None).expect("a second header");
    made.volume.remember(&keystore).expect("a state");
    let event = cryptfs::volume::audit::Event {
        action: "init",
        volume: &made.volume.header().uuid,
        protector: None,
        result: "ok",
    };
    let log = AuditLog::of(&keystore);
    log.append(&event).expect("a line");
    log.append_sealed(&made.volume.audit_key(), &event)
        .expect("a line");
    let split = Split { needed: 2, made: 3 };
    let shares = Share::split(&made.recovery_password, split);
    let header = made.volume.header_bytes();
    let mut targets = vec![
        target("header", vec![header.to_vec()], |bytes| {
            let _ = Header::decode(&summed(bytes));
            if let Ok(header) = Header::decode(&summed(&sized(bytes, 16384))) {
                let _: Vec<_> = header
                    .protectors()
                    .map(|slot| (slot.replaces(), slot.has_escrow()))
                    .collect();
                let _ = header.attention();
            }
        }),
        target("kit", vec![kit::write(header)], |bytes| {
            let _ = kit::read(&summed(bytes));
            let _ = kit::read(&summed(&sized(bytes, kit::SIZE)));
        }),
        target(
            "recovery password",
            vec![made.recovery_password.reveal().to_string().into()],
            |bytes| {
                let _ = RecoveryPassword::parse(&text(bytes)).map_err(|error| error.to_string());
            },
        ),
        target(
            "share",
            shares.iter().map(|one| one.to_string().into()).collect(),
            |bytes| {
                let _ = Share::parse(&text(bytes)).map_err(|error| error.to_string());
            },
        ),
        target("split", vec![b"2of3".to_vec()], |bytes| {
            let _ = text(bytes).parse::<Split>();
        }),
        target(
            "uuid",
            vec![b"be531d7f-315a-bf04-a055-3557c67932d2".to_vec()],
            |bytes| {
                let _ = uuid::parse(&text(bytes));
            },
        ),
        journal(),
    ];
    for entry in fs::read_dir(keystore.path()).expect("a keystore").flatten() {
        let path = entry.path();
        let name = match path.extension().and_then(|kind| kind.to_str()) {
            Some("header") => "kept header",
            Some("key") => "keyfile",
            Some("path") => "path hint",
            Some("state") => "state",
            Some("log") => "audit log",
            _ => continue,
        };
        let seed = fs::read(&path).expect("read");
        let home = home.clone();
        targets.push(target(name, vec![seed], move |bytes| {
            fs::write(&path, bytes).expect("write");
            read_keystore(&home.path().join("keys"));
            fs::write(&path, summed(bytes)).expect("write");
            read_keystore(&home.path().join("keys"));
        }));
    }
    targets
}

fn read_keystore(path: &Path) {
    let Ok(keystore) = Keystore::open(Some(path)) else {
        return;
    };
    let log = AuditLog::of(&keystore);
    let _ = log.verify(&mut |_| Some(Secret::random()), None);
    for volume in keystore.volumes().unwrap_or_default() {
        let headers = keystore.headers(&volume);
        let _: Vec<_> = headers
            .iter()
            .map(|header| Header::decode(header))
            .collect();
        let _ = keystore.keyfiles(&volume);
        let _ = keystore.protection(&volume);
        let _ = keystore.path_hint(&volume);
        if let Ok(place) = Place::open(path) {
            let seat = keystore.seat(&volume, &place);
            let _ = keystore.state(&seat, &Secret::random());
        }
    }
}

/// What an earlier salvage left in its destination.
fn journal() -> Target {
    let home: TempDir = tempfile::tempdir().expect("a directory");
    let path = home.path().join(cryptfs::recover::journal::NAME);
    let seed = br#"{"path":"/a","outcome":"complete","bytes":3,"place":"a"}"#.to_vec();
    target("salvage journal", vec![seed], move |bytes| {
        fs::write(&path, bytes).expect("write");
        let top = fs::File::open(home.path()).expect("open");
        let _ = Journal::open(std::os::fd::AsFd::as_fd(&top), home.path());
    })
}

/// Units, names, steps, link targets and attributes of directory volumes.
fn of_directories() -> Vec<Target> {
    let keys = keys();
    let id = FileId([3; 12]);
    let file = keys.file(1, &id.0).expect("epoch 1");
    let head = Head {
        id,
        epoch: 1,
        valid: 4000,
    };
    let mut sealed = vec![0; unit::UNIT];
    unit::seal(&file, 7, &head, &[5; unit::PAYLOAD], &mut sealed);
    let names = Names::new(keys.clone(), NameEncoding::Base64Url);
    let parent = DirId([1; 12]);
    let short = names.file(parent, b"a name");
    let long = names.directory(parent, &[b'n'; 230], DirId([2; 12]));
    let side = long.side.as_ref().map(|side| side.content.clone());
    let side = side.expect("a side file");
    let entry = long.entry.to_bytes().to_vec();
    let entries = vec![short.entry.to_bytes().to_vec(), entry.clone()];
    let mut whole = vec![0; layout::HEADER];
    whole[0] = 1;
    let nonce = [4; 12];
    let link = [&nonce, &keys.links().seal(&[&nonce], b"../to")[..]].concat();
    let value = keys.xattrs().seal(&[b"user.cryptfs.x"], b"\x04userabc");
    let (of_links, of_values) = (keys.clone(), keys.clone());
    vec![
        target("unit", vec![sealed], move |bytes| {
            let page = page(bytes);
            let mut out = vec![0; unit::PAYLOAD];
            let _ = Head::parse(&page);
            let _ = unit::open(&file, id, 1, 7, &page, 0, &mut out);
        }),
        target("unit 0", vec![whole], |bytes| {
            let _ = layout::Header::parse(bytes);
        }),
        target(
            "steps",
            vec![[&[7; 12][..], b"name", &[4]].concat()],
            |bytes| {
                let mut payload = Box::new([0; unit::PAYLOAD]);
                let length = bytes.len().min(unit::PAYLOAD);
                payload[unit::PAYLOAD - length..].copy_from_slice(&bytes[..length]);
                for valid in [0, 1, 4000, unit::PAYLOAD - 1, unit::PAYLOAD] {
                    let _ = hint::read(&payload, valid);
                }
            },
        ),
        target("entry", entries, {
            let entry = entry.clone();
            let names = Names::new(keys.clone(), NameEncoding::Base64Url);
            move |bytes| {
                let _ = names.shape(bytes);
                let _ = names.side(bytes);
                let _ = names.open(parent, bytes, None);
                let _ = names.open(parent, &entry, Some(bytes));
            }
        }),
        target("side file", vec![side], move |bytes| {
            let _ = names.open(parent, &entry, Some(bytes));
        }),
        target("link target", vec![link], move |bytes| {
            let _ = link::open(&of_links, bytes);
            let plain = of_links.links().seal(&[&nonce], bytes);
            let _ = link::open(&of_links, &[&nonce, &plain[..]].concat());
        }),
        target("attribute", vec![value], move |bytes| {
            let name = c"user.cryptfs.x";
            let _ = xattr::open(&of_values, None, name, bytes);
            let plain = of_values.xattrs().seal(&[name.to_bytes()], bytes);
            let _ = xattr::open(&of_values, None, name, &plain);
        }),
    ]
}

/// Nodes, pointers and records of images: behind a tag, but no reason to trust them.
fn of_images() -> Vec<Target> {
    let mut node = Node::new(0);
    for (index, key) in [&b"a"[..], b"bc", b"def"].iter().enumerate() {
        node.insert(index, key, &[7; 90]);
    }
    let mut parent = Node::new(1);
    parent.insert(0, b"", &[9; 56]);
    let nodes = vec![node.seal_form().to_vec(), parent.seal_form().to_vec()];
    let acl = [
        2_u32,
        0x0006_0001,
        u32::MAX,
        0x0004_0004,
        u32::MAX,
        0x0004_0020,
        u32::MAX,
    ];
    let acl: Vec<u8> = acl.iter().flat_map(|word| word.to_le_bytes()).collect();
    vec![
        target("node", nodes, |bytes| {
            let Ok(mut node) = Node::parse(Box::new(page(bytes))) else {
                return;
            };
            for index in 0..node.count() {
                let (key, _) = (node.key(index).to_vec(), node.value(index));
                let _ = (node.find(&key), node.child_index(&key));
                if node.level() > 0 {
                    let _ = node.child(index);
                }
            }
            if node.count() > 1 {
                let right = node.split_off(node.count() / 2);
                node.append(&right);
                node.remove(0);
            }
            node.seal_form();
        }),
        target("pointer", vec![vec![1; 64]], |bytes| {
            if let Some(bytes) = bytes.first_chunk() {
                let _ = Pointer::decode(bytes).map(|pointer| pointer.map(|at| at.encode()));
            }
        }),
        target("access control list", vec![acl], |bytes| {
            let _ = Acl::parse(bytes).map(|acl| acl.encode());
        }),
        target("key", vec![vec![1; 9], vec![2; 20]], |bytes| {
            let _ = key::parse(bytes);
        }),
        target("records", vec![vec![0; 60], vec![1; 90]], |bytes| {
            let _ = codec::decode::<InodeRecord>(bytes);
            let _ = codec::decode::<NameRecord>(bytes);
            let _ = codec::decode::<PositionRecord>(bytes);
            let _ = codec::decode::<SnapshotRecord>(bytes);
            let _ = codec::decode::<StateRecord>(bytes);
        }),
    ]
}
