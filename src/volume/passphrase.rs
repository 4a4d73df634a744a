//! What a passphrase is, whatever keyboard it is typed on.
//!
//! Computers spell one letter in several ways: an umlaut is one character on Linux, and a letter and a mark when it comes
//! from macOS. RFC 8265 (OpaqueString) makes them the same: spaces of any kind are U+0020, and the text is in
//! normalization form C. Volumes were made before that was done here, so the bytes as they were typed are tried too.
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Returns the bytes that a passphrase stands for. What is not text is taken as it is.
pub fn prepared(typed: &[u8]) -> Zeroizing<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(typed) else {
        return Zeroizing::new(typed.to_vec());
    };
    // Large enough from the start, so that no copy stays where the vector grew. NFC is at most three times as long.
    let mut out = Zeroizing::new(Vec::with_capacity(typed.len() * 3 + 4));
    for c in text
        .chars()
        .map(|c| if is_space(c) { ' ' } else { c })
        .nfc()
    {
        let mut bytes = [0; 4];
        out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
    }
    out
}

/// The characters of Unicode's category Zs.
fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

#[cfg(test)]
mod tests {
    use super::prepared;

    #[test]
    fn one_passphrase_from_every_keyboard() {
        let composed = prepared("Gr\u{fc}\u{df}e aus K\u{f6}ln".as_bytes());
        assert_eq!(
            composed,
            prepared("Gru\u{308}\u{df}e\u{a0}aus Ko\u{308}ln".as_bytes())
        );
        assert_eq!(*composed, "Gr\u{fc}\u{df}e aus K\u{f6}ln".as_bytes());
        assert_eq!(*prepared(b"correct horse"), b"correct horse");
        assert_eq!(*prepared(&[0xff, 0x20]), [0xff, 0x20]);
        // The longest growth that NFC has.
        assert_eq!(prepared("\u{fb2c}".as_bytes()).len(), 6);
    }
}
