//! Sealing a generation: its nodes get their tags, the lowest first, and are written.
use super::Tree;
use crate::fs::{Damage, Result};
use crate::image::ground::Ground;
use crate::image::layout::PAGE;
use crate::image::pointer::{Kind, Pointer};

/// Nodes written by one call, at most.
const BATCH: usize = 256;

impl Tree {
    /// Writes every node of this generation and begins the next one. On an error nothing has changed, and it can be
    /// tried again. Does not flush.
    pub fn seal(&mut self, ground: &Ground) -> Result<()> {
        let mut sealed = Vec::with_capacity(self.dirty.len());
        if self.dirty.contains_key(&self.root.page) {
            self.root = self.seal_node(ground, self.root.page, &mut sealed)?;
        }
        sealed.sort_by_key(|(at, _)| at.page);
        write(ground, &sealed)?;
        for (at, _) in sealed {
            if let Some(node) = self.dirty.remove(&at.page) {
                ground.remember(at, node);
            }
        }
        self.generation += 1;
        self.changed = false;
        Ok(())
    }

    fn seal_node(
        &mut self,
        ground: &Ground,
        page: u64,
        sealed: &mut Vec<(Pointer, Box<[u8; PAGE]>)>,
    ) -> Result<Pointer> {
        let node = self.dirty.get(&page).ok_or(Damage::Malformed)?;
        if node.level() > 0 {
            let children: Result<Vec<_>> = (0..node.count()).map(|i| node.child(i)).collect();
            for (index, child) in children?.into_iter().enumerate() {
                if self.dirty.contains_key(&child.page) {
                    let pointer = self.seal_node(ground, child.page, sealed)?.encode();
                    if let Some(node) = self.dirty.get_mut(&page) {
                        node.replace(index, &pointer);
                    }
                }
            }
        }
        let node = self.dirty.get_mut(&page).ok_or(Damage::Malformed)?;
        let mut cipher = Box::new([0; PAGE]);
        let mut pointers = Vec::with_capacity(1);
        let (generation, plain) = (self.generation, node.seal_form());
        ground.pages.seal(
            Kind::Node,
            page,
            generation,
            plain,
            &mut cipher[..],
            &mut pointers,
        )?;
        let pointer = pointers.pop().ok_or(Damage::Malformed)?;
        sealed.push((pointer, cipher));
        Ok(pointer)
    }
}

/// Writes pages, sorted by their place; neighbours together.
fn write(ground: &Ground, sealed: &[(Pointer, Box<[u8; PAGE]>)]) -> Result<()> {
    let mut rest = sealed;
    let mut run = Vec::new();
    while let Some((first, _)) = rest.first() {
        run.clear();
        let follows = |(step, (at, _)): &(usize, &(Pointer, Box<[u8; PAGE]>))| {
            at.page == first.page + *step as u64 && *step < BATCH
        };
        let count = rest.iter().enumerate().take_while(follows).count();
        for (_, cipher) in &rest[..count] {
            run.extend_from_slice(&cipher[..]);
        }
        ground.write_nodes(first.page, &run)?;
        rest = &rest[count..];
    }
    Ok(())
}
