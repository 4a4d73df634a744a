//! Snapshots: roots that are kept. A page that a snapshot may refer to is not dropped when the live tree drops it: those
//! are the pages not younger than the newest snapshot.
use super::ground::Ground;
use super::items::decode;
use super::key;
use super::tree::Tree;
use crate::codec::SnapshotRecord;
use crate::fs::Result;
use std::sync::atomic::Ordering::Relaxed;

/// At open: which pages are to be kept.
pub(super) fn remember_kept(ground: &Ground, tree: &Tree) -> Result<()> {
    let mut newest = 0;
    let prefix = key::snapshot(b"");
    tree.scan_prefix(ground, &prefix, &prefix, &mut |_, value| {
        newest = newest.max(decode::<SnapshotRecord>(value)?.generation);
        Ok(false)
    })?;
    ground.kept.store(newest, Relaxed);
    Ok(())
}
