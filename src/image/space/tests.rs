use super::super::layout::KEPT;
use super::*;

#[test]
fn a_freed_page_rests_for_two_commits() {
    let mut space = Space::new(4096, 0);
    let free = space.available();
    let run = space.take(Purpose::Data, 20).unwrap();
    space.seal(1);
    run.clone().for_each(|page| space.free(page));
    assert_eq!((space.waiting(), space.available()), (20, free - 20));
    space.seal(2);
    space.release(2);
    assert_eq!((space.waiting(), space.available()), (20, free - 20));
    space.release(3);
    assert_eq!((space.waiting(), space.available()), (0, free));
}

#[test]
fn a_block_is_given_back_with_its_last_page() {
    let mut space = Space::new(4096, 0);
    let run = space.take(Purpose::Data, 128).unwrap();
    assert_eq!(run, 256..384);
    let mut release = |pages: &mut dyn Iterator<Item = u64>, generation| {
        pages.for_each(|page| space.free(page));
        space.seal(generation);
        space.release(generation + KEPT);
        let held = space.hold_emptied();
        space.unhold(held.clone());
        held.first().cloned()
    };
    assert_eq!(release(&mut (266..310), 1), None);
    assert_eq!(release(&mut (256..266).chain(310..330), 2), Some(256..320));
    assert_eq!(release(&mut (330..384), 3), Some(320..384));
    assert_eq!(release(&mut std::iter::empty(), 4), None);
}

/// What comes in a few pages goes where there was something before, what comes in many to a segment of its own.
#[test]
fn few_pages_go_where_space_was_found_before() {
    let mut space = Space::new(8192, 0);
    while space
        .take(Purpose::Data, 256)
        .is_some_and(|run| run.end < 2048)
    {}
    for page in (1024..1280).filter(|page| page % 4 == 0) {
        space.free(page);
    }
    space.seal(1);
    space.release(1 + KEPT);
    space.take(Purpose::Data, 1); // where content in a few pages began
    while let Some(run) = space.take(Purpose::Data, 1) {
        if run.start >= 1024 {
            assert!((1024..1280).contains(&run.start), "{run:?}");
            break;
        }
    }
    assert!(space.take(Purpose::Data, 256).unwrap().start >= 2048);
}

#[test]
fn every_page_is_given_out_once_and_the_reserve_last() {
    let mut space = Space::new(2048, 0);
    let mut seen: BTreeSet<u64> = layout::fixed(2048, 0).into_iter().flatten().collect();
    for (purpose, left) in [(Purpose::Data, space.reserve()), (Purpose::Nodes, 0)] {
        while let Some(run) = space.take(purpose, 7) {
            assert!(run.clone().all(|page| seen.insert(page)));
        }
        assert_eq!(space.available(), left);
    }
    assert_eq!(seen.len(), 2048);
}

#[test]
fn the_map_is_read_as_it_was_written() {
    let mut space = Space::new(10_000, 0);
    for _ in 0..9 {
        space.take(Purpose::Data, 200);
        space.take(Purpose::Nodes, 1);
    }
    let chunks = space.take_changed();
    let again = Space::load(10_000, 0, chunks.iter().map(|(i, bytes)| (*i, &bytes[..])));
    assert_eq!(
        (again.available(), again.in_use()),
        (space.available(), space.in_use())
    );
    assert_eq!(again.free, space.free);
}
