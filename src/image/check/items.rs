//! Whether the items of the live tree agree with each other.
use super::{Problem, Summary};
use crate::codec::{InodeRecord, NameRecord, PositionRecord};
use crate::fs::{Damage, ROOT, Result};
use crate::image::content;
use crate::image::items::decode;
use crate::image::key::{self, Item};
use crate::image::pointer::Pointer;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Deepest path that is shown.
const DEEPEST: usize = 4096;

struct Known {
    nlink: u32,
    pages: u64,
    directory: bool,
}

/// What was seen so far.
#[derive(Default)]
pub struct Items {
    inodes: BTreeMap<u64, Known>,
    /// Names that mean an inode, and directories in a directory.
    links: HashMap<u64, u32>,
    below: HashMap<u64, u32>,
    pages: HashMap<u64, u64>,
    /// Names and places of a directory, combined: equal ones cancel each other.
    listings: HashMap<u64, u64>,
    orphans: HashSet<u64>,
    /// A name of each inode.
    names: HashMap<u64, (u64, Vec<u8>)>,
}

impl Items {
    /// Takes an item in; gives the pages of content that it refers to.
    pub fn item(
        &mut self,
        key: &[u8],
        value: &[u8],
        live: bool,
    ) -> Result<Vec<(u64, u64, Pointer)>> {
        let (ino, item) = key::parse(key).ok_or(Damage::Malformed)?;
        let rest = key::rest(key);
        match item {
            Item::Extent => return self.extent(ino, key, value, live),
            _ if !live => {}
            Item::Inode => {
                let inode: InodeRecord = decode(value)?;
                inode.kind()?;
                let known = Known {
                    nlink: inode.nlink,
                    pages: inode.pages,
                    directory: inode.is_dir(),
                };
                if known.directory && ino != ROOT {
                    *self.below.entry(inode.parent).or_default() += 1;
                }
                self.inodes.insert(ino, known);
            }
            Item::Name => {
                let name: NameRecord = decode(value)?;
                *self.links.entry(name.ino).or_default() += 1;
                self.names.insert(name.ino, (ino, rest.to_vec()));
                self.listed(ino, name.position, name.ino, rest);
            }
            Item::Position => {
                let record: PositionRecord = decode(value)?;
                let position = key::number(key).ok_or(Damage::Malformed)?;
                self.listed(ino, position, record.ino, &record.name);
            }
            Item::Orphan => self.orphans.extend(key::number(key)),
            Item::Freemap | Item::Snapshot | Item::Xattr | Item::Inline => {}
        }
        Ok(Vec::new())
    }

    /// Names and places cancel each other if each name has its place.
    fn listed(&mut self, dir: u64, position: u64, ino: u64, name: &[u8]) {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((position, ino, name));
        *self.listings.entry(dir).or_default() ^= hash;
    }

    fn extent(
        &mut self,
        ino: u64,
        key: &[u8],
        value: &[u8],
        live: bool,
    ) -> Result<Vec<(u64, u64, Pointer)>> {
        let pages: Vec<_> = content::pages(key, value)?
            .filter_map(|(page, at)| Some((ino, page, at?)))
            .collect();
        if live {
            *self.pages.entry(ino).or_default() += pages.len() as u64;
        }
        Ok(pages)
    }

    /// After the whole tree.
    pub fn judge(&mut self, found: &mut Vec<(u64, Problem, bool)>, summary: &mut Summary) {
        for (ino, known) in &self.inodes {
            let ino = *ino;
            summary.directories += u64::from(known.directory);
            summary.files += u64::from(!known.directory);
            let named = self.links.get(&ino).copied().unwrap_or(0);
            let links = match known.directory {
                true if named > 0 || ino == ROOT => 2 + self.below.get(&ino).copied().unwrap_or(0),
                _ => named,
            };
            if links == 0 && !self.orphans.contains(&ino) {
                found.push((ino, Problem::Nameless(ino), false));
            } else if links != known.nlink {
                let (found_links, stored) = (links, known.nlink);
                let problem = Problem::Links {
                    ino,
                    found: found_links,
                    stored,
                };
                found.push((ino, problem, false));
            }
            let pages = self.pages.get(&ino).copied().unwrap_or(0);
            if pages != known.pages {
                let (found_pages, stored) = (pages, known.pages);
                let problem = Problem::Pages {
                    ino,
                    found: found_pages,
                    stored,
                };
                found.push((ino, problem, false));
            }
        }
        for ino in self
            .links
            .keys()
            .filter(|ino| !self.inodes.contains_key(ino))
        {
            found.push((*ino, Problem::Dangling(*ino), false));
        }
        for (dir, _) in self.listings.iter().filter(|(_, left)| **left != 0) {
            found.push((*dir, Problem::Listing(*dir), false));
        }
    }

    /// A path of an inode, as far as it is known.
    pub fn path(&self, ino: u64) -> Vec<u8> {
        let (mut parts, mut at) = (Vec::new(), ino);
        while let (Some((dir, name)), true) = (self.names.get(&at), parts.len() < DEEPEST) {
            parts.push(&name[..]);
            at = *dir;
        }
        let parts = parts.iter().rev();
        parts
            .flat_map(|part| [&b"/"[..], part])
            .flatten()
            .copied()
            .collect()
    }
}
