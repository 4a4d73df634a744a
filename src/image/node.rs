//! A node of the tree: one page of sorted items.
//!
//! ```text
//!  0  magic       2  "cN"
//!  2  level       1  0: leaf
//!  3  zero        1
//!  4  count       2  items
//!  6  zero       10
//! 16  places    2 n  where each item begins, in the order of the keys
//!     zero
//!     items          the last item first, so that the first ends with the page:
//!                    key length (2), value length (2), key, value
//! ```
//!
//! Keys ascend strictly, as bytes. In a leaf the value is the item's; above, it is the pointer (32 bytes) to the node with
//! the keys from this key up to the next one's; the first key of such a node is empty. An item takes at
//! most [`LARGEST_ITEM`] bytes, so that any overfull node can be split in two.
//!
//! In memory items may lie in any order, with gaps; a node is brought into the form above before it is sealed, and a page
//! in any other form is refused.
use super::layout::PAGE;
use super::pointer::{self, Pointer};
use crate::fs::{Damage, Result};

const START: usize = 16;
const MAGIC: &[u8; 2] = b"cN";
/// Bytes of an item beside its key and value: two lengths, and its place.
const OVERHEAD: usize = 6;
/// The largest item, overhead included: half of what a node holds.
pub const LARGEST_ITEM: usize = (PAGE - START) / 2;

/// A node in memory. Every place in it was checked when it was read.
#[derive(Clone)]
pub struct Node {
    bytes: Box<[u8; PAGE]>,
    /// The lowest byte that an item uses.
    heap: usize,
    /// Bytes that items use.
    live: usize,
}

impl Node {
    /// An empty node.
    pub fn new(level: u8) -> Self {
        let mut bytes = Box::new([0; PAGE]);
        bytes[..2].copy_from_slice(MAGIC);
        bytes[2] = level;
        Self {
            bytes,
            heap: PAGE,
            live: 0,
        }
    }

    /// Takes over a page's plaintext.
    pub fn parse(bytes: Box<[u8; PAGE]>) -> Result<Self> {
        let mut node = Self {
            bytes,
            heap: PAGE,
            live: 0,
        };
        match node.check() {
            Some(()) => Ok(node),
            None => Err(Damage::Malformed.into()),
        }
    }

    fn check(&mut self) -> Option<()> {
        let zero = |range: &[u8]| range.iter().all(|byte| *byte == 0);
        let places = START + 2 * self.count();
        let head = &self.bytes[..START];
        if &head[..2] != MAGIC || head[3] != 0 || !zero(&head[6..]) || places > PAGE {
            return None;
        }
        for index in 0..self.count() {
            let at = self.place(index);
            if at < places || at + 4 > self.heap {
                return None;
            }
            let (key, value) = self.lengths(at);
            if at + 4 + key + value != self.heap || key + value + OVERHEAD > LARGEST_ITEM {
                return None;
            }
            self.heap = at;
            let ascends = index == 0 || self.key(index - 1) < self.key(index);
            let inner = self.level() == 0 || (value == pointer::SIZE && (key == 0) == (index == 0));
            if !ascends || !inner {
                return None;
            }
        }
        self.live = PAGE - self.heap;
        zero(&self.bytes[places..self.heap]).then_some(())
    }

    /// The page's plaintext, in the one form that is stored.
    pub fn seal_form(&mut self) -> &[u8; PAGE] {
        self.compact();
        &self.bytes
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.bytes[2]
    }

    /// Items.
    pub fn count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[4], self.bytes[5]]))
    }

    /// Bytes in use, of `PAGE - 16`.
    pub fn used(&self) -> usize {
        self.live + 2 * self.count()
    }

    /// The key of an item.
    pub fn key(&self, index: usize) -> &[u8] {
        let at = self.place(index);
        let (key, _) = self.lengths(at);
        &self.bytes[at + 4..at + 4 + key]
    }

    /// The value of an item.
    pub fn value(&self, index: usize) -> &[u8] {
        let at = self.place(index);
        let (key, value) = self.lengths(at);
        &self.bytes[at + 4 + key..at + 4 + key + value]
    }

    /// The value of an item, to write over.
    pub fn value_mut(&mut self, index: usize) -> &mut [u8] {
        let at = self.place(index);
        let (key, value) = self.lengths(at);
        &mut self.bytes[at + 4 + key..at + 4 + key + value]
    }

    /// Where a key is, or where it would be.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Of a node above the leaves: which child has the key.
    pub fn child_index(&self, key: &[u8]) -> usize {
        match self.find(key) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// Of a node above the leaves: a child.
    pub fn child(&self, index: usize) -> Result<Pointer> {
        let value = (index < self.count()).then(|| self.value(index));
        let bytes = value.and_then(|value| value.try_into().ok());
        Pointer::decode(bytes.ok_or(Damage::Malformed)?)?.ok_or(Damage::Malformed.into())
    }

    /// True if one more item of these lengths fits.
    pub fn fits(&self, key: usize, value: usize) -> bool {
        START + self.used() + key + value + OVERHEAD <= PAGE
    }

    /// Puts an item at its place; the caller has asked [`Node::fits`].
    pub fn insert(&mut self, index: usize, key: &[u8], value: &[u8]) {
        let (size, count) = (4 + key.len() + value.len(), self.count());
        if self.heap < START + 2 * (count + 1) + size {
            self.compact();
        }
        let at = self.heap - size;
        self.heap = at;
        self.live += size;
        let item = &mut self.bytes[at..at + size];
        item[..2].copy_from_slice(&(key.len() as u16).to_le_bytes());
        item[2..4].copy_from_slice(&(value.len() as u16).to_le_bytes());
        item[4..4 + key.len()].copy_from_slice(key);
        item[4 + key.len()..].copy_from_slice(value);
        let slot = START + 2 * index;
        self.bytes.copy_within(slot..START + 2 * count, slot + 2);
        self.bytes[slot..slot + 2].copy_from_slice(&(at as u16).to_le_bytes());
        self.set_count(count + 1);
    }

    /// Takes an item out.
    pub fn remove(&mut self, index: usize) {
        let at = self.place(index);
        let (key, value) = self.lengths(at);
        self.live -= 4 + key + value;
        let (slot, end) = (START + 2 * index, START + 2 * self.count());
        self.bytes.copy_within(slot + 2..end, slot);
        self.set_count(self.count() - 1);
    }

    /// Writes over a value of the same length.
    pub fn replace(&mut self, index: usize, value: &[u8]) {
        self.value_mut(index).copy_from_slice(value);
    }

    /// Gives the first item another key, which the caller knows to fit; the one it had.
    pub fn set_first_key(&mut self, key: &[u8]) -> Vec<u8> {
        let (before, value) = (self.key(0).to_vec(), self.value(0).to_vec());
        self.remove(0);
        self.insert(0, key, &value);
        before
    }

    /// Moves the items from `index` on to a new node.
    pub fn split_off(&mut self, index: usize) -> Self {
        let mut right = Self::new(self.level());
        for (place, from) in (index..self.count()).enumerate() {
            right.insert(place, self.key(from), self.value(from));
        }
        for last in (index..self.count()).rev() {
            self.remove(last);
        }
        right
    }

    /// Takes over all items of the node to the right; the caller has checked that they fit.
    pub fn append(&mut self, right: &Self) {
        for index in 0..right.count() {
            self.insert(self.count(), right.key(index), right.value(index));
        }
    }

    fn compact(&mut self) {
        let mut fresh = Box::new([0; PAGE]);
        let places = START + 2 * self.count();
        fresh[..places].copy_from_slice(&self.bytes[..places]);
        let mut heap = PAGE;
        for index in 0..self.count() {
            let at = self.place(index);
            let (key, value) = self.lengths(at);
            let size = 4 + key + value;
            heap -= size;
            fresh[heap..heap + size].copy_from_slice(&self.bytes[at..at + size]);
            let slot = START + 2 * index;
            fresh[slot..slot + 2].copy_from_slice(&(heap as u16).to_le_bytes());
        }
        self.bytes = fresh;
        self.heap = heap;
    }

    fn set_count(&mut self, count: usize) {
        self.bytes[4..6].copy_from_slice(&(count as u16).to_le_bytes());
    }

    fn place(&self, index: usize) -> usize {
        let slot = START + 2 * index;
        usize::from(u16::from_le_bytes([self.bytes[slot], self.bytes[slot + 1]]))
    }

    fn lengths(&self, at: usize) -> (usize, usize) {
        let two = |at: usize| usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
        (two(at), two(at + 2))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.bytes[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Node {
        let mut node = Node::new(0);
        for key in [b"b", b"d", b"a", b"c"] {
            let at = node.find(key).unwrap_err();
            node.insert(at, key, &key.repeat(usize::from(key[0])));
        }
        node.remove(1);
        node
    }

    #[test]
    fn items_are_sorted_and_survive_the_page() {
        let mut node = sample();
        let again = Node::parse(Box::new(*node.seal_form())).unwrap();
        let keys: Vec<_> = (0..again.count()).map(|i| again.key(i).to_vec()).collect();
        assert_eq!(keys, [b"a", b"c", b"d"]);
        assert_eq!(again.value(2), b"d".repeat(100));
        assert_eq!(again.used(), node.used());
    }

    /// Whatever byte is changed, to whatever extreme: refused or read, never a panic.
    #[test]
    fn any_page_is_refused_or_sound() {
        let good = *sample().seal_form();
        for at in 0..PAGE {
            for value in [0, 1, 0x7f, 0xff, good[at] ^ 0x80] {
                let mut bytes = Box::new(good);
                bytes[at] = value;
                if let Ok(node) = Node::parse(bytes) {
                    for index in 0..node.count() {
                        let _ = (node.key(index), node.value(index), node.child(index));
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_node_takes_exactly_what_fits() {
        let mut node = Node::new(0);
        let mut key = 0_u32;
        while node.fits(4, 100) {
            key += 1;
            node.insert(node.count(), &key.to_be_bytes(), &[7; 100]);
        }
        node.remove(3);
        assert!(node.fits(4, 100));
        node.insert(3, &4_u32.to_be_bytes(), &[8; 100]);
        let right = node.split_off(10);
        assert_eq!(
            (node.count(), right.key(0)),
            (10, &11_u32.to_be_bytes()[..])
        );
        assert!(Node::parse(Box::new(*node.seal_form())).is_ok());
    }
}
