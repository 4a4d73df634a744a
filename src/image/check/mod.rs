//! Checking a whole image: every pointer from the superblock down, every page of content, and whether the items agree.
//!
//! Repair writes anew what follows from the rest: the map of used pages, link counts, page counts. It deletes nothing.
//! While a node is damaged the map is left alone: what that node refers to would look unused.
mod items;

use super::bits::Bits;
use super::filesystem::Image;
use super::layout;
use super::pointer::Pointer;
use super::snapshot::Snapshot;
use super::store::Store;
use super::tree::{Tree, Visitor};
use crate::fs::{Damage, Error, Progress, Result};
use items::Items;
use std::ops::Range;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path from the volume's root, as far as it is known; empty for the volume itself.
    pub path: Vec<u8>,
    /// What is wrong.
    pub problem: Problem,
    /// It was put right.
    pub repaired: bool,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A node of the tree: what lies below it is lost.
    #[error("page {page}, a node of the tree: {damage}")]
    Node {
        /// In the image.
        page: u64,
        /// How.
        damage: Damage,
    },
    /// Content.
    #[error("page {page}, bytes {} to {}: {damage}", range.start, range.end)]
    Content {
        /// In the image.
        page: u64,
        /// Bytes of the file.
        range: Range<u64>,
        /// How.
        damage: Damage,
    },
    /// The medium failed.
    #[error("page {page} cannot be read: errno {errno}")]
    Unreadable {
        /// In the image.
        page: u64,
        /// Why.
        errno: i32,
    },
    /// An item that no version of the format has.
    #[error("malformed item of inode {0}")]
    Item(u64),
    /// A name that means no inode, or whose place in the listing is not its own.
    #[error("name means inode {0}, which is not there")]
    Dangling(u64),
    /// The listing and the names do not agree.
    #[error("listing and names of directory {0} differ")]
    Listing(u64),
    /// An inode without a name that is not on the list of those to be removed.
    #[error("inode {0} has no name")]
    Nameless(u64),
    /// Links.
    #[error("inode {ino} has {found} links, not {stored}")]
    Links {
        /// Which.
        ino: u64,
        /// Counted.
        found: u32,
        /// In the inode.
        stored: u32,
    },
    /// Pages.
    #[error("inode {ino} has {found} pages, not {stored}")]
    Pages {
        /// Which.
        ino: u64,
        /// Counted.
        found: u64,
        /// In the inode.
        stored: u64,
    },
    /// The log.
    #[error("a page of the log is damaged: what was made durable last before the crash is lost")]
    Log,
    /// Pages that are marked as used and are not.
    #[error("{0} pages are marked as used and are not")]
    Leaked(u64),
    /// Pages that are used and not marked: they would be written over.
    #[error("{0} pages are used and not marked")]
    Unmarked(u64),
    /// Two pointers to one page.
    #[error("page {0} is referred to twice")]
    Shared(u64),
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Directories.
    pub directories: u64,
    /// Other inodes.
    pub files: u64,
    /// Nodes of the tree.
    pub nodes: u64,
    /// Pages of content.
    pub pages: u64,
    /// Findings.
    pub findings: u64,
    /// Findings that were put right.
    pub repaired: u64,
}

/// Checks an image that nothing else uses meanwhile. `report` hears each finding; progress counts pages.
pub fn check(
    image: &Image,
    repair: bool,
    progress: &dyn Progress,
    report: &mut dyn FnMut(&Finding),
) -> Result<Summary> {
    let store = &image.core.store;
    if repair {
        store.writable()?;
    }
    let broken_log = store.log_is_broken();
    store.commit()?;
    progress.total(store.ground.space.lock().in_use());
    let mut run = Run {
        store,
        progress,
        summary: Summary::default(),
        seen: Bits::new(store.ground.space.lock().pages()),
        items: Items::default(),
        found: Vec::from_iter(broken_log.then_some((0, Problem::Log, false))),
        lost: false,
        live: true,
    };
    {
        let tree = store.tree();
        tree.walk(&store.ground, &mut run)?;
        run.items.judge(&mut run.found, &mut run.summary);
        run.live = false;
        for snapshot in Snapshot::all_of(&store.ground, &tree)? {
            Tree::open(snapshot.root, snapshot.generation).walk(&store.ground, &mut run)?;
        }
    }
    run.judge_map();
    if repair {
        run.repair()?;
    }
    run.tell(report)
}

struct Run<'a> {
    store: &'a Store,
    progress: &'a dyn Progress,
    summary: Summary,
    /// Pages that are referred to.
    seen: Bits,
    items: Items,
    /// The inode that a finding is about, 0: the volume.
    found: Vec<(u64, Problem, bool)>,
    lost: bool,
    /// This is the live tree; items of snapshots are not counted.
    live: bool,
}

impl Visitor for Run<'_> {
    fn enter(&mut self, at: &Pointer) -> bool {
        // A snapshot shares what did not change since.
        if !self.see(0, at) {
            return false;
        }
        self.summary.nodes += 1;
        self.progress.done(1);
        true
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Ok(pages) = self.items.item(key, value, self.live) else {
            let ino = super::key::parse(key).map_or(0, |(ino, _)| ino);
            self.found.push((ino, Problem::Item(ino), false));
            return Ok(());
        };
        for (ino, page, at) in pages {
            self.content(ino, page, &at);
        }
        Ok(())
    }

    fn lost(&mut self, at: &Pointer, error: Error) -> Result<()> {
        self.lost = true;
        let problem = match error {
            Error::Damaged(damage) => Problem::Node {
                page: at.page,
                damage,
            },
            other => Problem::Unreadable {
                page: at.page,
                errno: other.errno(),
            },
        };
        self.found.push((0, problem, false));
        Ok(())
    }
}

impl Run<'_> {
    /// True if nothing referred to this page before.
    fn see(&mut self, ino: u64, at: &Pointer) -> bool {
        if at.page >= self.store.ground.space.lock().pages() {
            let damage = Damage::Malformed;
            let page = at.page;
            self.found
                .push((ino, Problem::Node { page, damage }, false));
            return false;
        }
        let first = !self.seen.get(at.page);
        if !first && self.live {
            self.found.push((ino, Problem::Shared(at.page), false));
        }
        self.seen.set(at.page, true);
        first
    }

    fn content(&mut self, ino: u64, page: u64, at: &Pointer) {
        if !self.see(ino, at) {
            return;
        }
        self.summary.pages += 1;
        self.progress.done(1);
        let mut plain = zeroize::Zeroizing::new([0; layout::PAGE]);
        let Err(error) = self.store.ground.pages.read(at, &mut plain) else {
            return;
        };
        let start = page.saturating_mul(layout::PAGE as u64);
        let problem = match error {
            Error::Damaged(damage) => Problem::Content {
                page: at.page,
                range: start..start.saturating_add(layout::PAGE as u64),
                damage,
            },
            other => Problem::Unreadable {
                page: at.page,
                errno: other.errno(),
            },
        };
        self.found.push((ino, problem, false));
    }

    fn judge_map(&mut self) {
        let space = self.store.ground.space.lock();
        for page in space.fixed().into_iter().flatten() {
            self.seen.set(page, true);
        }
        let (mut leaked, mut unmarked) = (0, 0);
        for page in 0..space.pages() {
            match (space.is_used(page), self.seen.get(page)) {
                (true, false) => leaked += 1,
                (false, true) => unmarked += 1,
                _ => {}
            }
        }
        if leaked > 0 && !self.lost {
            self.found.push((0, Problem::Leaked(leaked), false));
        }
        if unmarked > 0 {
            self.found.push((0, Problem::Unmarked(unmarked), false));
        }
    }

    fn repair(&mut self) -> Result<()> {
        let lost = self.lost;
        {
            let mut space = self.store.ground.space.lock();
            for page in 0..space.pages() {
                let used = self.seen.get(page) || lost && space.is_used(page);
                space.correct(page, used);
            }
        }
        for (ino, problem, repaired) in &mut self.found {
            *repaired = match *problem {
                Problem::Log | Problem::Leaked(_) | Problem::Unmarked(_) => true,
                Problem::Links { found, .. } if !lost => {
                    let edit = |inode: &mut crate::codec::InodeRecord| inode.nlink = found;
                    self.store.change(None, |change| change.edit(*ino, edit))?;
                    true
                }
                Problem::Pages { found, .. } if !lost => {
                    let edit = |inode: &mut crate::codec::InodeRecord| inode.pages = found;
                    self.store.change(None, |change| change.edit(*ino, edit))?;
                    true
                }
                _ => false,
            };
        }
        self.store.commit()
    }

    fn tell(mut self, report: &mut dyn FnMut(&Finding)) -> Result<Summary> {
        for (ino, problem, repaired) in std::mem::take(&mut self.found) {
            self.summary.findings += 1;
            self.summary.repaired += u64::from(repaired);
            report(&Finding {
                path: self.items.path(ino),
                problem,
                repaired,
            });
        }
        Ok(self.summary)
    }
}
