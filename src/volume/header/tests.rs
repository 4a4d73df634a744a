use super::*;
use crate::crypto::kdf::Stretch;
use crate::crypto::secret::Secret;
use crate::volume::protector::{Credential, NewProtector, ProtectorState};
use crate::volume::recovery_password::RecoveryPassword;

const SOME_UUID: Uuid = [9; 16];

fn sample() -> (Header, Vmk, RecoveryPassword) {
    let vmk = Vmk::random(&SOME_UUID);
    let password = RecoveryPassword::random();
    let mut header = Header {
        minor: MINOR,
        uuid: SOME_UUID,
        sequence: 41,
        created: 1,
        written: 2,
        features: Features {
            compat: 1 << 63,
            ..Features::default()
        },
        kind: Kind::Image,
        cipher: Cipher::XtsAes128,
        tag: Algorithm::HmacSha256,
        name_encoding: NameEncoding::Base32Hex,
        label: "büro".to_owned(),
        computer: "host".to_owned(),
        root: [3; 12],
        fveks: [1, 7]
            .map(|epoch| Fvek {
                epoch,
                created: 5,
                wrapped: vmk.wrap_fvek(epoch, &Secret::random()),
            })
            .to_vec(),
        slots: [const { None }; SLOTS],
    };
    let new = NewProtector {
        credential: Credential::Recovery(&password),
        stretch: Stretch::Pbkdf2 { iterations: 1000 },
        state: ProtectorState::Pending,
        escrow: true,
        host: [0; 16],
        description: "safe, 2nd floor",
    };
    header.slots[4] = Some(Protector::new(&SOME_UUID, &vmk, &new).unwrap());
    (header, vmk, password)
}

fn resum(bytes: &mut Image) {
    let sum = digest::sha256(&[&bytes[..CHECKSUM.start()]]);
    CHECKSUM.put(bytes, &sum);
}

#[test]
fn there_and_back() {
    let (header, vmk, password) = sample();
    let bytes = header.encode(&vmk);
    assert_eq!(Header::decode(&bytes[..]), Ok(header.clone()));
    assert!(Header::is_authentic(&bytes, &vmk));
    let slot = header.protectors().next().unwrap();
    let escrowed = slot.escrowed(&vmk).unwrap();
    assert_eq!(escrowed.bytes().expose(), password.bytes().expose());
    let opened = slot
        .open(&SOME_UUID, &Credential::Recovery(&password))
        .unwrap();
    assert!(Header::is_authentic(&bytes, &opened));
}

#[test]
fn every_flipped_byte_is_seen() {
    let (header, vmk, _) = sample();
    let good = header.encode(&vmk);
    for i in 0..SIZE {
        let mut bad = good.clone();
        bad[i] ^= 0x10;
        assert!(
            Header::decode(&bad[..]).is_err(),
            "byte {i} without the checksum's repair"
        );
        if i >= CHECKSUM.start() {
            continue;
        }
        // Whoever changes a header can repair its checksum, not its MAC.
        resum(&mut bad);
        let _ = Header::decode(&bad[..]);
        assert!(!Header::is_authentic(&bad, &vmk), "byte {i} with it");
    }
}

#[test]
fn every_cut_is_seen() {
    let (header, vmk, _) = sample();
    let good = header.encode(&vmk);
    for length in 0..SIZE {
        assert_eq!(
            Header::decode(&good[..length]),
            Err(HeaderError::Length(length as u64))
        );
    }
}

/// Changes fields as an attacker or a newer cryptfs could, with the checksum put right.
fn changed(change: impl FnOnce(&mut Image)) -> HeaderError {
    let (header, vmk, _) = sample();
    let mut bytes = header.encode(&vmk);
    change(&mut bytes);
    resum(&mut bytes);
    Header::decode(&bytes[..]).unwrap_err()
}

#[test]
fn what_is_unknown_is_named() {
    let version = changed(|b| VERSION_MAJOR.put(&mut b[..], &2u16.to_le_bytes()));
    assert!(version.is_unsupported());
    assert_eq!(
        version.to_string(),
        "format version 2.0 is unknown (this cryptfs knows 1.x)"
    );
    let feature = changed(|b| INCOMPAT.put(&mut b[..], &0x12u64.to_le_bytes()));
    assert!(feature.is_unsupported());
    assert!(
        feature
            .to_string()
            .ends_with("incompat bit 1, incompat bit 4")
    );
    for (place, name) in [
        (KIND, "volume kind"),
        (PROFILE, "profile"),
        (CIPHER, "content cipher"),
        (TAG, "tag algorithm"),
        (NAME_CIPHER, "name cipher"),
        (NAME_ENCODING, "name encoding"),
    ] {
        for value in [0, 9] {
            let error = changed(|b| place.put(&mut b[..], &[value]));
            assert_eq!(error.to_string(), format!("{name} {value} is unknown"));
        }
    }
}

#[test]
fn reserved_bytes_are_zero() {
    for place in [RESERVED1, RESERVED2, RESERVED3, RESERVED4, RESERVED5] {
        let error = changed(|b| b[place.start()] = 1);
        assert_eq!(error, HeaderError::Reserved("header"));
    }
    let slot = SLOT_TABLE.start() + 4 * SLOT_SIZE;
    assert_eq!(
        changed(|b| b[slot + 1000] = 1),
        HeaderError::Reserved("key protector")
    );
    assert_eq!(
        changed(|b| b[FVEKS.start() + 4] = 1),
        HeaderError::Reserved("key table")
    );
}

#[test]
fn the_key_table_is_in_order() {
    let epoch = |i: usize| FVEKS.start() + i * FVEK_SIZE;
    assert_eq!(changed(|b| b[epoch(0)] = 7), HeaderError::KeyTable);
    assert_eq!(changed(|b| b[epoch(0)] = 0), HeaderError::KeyTable);
    assert_eq!(changed(|b| b[epoch(3)] = 9), HeaderError::KeyTable);
    assert_eq!(
        changed(|b| b[epoch(0) + 1] = 1).to_string(),
        "key state 1 is unknown"
    );
}

#[test]
fn text_cannot_drive_the_terminal() {
    let error = changed(|b| LABEL.put_text(&mut b[..], "\x1b[2J"));
    assert_eq!(error, HeaderError::Text("label"));
}

proptest::proptest! {
    /// Any bytes behind a right frame: an error or a header, never a panic.
    #[test]
    fn noise(at in 80usize..MAC.start(), noise in proptest::collection::vec(proptest::num::u8::ANY, 1..600)) {
        let (header, vmk, _) = sample();
        let mut bytes = header.encode(&vmk);
        let end = (at + noise.len()).min(MAC.start());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        resum(&mut bytes);
        if let Ok(decoded) = Header::decode(&bytes[..]) {
            for slot in decoded.protectors().filter(|p| p.kind == crate::volume::ProtectorKind::Keyfile) {
                let key = Secret::random();
                assert!(slot.open(&decoded.uuid, &Credential::Keyfile(&key, &slot.id)).is_none());
            }
        }
    }
}
