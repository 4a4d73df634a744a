//! Bringing the tree of a superblock up to date with its log, in memory. The next commit writes it.
use super::Found;
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

/// Does what the records say; gives the next new inode's number, if there was any record. With `past_damage` what cannot be
/// done, since the nodes on the way are damaged, is left out: nobody can read it there.
pub fn replay(
    ground: &Ground,
    tree: &mut Tree,
    found: Found,
    past_damage: bool,
) -> Result<Option<u64>> {
    let (mut all, mut next_inode) = (Items::new(), None);
    let mut generation = tree.generation();
    for record in found.records {
        let (made, next) = (record.generation, record.next_inode);
        let items = after(ground, tree, &all, record, past_damage)?;
        // Whoever begins another record has flushed this one.
        if made == found.newest && !proved(ground, &items, made)? {
            break;
        }
        all.extend(items);
        next_inode = Some(next);
        generation = made + 1;
    }
    // No node may be put where content lies.
    let mut dropped = Vec::new();
    for (key, value) in &all {
        let before = tree.get(ground, key)?;
        let (before, after) = (
            pointers(key, before.as_deref())?,
            pointers(key, value.as_deref())?,
        );
        for at in after.iter().filter(|at| !before.contains(at)) {
            let mut space = ground.space.lock();
            let free = at.page < space.pages() && space.correct(at.page, true);
            if !free && !past_damage {
                return Err(Damage::Malformed.into());
            }
        }
        dropped.extend(before.into_iter().filter(|at| !after.contains(at)));
    }
    for (key, value) in &all {
        let done = match value {
            Some(value) => tree.put(ground, key, value),
            None => tree.remove(ground, key),
        };
        match done {
            Err(error) if !past_damage => return Err(error),
            _ => {}
        }
    }
    tree.begin(generation);
    for at in dropped {
        ground.drop_page(&at, generation);
    }
    Ok(next_inode)
}

/// The items of a record, as they are after it.
fn after(
    ground: &Ground,
    tree: &Tree,
    earlier: &Items,
    record: Record,
    past_damage: bool,
) -> Result<Items> {
    let mut items = Items::new();
    for (key, change) in record.items {
        let before = match earlier.get(&key) {
            Some(value) => Ok(value.clone()),
            None => tree.get(ground, &key),
        };
        match before {
            Ok(before) => {
                let value = change.apply(before.as_deref())?;
                items.insert(key, value);
            }
            Err(_) if past_damage => {}
            Err(error) => return Err(error),
        }
    }
    Ok(items)
}

/// Whether every page of content that a generation wrote is there.
fn proved(ground: &Ground, items: &Items, generation: u64) -> Result<bool> {
    let mut plain = zeroize::Zeroizing::new([0; crate::image::layout::PAGE]);
    for (key, value) in items {
        for at in pointers(key, value.as_deref())? {
            if at.generation == generation {
                match ground.pages.read(&at, &mut plain) {
                    Err(Error::Damaged(_)) => return Ok(false),
                    read => read?,
                }
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
