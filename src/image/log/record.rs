//! A record of the log as bytes: the items that changed.
//!
//! ```text
//!  0  key length    2
//!  2  length        2   of the bytes
//!  4  place         2   where in the item's value the bytes go;
//!                       0xffff: they are the whole value; 0xfffe: there is no such item any more
//!  6  key, bytes
//! ```
//!
//! Items do not go on in the next page; a key comes once in a record.
use crate::fs::{Damage, Result};
use crate::image::layout::PAGE;
use crate::image::node::LARGEST_ITEM;
use crate::image::superblock::{GENERATIONS, TAG};

/// Bytes of a page's plaintext.
pub const BODY: usize = PAGE - TAG;
/// Where items begin.
pub const START: usize = 40;
const WHOLE: u16 = 0xffff;
const GONE: u16 = 0xfffe;

/// What changed from one durable generation to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The generation that it makes.
    pub generation: u64,
    /// The next new inode's number.
    pub next_inode: u64,
    /// Changed items.
    pub items: Vec<(Vec<u8>, Change)>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Gone,
    /// It has this value.
    Whole(Vec<u8>),
    /// Its value, as long as before, has these bytes in this place.
    Part(usize, Vec<u8>),
}

impl Change {
    fn code(&self) -> (u16, &[u8]) {
        match self {
            Self::Gone => (GONE, &[]),
            Self::Whole(bytes) => (WHOLE, bytes),
            Self::Part(place, bytes) => (*place as u16, bytes),
        }
    }

    /// The value after this change of what was there before.
    pub fn apply(self, before: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Gone => Ok(None),
            Self::Whole(bytes) => Ok(Some(bytes)),
            Self::Part(place, bytes) => {
                let mut value = before.ok_or(Damage::Malformed)?.to_vec();
                let part = value.get_mut(place..place + bytes.len());
                part.ok_or(Damage::Malformed)?.copy_from_slice(&bytes);
                Ok(Some(value))
            }
        }
    }
}

/// Bytes that an item takes.
pub fn size(key: &[u8], change: &Change) -> usize {
    6 + key.len() + change.code().1.len()
}

impl Record {
    /// The pages that it takes, one at least.
    pub fn encode(&self) -> Vec<Body> {
        let mut bodies = vec![Body::new(self)];
        for (key, change) in &self.items {
            let (place, bytes) = change.code();
            let mut last = bodies.len() - 1;
            if START + bodies[last].length() + size(key, change) > BODY {
                bodies[last].plain[34] = 1;
                bodies.push(Body::new(self));
                last += 1;
            }
            bodies[last].push(key, place, bytes);
        }
        bodies
    }

    /// Reads the pages of one record.
    pub fn decode(bodies: &[Body]) -> Result<Self> {
        let first = bodies.first().ok_or(Damage::Malformed)?;
        let mut record = Self {
            generation: first.generation(),
            next_inode: first.next_inode(),
            items: Vec::new(),
        };
        for body in bodies {
            if body.generation() != record.generation || body.next_inode() != record.next_inode {
                return Err(Damage::Malformed.into());
            }
            body.items(&mut record.items)?;
        }
        Ok(record)
    }
}

/// The plaintext of a page, and its tag once that is known.
pub struct Body {
    plain: [u8; BODY],
    /// Of the page.
    pub tag: [u8; TAG],
}

impl Body {
    fn new(record: &Record) -> Self {
        let mut plain = [0; BODY];
        plain[16..24].copy_from_slice(&record.generation.to_le_bytes());
        plain[24..32].copy_from_slice(&record.next_inode.to_le_bytes());
        Self {
            plain,
            tag: [0; TAG],
        }
    }

    fn push(&mut self, key: &[u8], place: u16, bytes: &[u8]) {
        let mut at = START + self.length();
        let lengths = [key.len() as u16, bytes.len() as u16, place].map(u16::to_le_bytes);
        for part in [lengths.as_flattened(), key, bytes] {
            self.plain[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.plain[32..34].copy_from_slice(&((at - START) as u16).to_le_bytes());
    }

    /// Says which page comes before it.
    pub fn chain(&mut self, previous: &[u8; TAG]) {
        self.plain[..TAG].copy_from_slice(previous);
    }

    /// What is encrypted.
    pub fn bytes(&self) -> &[u8] {
        &self.plain
    }

    /// Takes over the plaintext of an authentic page.
    pub fn parse(plain: [u8; BODY], tag: &[u8]) -> Result<Self> {
        let tag = tag.try_into().map_err(|_| Damage::Malformed)?;
        let body = Self { plain, tag };
        let zero = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| bytes.iter().all(|b| *b == 0));
        let sound = body.generation() < GENERATIONS
            && plain[34] <= 1
            && zero(plain.get(35..START))
            && zero(plain.get(START + body.length()..));
        match sound {
            true => Ok(body),
            false => Err(Damage::Malformed.into()),
        }
    }

    fn items(&self, items: &mut Vec<(Vec<u8>, Change)>) -> Result<()> {
        let mut rest = &self.plain[START..START + self.length()];
        while !rest.is_empty() {
            let (lengths, after) = rest.split_at_checked(6).ok_or(Damage::Malformed)?;
            let two = |at: usize| u16::from_le_bytes([lengths[at], lengths[at + 1]]);
            let (key, after) = after
                .split_at_checked(usize::from(two(0)))
                .ok_or(Damage::Malformed)?;
            let (bytes, after) = after
                .split_at_checked(usize::from(two(2)))
                .ok_or(Damage::Malformed)?;
            if key.len() + bytes.len() + 6 > LARGEST_ITEM {
                return Err(Damage::Malformed.into());
            }
            let change = match two(4) {
                WHOLE => Change::Whole(bytes.to_vec()),
                GONE if bytes.is_empty() => Change::Gone,
                place => Change::Part(usize::from(place), bytes.to_vec()),
            };
            items.push((key.to_vec(), change));
            rest = after;
        }
        Ok(())
    }

    /// The tag of the page before.
    pub fn previous(&self) -> [u8; TAG] {
        std::array::from_fn(|at| self.plain[at])
    }

    /// The record's generation.
    pub fn generation(&self) -> u64 {
        self.eight(16)
    }

    fn next_inode(&self) -> u64 {
        self.eight(24)
    }

    fn eight(&self, at: usize) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|step| self.plain[at + step]))
    }

    fn length(&self) -> usize {
        usize::from(u16::from_le_bytes([self.plain[32], self.plain[33]]))
    }

    /// Whether the record goes on in the next page.
    pub fn goes_on(&self) -> bool {
        self.plain[34] == 1
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.plain[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(items: usize) -> Record {
        let item = |number: usize| {
            let change = match number % 3 {
                0 => Change::Gone,
                1 => Change::Whole(vec![number as u8; number * 7 % 1500]),
                _ => Change::Part(number, vec![number as u8; 32]),
            };
            (number.to_be_bytes().to_vec(), change)
        };
        Record {
            generation: 9,
            next_inode: 77,
            items: (0..items).map(item).collect(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for items in [0, 1, 2, 3, 100, 1000] {
            let record = sample(items);
            let bodies = record.encode();
            let again: Result<Vec<Body>> = bodies
                .iter()
                .map(|body| Body::parse(body.plain, &body.tag))
                .collect();
            assert_eq!(Record::decode(&again.unwrap()).unwrap(), record);
            let going_on = bodies.iter().filter(|body| body.goes_on()).count();
            assert_eq!(going_on, bodies.len() - 1);
        }
    }

    /// Whatever byte is changed, to whatever extreme: refused or read, never a panic.
    #[test]
    fn any_page_is_refused_or_sound() {
        let good = sample(12).encode().remove(0);
        for at in 0..BODY {
            for value in [0, 1, 0x7f, 0xff, good.plain[at] ^ 0x80] {
                let mut plain = good.plain;
                plain[at] = value;
                if let Ok(body) = Body::parse(plain, &good.tag) {
                    let Ok(record) = Record::decode(&[body]) else {
                        continue;
                    };
                    for (_, change) in record.items {
                        let _ = change.apply(Some(&[0; 100]));
                    }
                }
            }
        }
    }
}
