//! Changing the tree: items are put and removed in nodes that are younger than the last seal.
use super::{Seen, Tree};
use crate::fs::{Damage, Error, Result};
use crate::image::ground::Ground;
use crate::image::layout::PAGE;
use crate::image::node::{LARGEST_ITEM, Node};
use crate::image::pointer::{Kind, Pointer};

/// A node with less than this is joined with a neighbour, if the two leave room.
const SMALL: usize = PAGE / 4;
const ROOMY: usize = PAGE * 3 / 4;

/// A new node to the right of the one that was split, and its first key.
struct Split {
    key: Vec<u8>,
    right: Pointer,
}

impl Tree {
    /// Puts an item; the value it had before.
    pub fn put(&mut self, ground: &Ground, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        if key.len() + value.len() + 6 > LARGEST_ITEM {
            return Err(Error::TooBig); // the callers' limits are below it
        }
        let root = self.own_root(ground)?;
        self.room_to_split(ground, root)?;
        self.changed = true;
        let (before, split) = self.put_in(ground, root, key, value)?;
        if let Some(split) = split {
            self.grow(ground, split)?;
        }
        Ok(before)
    }

    /// Lets `edit` write over the value of an item, whose length stays; `None` if there is no such item.
    pub fn amend<T>(
        &mut self,
        ground: &Ground,
        key: &[u8],
        edit: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<Option<T>> {
        let mut page = self.own_root(ground)?;
        self.changed = true;
        while let node = self.node(page)?
            && node.level() > 0
        {
            let index = node.child_index(key);
            page = self.own_child(ground, page, index)?;
        }
        let node = self.node(page)?;
        let found = node.find(key).ok();
        Ok(found.map(|index| edit(node.value_mut(index))))
    }

    /// Puts an item. Over one of the same length it is written where that is, which takes no page but for nodes on the way.
    pub fn put_over(&mut self, ground: &Ground, key: &[u8], value: &[u8]) -> Result<()> {
        let same_length = self.amend(ground, key, |before| {
            let same = before.len() == value.len();
            if same {
                before.copy_from_slice(value);
            }
            same
        })?;
        match same_length {
            Some(true) => Ok(()),
            _ => self.put(ground, key, value).map(drop),
        }
    }

    /// Removes an item; the value it had. Nothing is written where there is none.
    pub fn remove(&mut self, ground: &Ground, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(before) = self.get(ground, key)? else {
            return Ok(None);
        };
        let root = self.own_root(ground)?;
        self.changed = true;
        self.remove_in(ground, root, key)?;
        self.shrink(ground)?;
        Ok(Some(before))
    }

    /// The pages that the worst put takes, beside those on its way down: a split on each level, and a new root.
    fn room_to_split(&self, ground: &Ground, root: u64) -> Result<()> {
        let height = u64::from(self.dirty_level(root)) + 1;
        match ground.space.lock().available() > 2 * height + 2 {
            true => Ok(()),
            false => Err(Error::NoSpace),
        }
    }

    fn dirty_level(&self, page: u64) -> u8 {
        self.dirty.get(&page).map_or(0, Node::level)
    }

    fn pointer(&self, page: u64) -> Pointer {
        Pointer {
            page,
            epoch: self.root.epoch,
            kind: Kind::Node,
            generation: self.generation,
            tag: [0; 16], // the commit knows it
        }
    }

    /// A node that is younger than the last seal: only those are changed.
    pub(super) fn node(&mut self, page: u64) -> Result<&mut Node> {
        self.dirty.get_mut(&page).ok_or(Damage::Malformed.into())
    }

    /// A copy of a node that can be changed; the old page is dropped. Gives the new page.
    fn copy(&mut self, ground: &Ground, at: &Pointer, level: Option<u8>) -> Result<u64> {
        let node = match self.see(ground, at, level)? {
            Seen::Dirty(_) => return Ok(at.page),
            Seen::Clean(node) => ground.take_over(at, node),
        };
        let page = ground.take_node()?;
        self.dirty.insert(page, node);
        ground.drop_page(at, self.generation);
        Ok(page)
    }

    fn own_root(&mut self, ground: &Ground) -> Result<u64> {
        let page = self.copy(ground, &self.root.clone(), None)?;
        if page != self.root.page {
            self.root = self.pointer(page);
        }
        Ok(page)
    }

    fn own_child(&mut self, ground: &Ground, page: u64, index: usize) -> Result<u64> {
        let node = self.node(page)?;
        let (child, level) = (node.child(index)?, node.level() - 1);
        let owned = self.copy(ground, &child, Some(level))?;
        if owned != child.page {
            let pointer = self.pointer(owned).encode();
            self.node(page)?.replace(index, &pointer);
        }
        Ok(owned)
    }

    fn put_in(
        &mut self,
        ground: &Ground,
        page: u64,
        key: &[u8],
        value: &[u8],
    ) -> Result<(Option<Vec<u8>>, Option<Split>)> {
        let node = self.node(page)?;
        if node.level() == 0 {
            return self.put_item(ground, page, key, value);
        }
        let index = node.child_index(key);
        let child = self.own_child(ground, page, index)?;
        let (before, split) = self.put_in(ground, child, key, value)?;
        let Some(split) = split else {
            return Ok((before, None));
        };
        let right = split.right.encode();
        let split = self.insert(ground, page, index + 1, (&split.key, &right))?;
        Ok((before, split))
    }

    fn put_item(
        &mut self,
        ground: &Ground,
        page: u64,
        key: &[u8],
        value: &[u8],
    ) -> Result<(Option<Vec<u8>>, Option<Split>)> {
        let node = self.node(page)?;
        let (index, before) = match node.find(key) {
            Err(index) => (index, None),
            Ok(index) => {
                let before = node.value(index).to_vec();
                if before.len() == value.len() {
                    node.replace(index, value);
                    return Ok((Some(before), None));
                }
                node.remove(index);
                (index, Some(before))
            }
        };
        let split = self.insert(ground, page, index, (key, value))?;
        Ok((before, split))
    }

    /// Inserts into a node, which is split if it is full. There is a page for it ([`Tree::room_to_split`]).
    fn insert(
        &mut self,
        ground: &Ground,
        page: u64,
        index: usize,
        (key, value): (&[u8], &[u8]),
    ) -> Result<Option<Split>> {
        let node = self.node(page)?;
        if node.fits(key.len(), value.len()) {
            node.insert(index, key, value);
            return Ok(None);
        }
        let size = key.len() + value.len() + 6;
        let at = split_point(node, index, size);
        let right_page = ground.take_node()?;
        let node = self.node(page)?;
        // `at` counts the new item: items before it stay.
        let mut right = node.split_off(if at <= index { at } else { at - 1 });
        if index < at {
            node.insert(index, key, value);
        } else {
            right.insert(index - at, key, value);
        }
        let first = match right.level() {
            0 => separator(node.key(node.count() - 1), right.key(0)),
            _ => right.set_first_key(&[]),
        };
        self.dirty.insert(right_page, right);
        let right = self.pointer(right_page);
        Ok(Some(Split { key: first, right }))
    }

    /// A new root over the old one and its other half.
    fn grow(&mut self, ground: &Ground, split: Split) -> Result<()> {
        let page = ground.take_node()?;
        let mut root = Node::new(self.dirty_level(self.root.page) + 1);
        root.insert(0, &[], &self.root.encode());
        root.insert(1, &split.key, &split.right.encode());
        self.dirty.insert(page, root);
        self.root = self.pointer(page);
        Ok(())
    }

    fn remove_in(&mut self, ground: &Ground, page: u64, key: &[u8]) -> Result<()> {
        let node = self.node(page)?;
        if node.level() == 0 {
            if let Ok(index) = node.find(key) {
                node.remove(index);
            }
            return Ok(());
        }
        let index = node.child_index(key);
        let child = self.own_child(ground, page, index)?;
        self.remove_in(ground, child, key)?;
        let below = self.node(child)?;
        let (count, used) = (below.count(), below.used());
        if count == 0 {
            let node = self.node(page)?;
            node.remove(index);
            if index == 0 && node.count() > 0 {
                node.set_first_key(&[]);
            }
            self.drop_dirty(ground, child);
        } else if used < SMALL {
            self.join(ground, page, index);
        }
        Ok(())
    }

    /// Joins a child with a neighbour. A neighbour that cannot be read, or moved, stays where it is.
    fn join(&mut self, ground: &Ground, page: u64, index: usize) {
        let Ok(node) = self.node(page) else { return };
        let pairs = [index, index.wrapping_sub(1)];
        let count = node.count();
        for left in pairs
            .into_iter()
            .filter(|left| *left < count.saturating_sub(1))
        {
            if self.join_pair(ground, page, left).unwrap_or(false) {
                return;
            }
        }
    }

    fn join_pair(&mut self, ground: &Ground, page: u64, left: usize) -> Result<bool> {
        let node = self.node(page)?;
        let (one, other, level) = (node.child(left)?, node.child(left + 1)?, node.level() - 1);
        let together = self.see(ground, &one, Some(level))?.used()
            + self.see(ground, &other, Some(level))?.used();
        if together > ROOMY {
            return Ok(false);
        }
        let into = self.own_child(ground, page, left)?;
        let from = match self.see(ground, &other, Some(level))? {
            Seen::Dirty(node) => node.clone(),
            Seen::Clean(node) => Node::clone(&node),
        };
        let key = self.node(page)?.key(left + 1).to_vec();
        let target = self.node(into)?;
        let mut from = from;
        if level > 0 {
            if !from.fits(key.len(), 0) {
                return Ok(false);
            }
            from.set_first_key(&key);
        }
        if target.used() + from.used() > PAGE - 16 {
            return Ok(false);
        }
        target.append(&from);
        self.node(page)?.remove(left + 1);
        match self.dirty(&other) {
            Some(_) => self.drop_dirty(ground, other.page),
            None => ground.drop_page(&other, self.generation),
        }
        Ok(true)
    }

    /// A root with one child gives way to it; one without any becomes a leaf.
    fn shrink(&mut self, ground: &Ground) -> Result<()> {
        loop {
            let page = self.root.page;
            let node = self.node(page)?;
            if node.level() == 0 || node.count() > 1 {
                return Ok(());
            }
            if node.count() == 0 {
                *node = Node::new(0);
                return Ok(());
            }
            let child = self.own_child(ground, page, 0)?;
            self.root = self.pointer(child);
            self.drop_dirty(ground, page);
        }
    }

    fn drop_dirty(&mut self, ground: &Ground, page: u64) {
        self.dirty.remove(&page);
        ground.drop_page(&self.pointer(page), self.generation);
    }
}

/// How many items stay on the left, the new one (of `size` bytes, at `index`) counted. Items that come in order, at the
/// end, leave full nodes behind.
fn split_point(node: &Node, index: usize, size: usize) -> usize {
    let count = node.count() + 1;
    let item = |at: usize| match at.cmp(&index) {
        std::cmp::Ordering::Equal => size,
        std::cmp::Ordering::Less => node.key(at).len() + node.value(at).len() + 6,
        std::cmp::Ordering::Greater => node.key(at - 1).len() + node.value(at - 1).len() + 6,
    };
    if index + 1 == count {
        return index;
    }
    let total = node.used() + size;
    let (mut left, mut at) = (0, 0);
    while at + 1 < count && (left < total / 2 || at == 0) {
        let next = left + item(at);
        if next > PAGE - 16 {
            break;
        }
        left = next;
        at += 1;
    }
    at
}

/// The shortest key above `left` and not above `right`.
fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    right[..right.len().min(common + 1)].to_vec()
}
