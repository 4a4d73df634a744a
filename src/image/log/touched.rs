//! Which items changed since the last durable generation, and which bytes of them.
use super::record::{self, Change, Record};
use crate::fs::Result;
use crate::image::ground::Ground;
use crate::image::tree::Tree;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// More than these are not worth counting: the next commit writes the tree.
const MANY: usize = 4096;

/// See above.
#[derive(Default)]
pub struct Touched {
    /// Bytes of a value that is as long as before; `None`: all of it, or it is gone.
    items: FxHashMap<Vec<u8>, Option<Range<usize>>>,
    too_many: bool,
}

impl Touched {
    /// An item changed, in this [`part`].
    pub fn add(&mut self, key: Vec<u8>, part: Option<Range<usize>>) {
        if self.too_many || part.as_ref().is_some_and(Range::is_empty) {
            return;
        }
        self.items
            .entry(key)
            .and_modify(|bytes| {
                *bytes = match (bytes.take(), &part) {
                    (Some(one), Some(other)) => Some(joined(one, other)),
                    _ => None,
                }
            })
            .or_insert(part);
        if self.items.len() > MANY {
            self.refuse();
        }
    }

    /// All is durable.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// No record can say what happened: the next commit writes the tree.
    pub fn refuse(&mut self) {
        self.items = FxHashMap::default();
        self.too_many = true;
    }

    /// The record that makes it so; `None`: there is too much for so many bytes of items.
    pub fn record(
        &self,
        ground: &Ground,
        tree: &Tree,
        next_inode: u64,
        room: usize,
    ) -> Result<Option<Record>> {
        if self.too_many {
            return Ok(None);
        }
        let mut size = 0;
        let mut items = Vec::with_capacity(self.items.len());
        for (key, bytes) in &self.items {
            let change = tree.look(ground, key, |value| {
                bytes.clone().map_or_else(
                    || Change::Whole(value.to_vec()),
                    |part| Change::Part(part.start, value[part].to_vec()),
                )
            })?;
            let change = change.unwrap_or(Change::Gone);
            size += record::size(key, &change);
            if size > room {
                return Ok(None);
            }
            items.push((key.clone(), change));
        }
        Ok(Some(Record {
            generation: tree.generation(),
            next_inode,
            items,
        }))
    }
}

/// Bytes are compared in pieces as large as this.
const PIECE: usize = 16;

/// The bytes of a value that is as long as before, from the first piece that differs to the last; `None`: all of it.
pub fn part(before: Option<&[u8]>, after: &[u8]) -> Option<Range<usize>> {
    let before = before.filter(|before| before.len() == after.len())?;
    let pieces = || before.chunks(PIECE).zip(after.chunks(PIECE)).enumerate();
    let mut differ = pieces().filter(|(_, (one, other))| one != other);
    let first = differ.next().map_or(0, |(at, _)| at * PIECE);
    let mut differ = pieces().rev().filter(|(_, (one, other))| one != other);
    let end = differ.next().map_or(first, |(at, _)| (at + 1) * PIECE);
    Some(first..end.min(after.len()))
}

fn joined(one: Range<usize>, other: &Range<usize>) -> Range<usize> {
    one.start.min(other.start)..one.end.max(other.end)
}
