//! The tree against a map, through splits, joins, commits and reopening.
use super::*;
use crate::crypto::secret::Secret;
use crate::crypto::tag::Algorithm;
use crate::crypto::xts::Cipher;
use crate::image::device::Device;
use crate::image::pages::Pages;
use crate::image::space::Space;
use crate::image::store::{Durable, Store};
use crate::volume::keys::Keys;
use std::collections::BTreeMap;

pub fn keys() -> Keys {
    let fvek = Secret::fill_with(|bytes| bytes.fill(7));
    let keys = Keys::derive(
        &[1; 16],
        Cipher::XtsAes256,
        Algorithm::PolyvalAes256,
        &[(1, fvek)],
        Secret::random(),
    );
    keys.unwrap()
}

fn ground(pages: u64) -> Ground {
    let file = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, pages * 4096).unwrap();
    let device = Device::new(file, true, None).unwrap();
    let pages_of = Pages::new(device, Arc::new(keys()));
    Ground::new(pages_of, Space::new(pages, 0))
}

/// A generator that needs no crate: the order of the keys is all that matters.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn same(tree: &Tree, ground: &Ground, map: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut items = map.iter();
    tree.scan(ground, &[], &mut |key, value| {
        let (want_key, want) = items.next().expect("an item too many");
        assert_eq!((key, value), (&want_key[..], &want[..]));
        Ok(false)
    })
    .unwrap();
    assert!(items.next().is_none());
}

#[test]
fn the_tree_is_a_map() {
    for seed in 1..9_u64 {
        let ground = ground(8192);
        let before = ground.space.lock().available();
        let mut tree = Tree::empty(&ground, 1).unwrap();
        let mut map = BTreeMap::new();
        let mut state = seed * 0x9e37_79b9;
        for step in 0..6000_u64 {
            let shrinking = step / 1500 % 2 == 1;
            let wide = if seed.is_multiple_of(2) { 3000 } else { 300 };
            let number = random(&mut state) % wide;
            let mut key = number.to_be_bytes().to_vec();
            key.extend(vec![b'x'; (number % 250) as usize]);
            if random(&mut state) % 10 < if shrinking { 7 } else { 3 } {
                assert_eq!(tree.remove(&ground, &key).unwrap(), map.remove(&key));
            } else {
                let length = random(&mut state) % if number.is_multiple_of(7) { 1500 } else { 60 };
                let value = vec![step as u8; length as usize];
                let had = tree.put(&ground, &key, &value).unwrap();
                assert_eq!(had, map.insert(key, value));
            }
            if step % 500 == 499 {
                let sealed = tree.generation();
                tree.seal(&ground, sealed).unwrap();
                let generation = tree.generation();
                ground.space.lock().seal(generation - 1);
                ground.space.lock().release(generation - 1);
                ground.forget_all();
                tree = Tree::open(tree.root(), generation - 1);
                same(&tree, &ground, &map);
            }
        }
        for key in map.keys() {
            tree.remove(&ground, key).unwrap().unwrap();
        }
        same(&tree, &ground, &BTreeMap::new());
        for generation in tree.generation()..tree.generation() + 4 {
            ground.space.lock().seal(generation);
            ground.space.lock().release(generation);
        }
        assert_eq!(ground.space.lock().available(), before - 1, "pages leaked");
    }
}

/// An order of puts without room ends in an error and leaves the tree as it was.
#[test]
fn a_full_ground_changes_nothing() {
    let ground = ground(2048);
    let mut tree = Tree::empty(&ground, 1).unwrap();
    let mut map = BTreeMap::new();
    for number in 0_u64.. {
        let (key, value) = (number.to_be_bytes().to_vec(), vec![1; 1500]);
        if tree.put(&ground, &key, &value).is_err() {
            break;
        }
        map.insert(key, value);
    }
    same(&tree, &ground, &map);
    for key in map.keys() {
        tree.remove(&ground, key).unwrap().unwrap();
    }
}

/// An item is written over where it is; the generation before keeps what it has, and a change that fails is taken back.
#[test]
fn what_is_amended_can_be_taken_back() {
    let ground = ground(8192);
    let mut tree = Tree::empty(&ground, 1).unwrap();
    for number in 0..3000_u32 {
        tree.put(&ground, &number.to_be_bytes(), &[1; 40]).unwrap();
    }
    tree.seal(&ground, 1).unwrap();
    let before = Tree::open(tree.root(), 1);
    let key = 1234_u32.to_be_bytes();
    let store = Store::new(ground, tree, Durable::default(), 2, false);
    let amend = |fails: bool| {
        store.change(None, |change| {
            assert_eq!(change.amend(b"none", |_| Ok(()))?, None);
            let old = change.amend(&key, |value| Ok(std::mem::replace(&mut value[7], 9)))?;
            change.put(b"new", b"item")?;
            match fails {
                true => Err(Error::Invalid),
                false => Ok(old),
            }
        })
    };
    let seventh = |tree: &Tree| tree.look(&store.ground, &key, |value| value[7]).unwrap();
    assert!(matches!(amend(true), Err(Error::Invalid)));
    assert_eq!(seventh(&store.tree()), Some(1));
    assert!(store.writable().is_ok());
    assert_eq!(amend(false).unwrap(), Some(1));
    assert_eq!(seventh(&store.tree()), Some(9));
    assert_eq!(seventh(&before), Some(1));
}
