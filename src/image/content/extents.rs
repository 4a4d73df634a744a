//! Pointers of a file's pages: the items that hold them.
use crate::fs::{Damage, Result};
use crate::image::items::Items;
use crate::image::key;
use crate::image::pointer::{self, Kind, Pointer};
use crate::image::store::Change;
use std::ops::RangeInclusive;

/// Pages whose pointers share an item.
pub const GROUP: u64 = 16;

/// The pointers of a group.
pub type Group = [Option<Pointer>; GROUP as usize];

/// Reads an item's pointers.
pub fn decode(bytes: &[u8]) -> Result<Group> {
    let mut group = Group::default();
    for (slot, bytes) in group.iter_mut().zip(slots(bytes)?) {
        *slot = decode_one(bytes)?;
    }
    Ok(group)
}

fn slots(bytes: &[u8]) -> Result<&[[u8; pointer::SIZE]]> {
    match bytes.as_chunks() {
        (slots, []) if slots.len() <= GROUP as usize => Ok(slots),
        _ => Err(Damage::Malformed.into()),
    }
}

fn decode_one(bytes: &[u8; pointer::SIZE]) -> Result<Option<Pointer>> {
    match Pointer::decode(bytes)? {
        Some(at) if at.kind != Kind::Data => Err(Damage::Malformed.into()),
        at => Ok(at),
    }
}

/// Each page of an item, and its pointer.
pub fn pages(key: &[u8], value: &[u8]) -> Result<impl Iterator<Item = (u64, Option<Pointer>)>> {
    Ok(numbers(key)?.zip(decode(value)?))
}

/// The pages of an item.
fn numbers(key: &[u8]) -> Result<RangeInclusive<u64>> {
    let group = key::number(key).ok_or(Damage::Malformed)?;
    let base = group.checked_mul(GROUP).ok_or(Damage::Malformed)?;
    Ok(base..=base + (GROUP - 1))
}

/// Consecutive pages' pointers by the item that holds them: the first of its pages that is among them, and theirs.
fn groups(first: u64, all: &[Option<Pointer>]) -> impl Iterator<Item = (u64, &[Option<Pointer>])> {
    let (mut page, mut rest) = (first, all);
    std::iter::from_fn(move || {
        let room = (GROUP - page % GROUP) as usize;
        let (here, later) = rest.split_at(rest.len().min(room));
        let group = (page, here);
        (page, rest) = (page + here.len() as u64, later);
        (!here.is_empty()).then_some(group)
    })
}

fn encode(group: &Group) -> Vec<u8> {
    let end = group
        .iter()
        .rposition(Option::is_some)
        .map_or(0, |last| last + 1);
    let hole = [0; pointer::SIZE];
    let slots = group[..end].iter();
    slots
        .flat_map(|at| at.map_or(hole, |at| at.encode()))
        .collect()
}

/// Pointers of pages `first..=last`, holes included.
pub fn pointers(
    items: &impl Items,
    ino: u64,
    first: u64,
    last: u64,
) -> Result<Vec<Option<Pointer>>> {
    let mut found = vec![None; (last - first + 1) as usize];
    let from = key::extent(ino, first / GROUP);
    items.each(&key::extents(ino), &from, &mut |key, value| {
        for (page, bytes) in numbers(key)?.zip(slots(value)?) {
            if page > last {
                return Ok(true);
            }
            if page >= first {
                found[(page - first) as usize] = decode_one(bytes)?;
            }
        }
        Ok(false)
    })?;
    Ok(found)
}

impl Change<'_> {
    /// Puts pointers of consecutive pages in place of what was there, which is dropped. Gives the change of the number of
    /// pages.
    pub(super) fn put_pointers(
        &mut self,
        ino: u64,
        first: u64,
        new: &[Option<Pointer>],
    ) -> Result<i64> {
        let mut delta = 0;
        for (page, new) in groups(first, new) {
            let (place, inside) = (key::extent(ino, page / GROUP), (page % GROUP) as usize);
            let before = self.get(&place)?;
            let mut group = before.as_deref().map_or(Ok(Group::default()), decode)?;
            for (slot, new) in group[inside..].iter_mut().zip(new) {
                if let Some(old) = *slot {
                    self.drop_page(old);
                    delta -= 1;
                }
                delta += i64::from(new.is_some());
                *slot = *new;
            }
            match encode(&group) {
                bytes if !bytes.is_empty() => self.put(&place, &bytes)?,
                _ => drop(self.remove(&place)?),
            }
        }
        Ok(delta)
    }

    /// The same for pages that are there already, most of them: by one walk down the tree instead of two.
    pub(super) fn replace_pointers(
        &mut self,
        ino: u64,
        first: u64,
        new: &[Option<Pointer>],
    ) -> Result<i64> {
        let mut delta = 0;
        for (page, new) in groups(first, new) {
            delta += match self.write_over(ino, page, new)? {
                Some(delta) => delta,
                None => self.put_pointers(ino, page, new)?,
            };
        }
        Ok(delta)
    }

    /// Writes over pointers in their item; `None` if that is not long enough, or if there are holes among the new ones,
    /// of which it has none at its end.
    fn write_over(&mut self, ino: u64, page: u64, new: &[Option<Pointer>]) -> Result<Option<i64>> {
        let inside = (page % GROUP) as usize;
        let range = inside * pointer::SIZE..(inside + new.len()) * pointer::SIZE;
        let whole = new.iter().all(Option::is_some);
        let mut old = Group::default();
        let written = self.amend(&key::extent(ino, page / GROUP), |value| {
            let Some(bytes) = value.get_mut(range).filter(|_| whole) else {
                return Ok(false);
            };
            let slots = bytes.as_chunks_mut().0.iter_mut().zip(new.iter().flatten());
            for (old, (slot, new)) in old.iter_mut().zip(slots) {
                *old = decode_one(slot)?;
                *slot = new.encode();
            }
            Ok(true)
        })?;
        if written != Some(true) {
            return Ok(None);
        }
        let mut delta = new.len() as i64;
        for old in old.into_iter().flatten() {
            self.drop_page(old);
            delta -= 1;
        }
        Ok(Some(delta))
    }

    /// Drops pages that lie wholly at or beyond `size`, at most `most` groups of them; true if those were all. Does not
    /// touch the size.
    pub(in crate::image) fn cut_some(&mut self, ino: u64, size: u64, most: usize) -> Result<bool> {
        let first = size.div_ceil(super::PAGE as u64);
        let done = self.clear_some(ino, first, u64::MAX, most)?;
        Ok(done.is_none())
    }

    /// Makes pages `first..end` holes, at most `most` groups that have pages; where to go on, if that was not all.
    pub(super) fn clear_some(
        &mut self,
        ino: u64,
        first: u64,
        end: u64,
        most: usize,
    ) -> Result<Option<u64>> {
        let mut groups = Vec::new();
        let from = key::extent(ino, first / GROUP);
        self.each(&key::extents(ino), &from, &mut |key, _| {
            let group = key::number(key).ok_or(Damage::Malformed)?;
            groups.push(group);
            Ok(group.saturating_mul(GROUP) >= end || groups.len() > most)
        })?;
        let mut delta = 0;
        for group in groups.iter().take(most) {
            let base = group.saturating_mul(GROUP);
            let (low, high) = (base.max(first), base.saturating_add(GROUP).min(end));
            if low < high {
                let holes = [None; GROUP as usize];
                delta += self.put_pointers(ino, low, &holes[..(high - low) as usize])?;
            }
        }
        if delta != 0 {
            self.edit(ino, |inode| {
                inode.pages = inode.pages.saturating_add_signed(delta);
            })?;
        }
        let next = groups.get(most).map(|group| group.saturating_mul(GROUP));
        Ok(next.filter(|next| *next < end))
    }
}
