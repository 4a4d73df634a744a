//! Vectors: a round trip cannot see a wrong cipher, these can.
//!
//! | file | from |
//! | --- | --- |
//! | nist-xts.txt | NIST CAVP |
//! | ieee1619-xts.txt | IEEE 1619-2018 |
//! | key-tree.json | an independent Python reference: credentials, slots, VMK, FVEK |
//! | layouts.json | vectors/make.py: what the format's own constructions give |
use cryptfs::crypto::digest::{hmac_sha256, sha256};
use cryptfs::crypto::kdf::{Label, Prk, Stretch};
use cryptfs::crypto::secret::Secret;
use cryptfs::crypto::siv::Siv;
use cryptfs::crypto::tag::{Algorithm, TagKey};
use cryptfs::crypto::wrap;
use cryptfs::crypto::xts::{Cipher, XtsKey};
use data_encoding::HEXLOWER;
use serde_json::Value;

fn layouts() -> Value {
    serde_json::from_str(include_str!("vectors/layouts.json")).unwrap()
}

fn key_tree() -> Value {
    serde_json::from_str(include_str!("vectors/key-tree.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list of vectors");
    assert!(!list.is_empty());
    list
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string in a vector")
}

fn number(value: &Value) -> u32 {
    let number = value.as_u64().expect("a number in a vector");
    number.try_into().unwrap()
}

/// Numbers that JSON readers would round stand as strings.
fn unit(value: &Value) -> u64 {
    text(value).parse().unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(text(value))
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("a vector of this length")
}

fn secret<const N: usize>(value: &Value) -> Secret<N> {
    Secret::fill_with(|key| *key = array(value))
}

fn cipher(name: &str) -> Cipher {
    match name {
        "xts-aes-256" => Cipher::XtsAes256,
        "xts-aes-128" => Cipher::XtsAes128,
        _ => panic!("unknown cipher {name}"),
    }
}

/// The key by every kernel that this machine has.
fn kernels(name: &str, key: &[u8]) -> [XtsKey; 2] {
    let padded = Secret::fill_with(|bytes| bytes[..key.len()].copy_from_slice(key));
    [
        XtsKey::new(cipher(name), &padded).unwrap(),
        XtsKey::portable(cipher(name), &padded).unwrap(),
    ]
}

/// The xts-mode crate's answer: a vector with a slip in it must not pass for a bug of ours.
fn xts_oracle(key: &[u8], unit: u64, plain: &[u8]) -> Vec<u8> {
    use aes::cipher::KeyInit;
    let mut out = plain.to_vec();
    let tweak = xts_mode::get_tweak_default(unit.into());
    let (data, twist) = key.split_at(key.len() / 2);
    if data.len() == 32 {
        let aes = |key| aes::Aes256::new_from_slice(key).unwrap();
        xts_mode::Xts128::new(aes(data), aes(twist)).encrypt_sector(&mut out, tweak);
    } else {
        let aes = |key| aes::Aes128::new_from_slice(key).unwrap();
        xts_mode::Xts128::new(aes(data), aes(twist)).encrypt_sector(&mut out, tweak);
    }
    out
}

#[test]
fn xts_standards() {
    let files = [
        (include_str!("vectors/nist-xts.txt"), 80),
        (include_str!("vectors/ieee1619-xts.txt"), 4),
    ];
    for (file, count) in files {
        let lines: Vec<_> = file.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), count);
        for line in lines {
            let [name, key, unit, plain, sealed] =
                <[&str; 5]>::try_from(line.split(' ').collect::<Vec<_>>()).unwrap();
            let unit = unit.parse().unwrap();
            let [key, plain, sealed] = [key, plain, sealed].map(unhex);
            assert_eq!(xts_oracle(&key, unit, &plain), sealed, "vector: {line}");
            for xts in kernels(name, &key) {
                let mut out = vec![0; plain.len()];
                xts.encrypt(unit, &plain, &mut out);
                assert_eq!(out, sealed, "{}: {line}", xts.kernel_name());
                xts.decrypt(unit, &sealed, &mut out);
                assert_eq!(out, plain, "{}: {line}", xts.kernel_name());
            }
        }
    }
}

#[test]
fn key_tree_slots_open_the_vmk() {
    let tree = key_tree();
    let uuid = bytes(&tree["volume"]["uuid"]);
    let vmk = secret::<32>(&tree["volume"]["vmk"]);
    for slot in list(&tree["slots"]) {
        let public = bytes(&slot["public"]);
        let cost = |at: usize| u32::from_le_bytes(public[at..at + 4].try_into().unwrap());
        let stretch = match public[1] {
            0 => Stretch::None,
            1 => Stretch::Pbkdf2 {
                iterations: cost(4),
            },
            kdf => panic!("unknown kdf {kdf}"),
        };
        let salt = array(&slot["salt"]);
        let stretched = stretch.run(&bytes(&slot["credential"]), &salt).unwrap();
        assert_eq!(stretched.expose()[..], bytes(&slot["stretched"]));

        let context: [&[u8]; 2] = [&uuid, &sha256(&[&public])];
        let kek = Prk::extract(&salt, stretched.expose()).expand::<32>(Label::Kek, &context);
        assert_eq!(kek.expose()[..], bytes(&slot["kek"]));

        let wrapped = array(&slot["wrapped_vmk"]);
        assert_eq!(wrap::wrap32(&kek, &vmk), wrapped);
        let opened = wrap::unwrap32(&kek, &wrapped).unwrap();
        assert_eq!(opened.expose(), vmk.expose());

        if let Some(escrow) = slot.get("escrow") {
            let password = secret::<16>(&slot["credential"]);
            let context = bytes(&slot["slot_uuid"]);
            let key = Prk::extract(&uuid, vmk.expose()).expand(Label::Escrow, &[&context]);
            assert_eq!(wrap::wrap16(&key, &password), array(escrow));
            let opened = wrap::unwrap16(&key, &array(escrow)).unwrap();
            assert_eq!(opened.expose(), password.expose());
        }
    }
}

#[test]
fn key_tree_below_the_vmk() {
    let tree = key_tree();
    let volume = &tree["volume"];
    let vmk = secret::<32>(&volume["vmk"]);
    let prk = Prk::extract(&bytes(&volume["uuid"]), vmk.expose());
    let epoch = u16::try_from(number(&volume["epoch"])).unwrap();
    let subkeys: [(&str, Label, &[u8]); 4] = [
        ("header-mac", Label::HeaderMac, &[]),
        ("fvek-wrap/1", Label::FvekWrap, &epoch.to_le_bytes()),
        ("audit", Label::Audit, &[]),
        ("session", Label::Session, &[]),
    ];
    for (name, label, context) in subkeys {
        let key: Secret<32> = prk.expand(label, &[context]);
        let expected = bytes(&tree["vmk_subkeys"][name]);
        assert_eq!(key.expose()[..], expected, "{name}");
    }
    let fvek = secret::<32>(&volume["fvek"]);
    let wrapping = prk.expand(Label::FvekWrap, &[&epoch.to_le_bytes()]);
    let wrapped = array(&tree["fvek_wrapped"]);
    assert_eq!(wrap::wrap32(&wrapping, &fvek), wrapped);
    let opened = wrap::unwrap32(&wrapping, &wrapped).unwrap();
    assert_eq!(opened.expose(), fvek.expose());
}

/// Every label; the count must agree with layouts.json.
const LABELS: [Label; 14] = [
    Label::Kek,
    Label::HeaderMac,
    Label::FvekWrap,
    Label::Audit,
    Label::Session,
    Label::Escrow,
    Label::Content,
    Label::Tag,
    Label::Name,
    Label::Link,
    Label::Xattr,
    Label::XattrName,
    Label::Page,
    Label::PageTag,
];

#[test]
fn hkdf_outputs_of_every_label() {
    let vectors = &layouts()["hkdf"];
    let prk = Prk::extract(&bytes(&vectors["salt"]), &bytes(&vectors["ikm"]));
    let context = bytes(&vectors["context"]);
    assert_eq!(vectors["keys"].as_object().unwrap().len(), LABELS.len());
    for label in LABELS {
        let expected = bytes(&vectors["keys"][label.text()]);
        let key: Secret<64> = prk.expand(label, &[&context]);
        assert_eq!(key.expose()[..], expected, "{label:?}");
        let key: Secret<32> = prk.expand(label, &[&context[..5], &context[5..]]);
        assert_eq!(key.expose()[..], expected[..32], "{label:?}");
        let key: Secret<48> = prk.expand(label, &[]);
        let expected = bytes(&vectors["without_context"][label.text()]);
        assert_eq!(key.expose()[..], expected, "{label:?}");
    }
}

#[test]
fn stretched_credentials() {
    let vectors = &layouts()["stretch"];
    let (credential, salt) = (bytes(&vectors["credential"]), array(&vectors["salt"]));
    let pbkdf2 = list(&vectors["pbkdf2"]).iter().map(|vector| {
        let iterations = number(&vector["iterations"]);
        (Stretch::Pbkdf2 { iterations }, bytes(&vector["key"]))
    });
    let argon2id = list(&vectors["argon2id"]).iter().map(|vector| {
        let stretch = Stretch::Argon2id {
            passes: number(&vector["passes"]),
            memory_kib: number(&vector["memory_kib"]),
            lanes: number(&vector["lanes"]),
        };
        (stretch, bytes(&vector["key"]))
    });
    for (stretch, expected) in pbkdf2.chain(argon2id) {
        let key = stretch.run(&credential, &salt).unwrap();
        assert_eq!(key.expose()[..], expected, "{stretch:?}");
    }
}

#[test]
fn content_of_a_unit() {
    let vectors = layouts();
    let plain = bytes(&vectors["unit"]["plain"]);
    assert_eq!(plain.len(), 4064);
    for vector in list(&vectors["xts"]) {
        let (key, unit) = (bytes(&vector["key"]), unit(&vector["unit"]));
        for xts in kernels(text(&vector["cipher"]), &key) {
            let mut sealed = vec![0; plain.len()];
            xts.encrypt(unit, &plain, &mut sealed);
            assert_eq!(sealed[..32], bytes(&vector["first_blocks"]));
            assert_eq!(sealed[4048..], bytes(&vector["last_block"]));
            assert_eq!(sha256(&[&sealed])[..], bytes(&vector["sha256"]));
            let mut opened = vec![0; plain.len()];
            xts.decrypt(unit, &sealed, &mut opened);
            assert_eq!(opened, plain);
        }
    }
}

#[test]
fn tag_of_a_unit() {
    let vectors = layouts();
    let all = bytes(&vectors["ciphertext"]);
    for vector in list(&vectors["tag"]) {
        let algorithm = match text(&vector["algorithm"]) {
            "polyval-aes256" => Algorithm::PolyvalAes256,
            "hmac-sha256" => Algorithm::HmacSha256,
            name => panic!("unknown tag algorithm {name}"),
        };
        let ciphertext = &all[..number(&vector["length"]) as usize];
        let key = TagKey::new(algorithm, &secret(&vector["key"]));
        let (index, head) = (unit(&vector["index"]), array(&vector["head"]));
        let expected = array(&vector["tag"]);
        assert_eq!(key.tag(index, &head, ciphertext), expected, "{vector}");
        assert!(key.verify(&expected, index, &head, ciphertext));
    }
}

/// The definition, once more by hand: HMAC's tag is the front of HMAC over the listed parts.
#[test]
fn hmac_tag_is_hmac() {
    let material = Secret::fill_with(|key| key[16..].fill(9));
    let mac_key = Secret::fill_with(|key| key.fill(9));
    let tag = TagKey::new(Algorithm::HmacSha256, &material).tag(3, &[1; 16], &[2; 32]);
    let [index, length] = [3u64, 32].map(u64::to_le_bytes);
    let full = hmac_sha256(&mac_key, &[&index, &length, &[1; 16], &[2; 32]]);
    assert_eq!(tag[..], full[..16]);
}

#[test]
fn sealed_names() {
    for vector in list(&layouts()["siv"]) {
        let siv = Siv::new(&secret(&vector["key"]));
        let strings: Vec<_> = list(&vector["associated"]).iter().map(bytes).collect();
        let strings: Vec<_> = strings.iter().map(Vec::as_slice).collect();
        let (plain, sealed) = (bytes(&vector["plain"]), bytes(&vector["sealed"]));
        assert_eq!(siv.seal(&strings, &plain), sealed);
        assert_eq!(siv.open(&strings, &sealed).unwrap(), plain);
    }
}
