//! Bringing the tree of a superblock up to date with its log, in memory. The next commit writes it.
use super::Log;
use super::record::Record;
use crate::fs::{Damage, Error, Result};
use crate::image::content;
use crate::image::ground::Ground;
use crate::image::key::{self, Item};
use crate::image::pointer::Pointer;
use crate::image::tree::Tree;
use std::collections::BTreeMap;

/// Items as they are after some records.
type Items = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Does what the records of a log say; gives the next new inode's number, if there was any. What cannot be done because a
/// node on the way is damaged is left out: nobody can read it there, and the rest must not be lost with it. To look at
/// (`read_only`), the same where the medium fails.
pub fn replay(
    ground: &Ground,
    tree: &mut Tree,
    (log, records): (&Log, Vec<Record>),
    read_only: bool,
) -> Result<Option<u64>> {
    let left_out = |error: &Error| match error {
        Error::Damaged(_) => true,
        Error::Io(_) => read_only,
        _ => false,
    };
    let (mut all, mut next_inode) = (Items::new(), None);
    for record in records {
        let (generation, next) = (record.generation, record.next_inode);
        let items = after(ground, tree, &all, record, &left_out)?;
        // Whoever begins another record has flushed this one.
        if generation == log.newest() && !proved(ground, &items, generation)? {
            break;
        }
        all.extend(items);
        next_inode = Some(next);
    }
    let dropped = claim(ground, tree, &all)?;
    put(ground, tree, &all)?;
    tree.begin(log.newest() + 1);
    for at in dropped {
        ground.drop_page(&at, tree.generation());
    }
    Ok(next_inode)
}

/// The items of a record, as they are after it.
fn after(
    ground: &Ground,
    tree: &Tree,
    earlier: &Items,
    record: Record,
    left_out: &dyn Fn(&Error) -> bool,
) -> Result<Items> {
    let mut items = Items::new();
    for (key, change) in record.items {
        if matches!(key::parse(&key), Some((_, Item::Freemap | Item::Snapshot))) {
            return Err(Damage::Malformed.into());
        }
        let before = match earlier.get(&key) {
            Some(value) => Ok(value.clone()),
            None => tree.get(ground, &key),
        };
        match before {
            Ok(before) => {
                let value = change.apply(before.as_deref())?;
                items.insert(key, value);
            }
            Err(error) if left_out(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(items)
}

/// Marks the pages that the items refer to as used, so that no node is put there; gives those that they do not refer to any
/// more.
fn claim(ground: &Ground, tree: &Tree, items: &Items) -> Result<Vec<Pointer>> {
    let mut dropped = Vec::new();
    for (key, value) in items {
        let before = pointers(key, tree.get(ground, key)?.as_deref())?;
        let after = pointers(key, value.as_deref())?;
        for at in after.iter().filter(|at| !before.contains(at)) {
            let mut space = ground.space.lock();
            if at.page >= space.pages() || !space.correct(at.page, true) {
                return Err(Damage::Malformed.into());
            }
        }
        dropped.extend(before.into_iter().filter(|at| !after.contains(at)));
    }
    Ok(dropped)
}

/// Puts the items into the tree. In an order that takes few pages for nodes: what goes makes room for what comes. But not the last
/// item of a leaf before the rest: its place would fall to the leaf beside it, and that one may be damaged.
fn put(ground: &Ground, tree: &mut Tree, items: &Items) -> Result<()> {
    let mut last = Vec::new();
    for (key, _) in items.iter().filter(|(_, value)| value.is_none()) {
        match tree.is_alone(ground, key)? {
            true => last.push(key),
            false => drop(tree.remove(ground, key)?),
        }
    }
    for (key, value) in items {
        if let Some(value) = value {
            tree.put_over(ground, key, value)?;
        }
    }
    for key in last {
        tree.remove(ground, key)?;
    }
    Ok(())
}

/// Whether every page of content that a generation wrote is there. One that cannot be read was there, or is an error in its place.
fn proved(ground: &Ground, items: &Items, generation: u64) -> Result<bool> {
    let mut plain = zeroize::Zeroizing::new([0; crate::image::layout::PAGE]);
    for (key, value) in items {
        for at in pointers(key, value.as_deref())? {
            if at.generation == generation
                && let Err(Error::Damaged(_)) = ground.pages.read(&at, &mut plain)
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Pages that an item refers to.
fn pointers(key: &[u8], value: Option<&[u8]>) -> Result<Vec<Pointer>> {
    match (key::parse(key), value) {
        (Some((_, Item::Extent)), Some(value)) => {
            let group = content::decode_group(value)?;
            Ok(group.into_iter().flatten().collect())
        }
        _ => Ok(Vec::new()),
    }
}
