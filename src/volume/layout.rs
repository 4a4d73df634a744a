//! Fixed places in fixed bytes, little-endian: how the header, its slots and the key files are drawn.

/// A field: where it begins and how many bytes it has. Every buffer it is used on is an array that the field's layout
/// covers exactly (see [`covers`]), so the slicing cannot panic.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    at: usize,
    len: usize,
}

/// Shorthand for the tables of fields.
pub(crate) const fn field(at: usize, len: usize) -> Field {
    Field { at, len }
}

/// True when the fields follow each other without gap or overlap and end at `size`: asserted at compile time.
pub(crate) const fn covers(fields: &[Field], size: usize) -> bool {
    let (mut i, mut end) = (0, 0);
    while i < fields.len() {
        if fields[i].at != end {
            return false;
        }
        end += fields[i].len;
        i += 1;
    }
    end == size
}

impl Field {
    pub(crate) const fn start(self) -> usize {
        self.at
    }

    pub(crate) fn get(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at..self.at + self.len]
    }

    pub(crate) fn get_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        &mut bytes[self.at..self.at + self.len]
    }

    pub(crate) fn put(self, bytes: &mut [u8], value: &[u8]) {
        self.get_mut(bytes).copy_from_slice(value);
    }

    /// The field as an array; `N` is the field's length.
    pub(crate) fn array<const N: usize>(self, bytes: &[u8]) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(self.get(bytes));
        out
    }

    pub(crate) fn u8(self, bytes: &[u8]) -> u8 {
        self.array::<1>(bytes)[0]
    }

    pub(crate) fn u16(self, bytes: &[u8]) -> u16 {
        u16::from_le_bytes(self.array(bytes))
    }

    pub(crate) fn u32(self, bytes: &[u8]) -> u32 {
        u32::from_le_bytes(self.array(bytes))
    }

    pub(crate) fn u64(self, bytes: &[u8]) -> u64 {
        u64::from_le_bytes(self.array(bytes))
    }

    /// The offset of the first byte that is not zero.
    pub(crate) fn not_zero(self, bytes: &[u8]) -> Option<usize> {
        let inside = self.get(bytes).iter().position(|&b| b != 0)?;
        Some(self.at + inside)
    }

    /// UTF-8 padded with NUL. `None` for anything else, control characters included: a hostile label must not drive the
    /// terminal that shows it.
    pub(crate) fn text(self, bytes: &[u8]) -> Option<String> {
        let raw = self.get(bytes);
        let end = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
        if raw[end..].iter().any(|&b| b != 0) {
            return None;
        }
        let text = std::str::from_utf8(&raw[..end]).ok()?;
        is_plain(text).then(|| text.to_owned())
    }

    /// Writes `text`, cut to what fits.
    pub(crate) fn put_text(self, bytes: &mut [u8], text: &str) {
        let text = fit(text, self.len);
        let place = self.get_mut(bytes);
        place.fill(0);
        place[..text.len()].copy_from_slice(text.as_bytes());
    }
}

/// True for text without control characters and without the marks that turn the direction of writing.
pub(crate) fn is_plain(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// As much of `text` as has at most `size` bytes.
pub(crate) fn fit(text: &str, size: usize) -> &str {
    let mut end = text.len().min(size);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_overlaps_are_seen() {
        assert!(covers(&[field(0, 4), field(4, 4)], 8));
        assert!(!covers(&[field(0, 4), field(5, 3)], 8));
        assert!(!covers(&[field(0, 4), field(3, 5)], 8));
        assert!(!covers(&[field(0, 4), field(4, 3)], 8));
    }

    #[test]
    fn text_is_cut_between_characters_and_free_of_control() {
        let place = field(0, 4);
        let mut bytes = [0xff; 4];
        place.put_text(&mut bytes, "abcö");
        assert_eq!(place.text(&bytes).as_deref(), Some("abc"));
        assert_eq!(place.text(b"a\x1b\0\0"), None);
        assert_eq!(place.text(b"a\0b\0"), None);
        assert_eq!(place.text(b"\xff\0\0\0"), None);
    }
}
