//! Sizes as people type them.

/// Bytes: a whole number, with K, M, G or T for powers of 1024.
///
/// # Errors
/// Anything else, and what does not fit into 64 bits.
pub fn parse(text: &str) -> Result<u64, String> {
    let (digits, power) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 2),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 3),
        Some(b'T' | b't') => (&text[..text.len() - 1], 4),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << (10 * power)))
        .ok_or_else(|| "a size is a whole number of bytes, or one with K, M, G or T".to_owned())
}

#[test]
fn sizes() {
    assert_eq!(parse("4096"), Ok(4096));
    assert_eq!(parse("20G"), Ok(20 << 30));
    assert_eq!(parse("1t"), Ok(1 << 40));
    for wrong in ["", "G", "-1", "1.5G", "1GB", "99999999999T"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
