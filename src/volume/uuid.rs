//! UUIDs (RFC 9562, version 4): volumes, and key protectors (a recovery password's UUID is its password ID).
use super::keys::Uuid;
use crate::crypto::random;

/// A new random UUID.
pub fn random() -> Uuid {
    let mut bytes: Uuid = random::bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// The usual form, 36 characters in lower case.
pub fn text(uuid: &Uuid) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The first 8 characters: how a password ID is shown.
pub fn short(uuid: &Uuid) -> String {
    text(uuid).chars().take(8).collect()
}

/// Reads the usual form.
pub fn parse(text_form: &str) -> Option<Uuid> {
    if text_form.len() != 36 || !text_form.is_ascii() {
        return None;
    }
    let digits: String = text_form.chars().filter(|&c| c != '-').collect();
    let mut out = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    // Hyphens elsewhere, signs and other spellings do not come back as they were.
    text_form.eq_ignore_ascii_case(&text(&out)).then_some(out)
}

/// True when `id` begins with `prefix`, hyphens and case aside.
pub fn has_prefix(id: &Uuid, prefix: &str) -> bool {
    let plain = |s: &str| s.replace('-', "").to_ascii_lowercase();
    plain(&text(id)).starts_with(&plain(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = random();
        assert_eq!(parse(&text(&id)), Some(id));
        assert_eq!(parse(&text(&id).to_uppercase()), Some(id));
        assert!(has_prefix(&id, &short(&id).to_uppercase()));
        assert_eq!(text(&id).as_bytes()[14], b'4');
        for bad in [
            "",
            "0",
            "+0000000-0000-0000-0000-000000000000",
            "000000000000-0000-0000-0000-00000000",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
