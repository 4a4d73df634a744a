//! Shares: a recovery password split so that any k of n people open the volume together, and fewer learn nothing.
//!
//! A share reads like a recovery password, each group with the same check, and has one group more, the first: number of the
//! share (4 bits), how many are needed (4 bits), and a random number of the set (8 bits), so that shares of different sets are
//! told apart.
use super::recovery_password::{Entry, GROUPS, ParseError, RecoveryPassword};
use crate::crypto::random;
use crate::crypto::secret::Secret;
use crate::crypto::shamir::{self, Part};
use std::fmt;
use std::str::FromStr;

/// Most shares of a set.
pub const MOST: u8 = 15;

/// "2of3": how many of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Needed.
    pub needed: u8,
    /// Made.
    pub made: u8,
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once("of").and_then(|(needed, made)| {
            Some((needed.parse::<u8>().ok()?, made.parse::<u8>().ok()?))
        });
        match numbers {
            Some((needed, made)) if 2 <= needed && needed <= made && made <= MOST => {
                Ok(Self { needed, made })
            }
            _ => Err(format!("write it as 2of3: at least 2, of at most {MOST}")),
        }
    }
}

/// One share.
pub struct Share {
    /// How many of its set are needed.
    pub needed: u8,
    /// Tells sets apart.
    pub set: u8,
    part: Part<16>,
}

/// Why typed shares give no password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// A group is wrong.
    #[error(transparent)]
    Typed(ParseError),
    /// Not nine groups.
    #[error("{0} of 9 groups: a share has one more than a recovery password")]
    Groups(usize),
    /// A first group that no share has.
    #[error("group 1: no share begins like that")]
    First,
    /// The same share twice.
    #[error("share {0} was typed already")]
    Again(u8),
    /// Shares of different passwords.
    #[error("this share is of set {this:02x}, the one before of set {before:02x}")]
    OtherSet {
        /// This one's.
        this: u8,
        /// The first one's.
        before: u8,
    },
}

impl Share {
    /// Splits a recovery password.
    pub fn split(password: &RecoveryPassword, split: Split) -> Vec<Self> {
        let [set] = random::bytes();
        let parts = shamir::split(password.bytes(), split.needed, split.made);
        let share = |part| Self {
            needed: split.needed,
            set,
            part,
        };
        parts.into_iter().map(share).collect()
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.part.x
    }

    /// Reads a share.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        let mut entry = Entry::of(GROUPS + 1);
        match entry.push(text) {
            Ok(count) if count <= GROUPS => return Err(ShareError::Groups(count)),
            Ok(_) => {}
            Err(ParseError::TooMany) => return Err(ShareError::Groups(GROUPS + 2)),
            Err(error) => return Err(ShareError::Typed(error)),
        }
        let group = |index| entry.group(index).map_or([0; 2], |group| *group.expose());
        let [low, set] = group(0);
        let (x, needed) = (low & 15, low >> 4);
        if x == 0 || needed < 2 {
            return Err(ShareError::First);
        }
        let y = Secret::fill_with(|y: &mut [u8; 16]| {
            for (index, pair) in y.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                *pair = group(index + 1);
            }
        });
        Ok(Self {
            needed,
            set,
            part: Part { x, y },
        })
    }

    /// Says what is wrong with adding this share to others.
    pub fn fits(&self, others: &[Self]) -> Result<(), ShareError> {
        let Some(first) = others.first() else {
            return Ok(());
        };
        if (first.set, first.needed) != (self.set, self.needed) {
            let (this, before) = (self.set, first.set);
            return Err(ShareError::OtherSet { this, before });
        }
        match others.iter().any(|other| other.part.x == self.part.x) {
            true => Err(ShareError::Again(self.part.x)),
            false => Ok(()),
        }
    }

    /// The password, of shares that fit each other and are enough.
    pub fn combine(shares: &[Self]) -> Option<RecoveryPassword> {
        let parts: Vec<_> = shares.iter().map(|share| &share.part).collect();
        shamir::combine(&parts).map(RecoveryPassword::from_bytes)
    }
}

/// The text to show to its keeper. Write the audit log first.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = u16::from_le_bytes([self.part.x | self.needed << 4, self.set]);
        write!(f, "{:06}", u32::from(first) * 11)?;
        for pair in self.part.y.expose().as_chunks::<2>().0 {
            write!(f, "-{:06}", u32::from(u16::from_le_bytes(*pair)) * 11)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_shares_give_the_password_back() {
        let password = RecoveryPassword::random();
        let split: Split = "3of5".parse().unwrap();
        let shares = Share::split(&password, split);
        let typed: Vec<_> = [4, 0, 2]
            .map(|i: usize| Share::parse(&shares[i].to_string()).unwrap_or_else(|e| panic!("{e}")))
            .into();
        assert_eq!(typed[0].number(), 5);
        assert!(typed[2].fits(&typed[..2]).is_ok());
        assert_eq!(typed[1].fits(&typed[..2]), Err(ShareError::Again(1)));
        let whole = Share::combine(&typed).unwrap();
        assert_eq!(whole.bytes().expose(), password.bytes().expose());
        let few = Share::combine(&typed[..2]).unwrap();
        assert_ne!(few.bytes().expose(), password.bytes().expose());
    }

    #[test]
    fn what_is_no_share_is_told_apart() {
        let password = RecoveryPassword::random();
        let wrong = |text: &str| Share::parse(text).map(|_| ()).unwrap_err();
        assert_eq!(wrong(&password.reveal().to_string()), ShareError::Groups(8));
        let nine = format!("000000-{}", password.reveal());
        assert_eq!(wrong(&nine), ShareError::First);
        let share = Share::split(&password, Split { needed: 2, made: 3 })[0].to_string();
        let digit = if &share[20..21] == "0" { "1" } else { "0" };
        let mistyped = format!("{}{digit}{}", &share[..20], &share[21..]);
        assert!(matches!(
            wrong(&mistyped),
            ShareError::Typed(ParseError::Group { group: 3, .. })
        ));
        for bad in ["1of3", "3of2", "2of16", "2", "of", "2 of 3"] {
            assert!(bad.parse::<Split>().is_err(), "{bad}");
        }
    }
}
