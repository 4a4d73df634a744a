//! The recovery password: 16 random bytes in exactly BitLocker's form.
//!
//! Eight little-endian u16, each times 11, six digits each, joined by "-". The factor is the check digit: a wrong digit or
//! two neighbours exchanged no longer divide by 11, so each group is judged as soon as it is typed.
use crate::crypto::secret::Secret;
use std::fmt;

/// Groups in a password.
pub const GROUPS: usize = 8;
/// Digits in a group.
pub const DIGITS: usize = 6;
const TEXT: usize = GROUPS * DIGITS + GROUPS - 1;

/// What is wrong with a group. Never says what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not six digits.
    #[error("{0} digits instead of 6")]
    Length(usize),
    /// Something that is neither digit nor separator.
    #[error("a character that is not a digit")]
    Character,
    /// Not a multiple of 11.
    #[error("the check digits do not match")]
    Check,
    /// 720896 or more.
    #[error("the number is too large")]
    TooLarge,
}

/// Why typed text is not a recovery password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A group is wrong; groups count from 1.
    #[error("group {group}: {fault}")]
    Group {
        /// Which one.
        group: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Fewer than eight groups.
    #[error("{0} of 8 groups")]
    TooFew(usize),
    /// More than eight groups.
    #[error("more than 8 groups")]
    TooMany,
}

/// A recovery password. Shown only through [`RecoveryPassword::reveal`].
#[derive(Debug)]
pub struct RecoveryPassword(Secret<16>);

impl RecoveryPassword {
    /// A new one.
    pub fn random() -> Self {
        Self(Secret::random())
    }

    /// From the 16 bytes that it stands for.
    pub fn from_bytes(bytes: Secret<16>) -> Self {
        Self(bytes)
    }

    /// The 16 bytes that it stands for.
    pub fn bytes(&self) -> &Secret<16> {
        &self.0
    }

    /// Reads all eight groups at once.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut entry = Entry::default();
        entry.push(text)?;
        entry.finish()
    }

    /// The text to show to the person. Write the audit log first.
    pub fn reveal(&self) -> Revealed {
        Revealed(Secret::fill_with(|text: &mut [u8; TEXT]| {
            text.fill(b'-');
            for (group, pair) in self.0.expose().as_chunks::<2>().0.iter().enumerate() {
                let mut rest = u32::from(u16::from_le_bytes(*pair)) * 11;
                for digit in text[group * (DIGITS + 1)..][..DIGITS].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
        }))
    }

    /// This password with two groups exchanged, for all pairs that differ, neighbours first: what a person who read the
    /// sheet in the wrong order has typed.
    pub fn swapped(&self) -> impl Iterator<Item = Self> + '_ {
        let pairs = (1..GROUPS).flat_map(|gap| (0..GROUPS - gap).map(move |i| (i, i + gap)));
        pairs.filter_map(|(a, b)| {
            let bytes = self.0.expose();
            (bytes[2 * a..2 * a + 2] != bytes[2 * b..2 * b + 2]).then(|| {
                Self(Secret::fill_with(|out: &mut [u8; 16]| {
                    out.copy_from_slice(bytes);
                    out.swap(2 * a, 2 * b);
                    out.swap(2 * a + 1, 2 * b + 1);
                }))
            })
        })
    }
}

/// A recovery password's text: 8 groups of 6 digits. Wiped when dropped.
pub struct Revealed(Secret<TEXT>);

impl fmt::Display for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.0.expose()).map_err(|_| fmt::Error)?)
    }
}

/// A password while it is being typed, group after group.
pub struct Entry {
    // Boxed keys, each wiped on drop; pushing moves pointers only.
    groups: Vec<Secret<2>>,
    wanted: usize,
}

impl Default for Entry {
    fn default() -> Self {
        Self::of(GROUPS)
    }
}

impl Entry {
    /// Of so many groups: a password has [`GROUPS`].
    pub(crate) fn of(wanted: usize) -> Self {
        let groups = Vec::new();
        Self { groups, wanted }
    }

    /// The number that a group stands for.
    pub(crate) fn group(&self, index: usize) -> Option<&Secret<2>> {
        self.groups.get(index)
    }

    /// Takes one group or more: with spaces, hyphens and dashes of any kind, ASCII or full-width digits, several groups in
    /// one piece, or a text that holds all groups, as a line of the sheet or the whole sheet. On an error the groups
    /// before the wrong one are kept. Returns the number of groups so far.
    pub fn push(&mut self, text: &str) -> Result<usize, ParseError> {
        let text = match run_of_groups(text, self.wanted) {
            Some(run) if self.groups.is_empty() => run,
            _ => text,
        };
        for piece in text.split(is_separator).filter(|piece| !piece.is_empty()) {
            let length = piece.chars().count();
            let groups = if length.is_multiple_of(DIGITS) {
                DIGITS
            } else {
                length
            };
            let mut digits = piece.chars().peekable();
            while digits.peek().is_some() {
                if self.groups.len() == self.wanted {
                    return Err(ParseError::TooMany);
                }
                self.group_of(digits.by_ref().take(groups))?;
            }
        }
        Ok(self.groups.len())
    }

    /// Groups taken so far.
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    /// The password, once all groups are there.
    pub fn finish(self) -> Result<RecoveryPassword, ParseError> {
        if self.groups.len() < GROUPS {
            return Err(ParseError::TooFew(self.groups.len()));
        }
        Ok(RecoveryPassword(Secret::fill_with(|out: &mut [u8; 16]| {
            for (place, group) in out.as_chunks_mut::<2>().0.iter_mut().zip(&self.groups) {
                place.copy_from_slice(group.expose());
            }
        })))
    }

    fn group_of(&mut self, digits: impl Iterator<Item = char>) -> Result<(), ParseError> {
        let (mut value, mut length) = (0u32, 0);
        for c in digits {
            let digit = digit(c).ok_or_else(|| self.wrong(Fault::Character))?;
            value = value.saturating_mul(10).saturating_add(digit);
            length += 1;
        }
        if length != DIGITS {
            return Err(self.wrong(Fault::Length(length)));
        }
        if value % 11 != 0 {
            return Err(self.wrong(Fault::Check));
        }
        let group = u16::try_from(value / 11).map_err(|_| self.wrong(Fault::TooLarge))?;
        self.groups
            .push(Secret::fill_with(|out| *out = group.to_le_bytes()));
        Ok(())
    }

    fn wrong(&self, fault: Fault) -> ParseError {
        ParseError::Group {
            group: self.groups.len() + 1,
            fault,
        }
    }
}

/// Whether a text holds a whole recovery password, whatever stands around it.
pub fn holds_password(text: &str) -> bool {
    run_of_groups(text, GROUPS).is_some()
}

/// The part of a text that is `wanted` groups of six digits with nothing but separators between them, and no letter or
/// digit beside it: dates and IDs on a sheet have no such run.
fn run_of_groups(text: &str, wanted: usize) -> Option<&str> {
    let (mut groups, mut digits, mut start) = (0, 0, 0);
    let mut broken = false;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if digit(c).is_some() {
            if groups == 0 && digits == 0 {
                start = at;
            }
            digits += 1;
            continue;
        }
        let separator = is_separator(c);
        if digits == DIGITS && !broken && (separator || is_quote(c)) {
            groups += 1;
            if groups == wanted && !begins_with_group(&text[at..]) {
                return Some(&text[start..at]);
            }
        } else if digits > 0 {
            groups = 0;
        }
        digits = 0;
        if !separator {
            groups = 0;
        }
        // A digit after a letter belongs to the letter's word: it is part of an ID.
        broken = !separator && !is_quote(c);
    }
    None
}

/// Returns true if another group follows: then it cannot be told which of them are meant.
fn begins_with_group(text: &str) -> bool {
    let rest = text.trim_start_matches(is_separator).chars();
    rest.take_while(|c| digit(*c).is_some()).count() == DIGITS
}

fn is_quote(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '`' | ':' | '(' | ')' | '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}'
    )
}

/// ASCII digits, and the full-width ones of East Asian input methods.
fn digit(c: char) -> Option<u32> {
    match c {
        '\u{ff10}'..='\u{ff19}' => Some(u32::from(c) - 0xff10),
        _ => c.to_digit(10),
    }
}

/// Spaces, hyphens and dashes as keyboards, PDF files and word processors write them, and invisible marks of the clipboard.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '_' | '.' | ',' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}'
                | '\u{ff0d}' | '\u{30fc}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITLOCKER: &str = "235818-357951-253979-013365-241120-245575-342914-591910";

    fn key(text: &str) -> String {
        let password = RecoveryPassword::parse(text).expect(text);
        password
            .0
            .expose()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    #[test]
    fn vectors() {
        for (text, hex) in [
            (BITLOCKER, "be531d7f315abf04a0553557c67932d2"),
            (
                "404558-436711-420860-678557-638220-018909-039941-695321",
                "aa8f159b7495f7f0a4e2b7062f0eebf6",
            ),
            (
                "000000-000000-000000-000000-000000-000000-000000-000000",
                "00000000000000000000000000000000",
            ),
            (
                "720885-720885-720885-720885-720885-720885-720885-720885",
                "ffffffffffffffffffffffffffffffff",
            ),
        ] {
            assert_eq!(key(text), hex);
            assert_eq!(
                RecoveryPassword::parse(text).unwrap().reveal().to_string(),
                text
            );
        }
    }

    #[test]
    fn what_people_type() {
        let wanted = key(BITLOCKER);
        assert_eq!(key(&BITLOCKER.replace('-', "")), wanted);
        assert_eq!(key(&BITLOCKER.replace('-', " – ")), wanted);
        assert_eq!(
            key(&format!("  {}\n", BITLOCKER.replace('-', "\u{2212}"))),
            wanted
        );
        let wide: String = BITLOCKER
            .chars()
            .map(|c| {
                c.to_digit(10)
                    .map_or('\u{ff0d}', |d| char::from_u32(0xff10 + d).unwrap())
            })
            .collect();
        assert_eq!(key(&wide), wanted);
    }

    #[test]
    fn what_people_paste() {
        let wanted = key(BITLOCKER);
        for pasted in [
            format!("Recovery password:  {BITLOCKER}"),
            format!("\"{BITLOCKER}\""),
            format!("\u{201c}{BITLOCKER}\u{201d}\n"),
            format!(
                "cryptfs 2026-11-28\nPassword ID: 123456-7890ab 464e5ab2-1234-5678-1234-123456123456\n\nRecovery \
                 password: {BITLOCKER}\nkeep 654321 it\n"
            ),
            BITLOCKER.replacen('-', "", 1),
            BITLOCKER
                .replace("-253979-", "253979")
                .replace("-241120-", "241120"),
        ] {
            assert_eq!(key(&pasted), wanted, "{pasted}");
        }
        assert!(!holds_password(&BITLOCKER[..48]));
        assert!(!holds_password("Recovery password: 235818"));
    }

    #[test]
    fn the_wrong_group_is_named() {
        let fault = |text: &str| RecoveryPassword::parse(text).unwrap_err();
        let at = |group, fault| ParseError::Group { group, fault };
        let zero = "-000000-000000-000000-000000-000000-000000-000000";
        assert_eq!(fault(&format!("720896{zero}")), at(1, Fault::TooLarge));
        assert_eq!(fault(&format!("000012{zero}")), at(1, Fault::Check));
        assert_eq!(
            fault(&format!("000000{zero}").replace(
                "-000000-000000-000000-000000-000000-000000-000000",
                "-000000-000000-000000-000000-000000-000000-000011x"
            )),
            at(8, Fault::Character)
        );
        assert_eq!(
            fault(&BITLOCKER.replace("253979", "253978")),
            at(3, Fault::Check)
        );
        assert_eq!(
            fault(&BITLOCKER.replace("253979", "25397")),
            at(3, Fault::Length(5))
        );
        assert_eq!(fault(&BITLOCKER[..27]), ParseError::TooFew(4));
        assert_eq!(fault(&format!("{BITLOCKER}-000000")), ParseError::TooMany);
        assert_eq!(fault(""), ParseError::TooFew(0));
    }

    #[test]
    fn every_wrong_digit_and_every_neighbour_exchanged_is_seen() {
        let digits: Vec<char> = BITLOCKER.chars().collect();
        for i in (0..digits.len()).filter(|i| digits[*i] != '-') {
            for new in '0'..='9' {
                let mut typed = digits.clone();
                typed[i] = new;
                let typed: String = typed.into_iter().collect();
                assert_eq!(RecoveryPassword::parse(&typed).is_ok(), new == digits[i]);
            }
            if digits
                .get(i + 1)
                .is_some_and(|c| *c != '-' && *c != digits[i])
            {
                let mut typed = digits.clone();
                typed.swap(i, i + 1);
                let typed: String = typed.into_iter().collect();
                assert!(RecoveryPassword::parse(&typed).is_err());
            }
        }
    }

    #[test]
    fn group_by_group_keeps_what_was_right() {
        let mut entry = Entry::default();
        assert_eq!(entry.push("235818"), Ok(1));
        assert!(entry.push("357952").is_err());
        assert_eq!(entry.push("357951 253979"), Ok(3));
        assert_eq!(entry.push("013365-241120-245575-342914-591910"), Ok(8));
        assert_eq!(entry.finish().unwrap().reveal().to_string(), BITLOCKER);
    }

    #[test]
    fn swaps_begin_with_neighbours() {
        let typed = "357951-235818-253979-013365-241120-245575-342914-591910";
        let typed = RecoveryPassword::parse(typed).unwrap();
        let all: Vec<String> = typed.swapped().map(|p| p.reveal().to_string()).collect();
        assert_eq!(all[0], BITLOCKER);
        assert_eq!(all.len(), 28);
        assert!(!format!("{typed:?}").contains("357"));
    }
}
