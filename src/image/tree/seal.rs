//! Sealing: nodes that changed get their tags, the lowest first, and are written.
use super::Tree;
use crate::fs::{Damage, Result};
use crate::image::ground::Ground;
use crate::image::layout::PAGE;
use crate::image::pointer::{Kind, Pointer};

/// Nodes written by one call, at most.
const BATCH: usize = 256;

/// The nodes that are written, in the order of their pages.
struct Sealed {
    generation: u64,
    pages: Vec<u64>,
    cipher: Vec<u8>,
    pointers: Vec<Pointer>,
}

impl Tree {
    /// Writes every node that changed as this generation, which is not older than the present one, and begins the next.
    /// On an error nothing has changed, and it can be tried again. Does not flush.
    pub fn seal(&mut self, ground: &Ground, generation: u64) -> Result<()> {
        let mut pages: Vec<u64> = self.dirty.keys().copied().collect();
        pages.sort_unstable();
        let mut sealed = Sealed {
            cipher: vec![0; pages.len() * PAGE],
            pointers: Vec::with_capacity(pages.len()),
            generation,
            pages,
        };
        if self.dirty(&self.root).is_some() {
            self.root = self.seal_node(ground, self.root.page, &mut sealed)?;
        }
        sealed.write(ground)?;
        for at in sealed.pointers {
            if let Some(node) = self.dirty.remove(&at.page) {
                ground.remember(at, node);
            }
        }
        self.sealed = generation;
        self.begin(generation + 1);
        Ok(())
    }

    fn seal_node(&mut self, ground: &Ground, page: u64, sealed: &mut Sealed) -> Result<Pointer> {
        let node = self.dirty.get(&page).ok_or(Damage::Malformed)?;
        let below = if node.level() > 0 { node.count() } else { 0 };
        let children: Result<Vec<_>> = (0..below).map(|index| node.child(index)).collect();
        for (index, child) in children?.into_iter().enumerate() {
            if child.generation > self.sealed {
                let pointer = self.seal_node(ground, child.page, sealed)?.encode();
                self.node(page)?.replace(index, &pointer);
            }
        }
        let place = sealed.pages.binary_search(&page);
        let place = place.map_err(|_| Damage::Malformed)? * PAGE;
        let cipher = &mut sealed.cipher[place..place + PAGE];
        let generation = sealed.generation;
        let plain = self.node(page)?.seal_form();
        let pointers = &mut sealed.pointers;
        let pages = &ground.pages;
        pages.seal(Kind::Node, page, generation, plain, cipher, pointers)?;
        Ok(*pointers.last().ok_or(Damage::Malformed)?)
    }
}

impl Sealed {
    /// Neighbours together.
    fn write(&self, ground: &Ground) -> Result<()> {
        let (mut pages, mut cipher) = (&self.pages[..], &self.cipher[..]);
        while let Some(first) = pages.first() {
            let follows = |(page, expected): &(&u64, u64)| *page == expected;
            let run = pages.iter().zip(*first..).take(BATCH);
            let count = run.take_while(follows).count();
            ground.write_nodes(*first, &cipher[..count * PAGE])?;
            (pages, cipher) = (&pages[count..], &cipher[count * PAGE..]);
        }
        Ok(())
    }
}
