//! Against an independent reference (Python: cryptography and hashlib), whose values are repeated here.
use super::*;

const VOLUME: &str = "1a843e922fe6ffcfde0d8730eda65cfd";
const VMK: &str = "15d3df1812d3f9721647c7cb05b03bcf7b8322a5111c9fcb1eb29655a441b3e3";
const FVEK: &str = "1387e4721f66e4b23a121d4c0ea08ced65e6c8d029da89e68c07cb9a53ba7f02";
const FVEK_WRAPPED: &str =
    "2a84d15f91b04a3c1dee59cad11a1df7744b6cd79690e42bacc08a3c6e0060251bf806576966bcde";

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let byte = |i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    assert_eq!(text.len(), 2 * N);
    std::array::from_fn(byte)
}

fn secret<const N: usize>(text: &str) -> Secret<N> {
    Secret::fill_with(|out| *out = hex(text))
}

fn slot(public: &str, salt: &str, wrapped: &str, escrow: Option<&str>) -> Protector {
    let mut bytes = [0; SLOT_SIZE];
    bytes[..PUBLIC].copy_from_slice(&hex::<PUBLIC>(public));
    STATE.put(&mut bytes, &[1]);
    SALT.put(&mut bytes, &hex::<32>(salt));
    WRAPPED.put(&mut bytes, &hex::<40>(wrapped));
    if let Some(escrow) = escrow {
        FLAGS.put(&mut bytes, &[HAS_ESCROW]);
        ESCROW.put(&mut bytes, &hex::<24>(escrow));
    }
    let slot = Protector::decode(&bytes).unwrap().unwrap();
    let mut again = [0xee; SLOT_SIZE];
    slot.encode(&mut again);
    assert_eq!(again, bytes);
    slot
}

fn keyfile_slot() -> Protector {
    slot(
        "010000000000000000000000000000006376375456a3f6db02f20f0b86e9b2a3",
        "1890e0467dd92f9443881ec59c474893c0277e589eb6d3c51d75c961f35deb88",
        "655bba74d64d85ff568646194be613cf7fe68b9e0881e963e7e0ec2a030ceccccc56da98ecafcd53",
        None,
    )
}

fn recovery_slot() -> Protector {
    slot(
        "020100000000100000000000000000006520b5c5bf7e5d866f52d40a213b0a82",
        "bbea1a72d0ad082b8f2c5deeb98c49b8f87856cf693c100aff9799d4c9995ecc",
        "b47bf55892ee54dd01a0f5a47fe8a259708debfd4b7b8d62b69a4191cc6c58f88e6372e14651d8c8",
        Some("98c45223cc2e4da9331024432b0193629fa75ccb0f050619"),
    )
}

#[test]
fn the_key_tree_is_the_references() {
    let volume: Uuid = hex(VOLUME);
    let vmk = Vmk::new(&volume, secret(VMK));
    assert_eq!(vmk.wrap_fvek(1, &secret(FVEK)), hex(FVEK_WRAPPED));
    assert_eq!(
        vmk.unwrap_fvek(1, &hex(FVEK_WRAPPED)).unwrap().expose(),
        &hex(FVEK)
    );
    assert!(vmk.unwrap_fvek(2, &hex(FVEK_WRAPPED)).is_err());
    assert_eq!(
        vmk.header_mac().expose(),
        &hex("44976f6dafa139b280d734fbe7342144da70fbd54c47894a4e55bf514ad37bd7")
    );
    assert_eq!(
        vmk.session().expose(),
        &hex("a5c5eaeb24d38455457d63756f2316b56626a0495188cb17b8a050082e4ff8d6")
    );
}

#[test]
fn the_slots_are_the_references() {
    let volume: Uuid = hex(VOLUME);
    let wanted = Vmk::new(&volume, secret(VMK)).header_mac();
    let key = secret("b6d75b86864d41bff53bf619a8090de5a4e6d68ad450df6c068ba97335beb25c");
    let by_key = keyfile_slot();
    let vmk = by_key
        .open(&volume, &Credential::Keyfile(&key, &by_key.id))
        .unwrap();
    assert_eq!(vmk.header_mac().expose(), wanted.expose());

    let text = "681681-290884-259061-425733-054010-680493-300795-320386";
    let password = RecoveryPassword::parse(text).unwrap();
    let by_password = recovery_slot();
    let vmk = by_password
        .open(&volume, &Credential::Recovery(&password))
        .unwrap();
    assert_eq!(vmk.header_mac().expose(), wanted.expose());
    assert_eq!(
        by_password.escrowed(&vmk).unwrap().reveal().to_string(),
        text
    );
}

#[test]
fn a_changed_slot_or_volume_opens_nothing() {
    let volume: Uuid = hex(VOLUME);
    let key = secret("b6d75b86864d41bff53bf619a8090de5a4e6d68ad450df6c068ba97335beb25c");
    let id = keyfile_slot().id;
    let open = |slot: &Protector, volume: &Uuid| {
        slot.open(volume, &Credential::Keyfile(&key, &id)).is_some()
    };
    assert!(open(&keyfile_slot(), &volume));
    assert!(!open(&keyfile_slot(), &[0; 16]));
    let mut bytes = [0; SLOT_SIZE];
    keyfile_slot().encode(&mut bytes);
    for i in 0..WRAPPED.start() + 40 {
        let mut bad = bytes;
        bad[i] ^= 1;
        let opens = Protector::decode(&bad)
            .ok()
            .flatten()
            .is_some_and(|slot| open(&slot, &volume));
        // State and flags are the MAC's business; the escrow flag of a keyfile means nothing.
        assert_eq!(
            opens,
            i == 2 && bad[2] <= 4 && bad[2] > 0 || i == 3,
            "byte {i}"
        );
    }
}

#[test]
fn costs_are_bounded() {
    let volume: Uuid = hex(VOLUME);
    let password = RecoveryPassword::random();
    for cost in [0, u32::MAX] {
        let mut slot = recovery_slot();
        slot.stretch = Stretch::Pbkdf2 { iterations: cost };
        assert!(
            slot.open(&volume, &Credential::Recovery(&password))
                .is_none()
        );
    }
}
