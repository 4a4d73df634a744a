//! Reading what items mean: the same from the live tree, within a change, and from a snapshot.
use super::key;
use super::store::{Change, Store};
use super::tree::Sink;
use crate::codec::{self, InodeRecord, NameRecord};
use crate::fs::{Damage, Error, Result};

/// Bytes in a chunk of a value that takes several items.
pub const CHUNK: usize = 1536;

/// Something that has items.
pub trait Items {
    /// A value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Items under a prefix, from a key on.
    fn each(&self, prefix: &[u8], from: &[u8], sink: &mut Sink<'_>) -> Result<()>;

    /// An inode; `Stale` if there is none.
    fn inode(&self, ino: u64) -> Result<InodeRecord> {
        let bytes = self.get(&key::inode(ino))?.ok_or(Error::Stale)?;
        decode(&bytes)
    }

    /// What a name means.
    fn name(&self, dir: u64, name: &[u8]) -> Result<Option<NameRecord>> {
        let bytes = self.get(&key::name(dir, name))?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// A value in chunks; `None` if there is no chunk.
    fn chunks(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = None;
        self.each(prefix, prefix, &mut |key, chunk| {
            if key.len() == prefix.len() + 2 {
                value.get_or_insert_with(Vec::new).extend_from_slice(chunk);
            }
            Ok(false)
        })?;
        Ok(value)
    }

    /// True if there is an item under a prefix.
    fn any(&self, prefix: &[u8]) -> Result<bool> {
        let mut any = false;
        self.each(prefix, prefix, &mut |_, _| {
            any = true;
            Ok(true)
        })?;
        Ok(any)
    }
}

/// A record of an authenticated item.
pub fn decode<T: codec::Record>(bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(|_| Damage::Malformed.into())
}

impl Items for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.look(key, <[u8]>::to_vec)
    }
    fn each(&self, prefix: &[u8], from: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        self.scan(prefix, from, sink)
    }
    fn inode(&self, ino: u64) -> Result<InodeRecord> {
        self.look(&key::inode(ino), decode)?.ok_or(Error::Stale)?
    }
}

impl Items for Change<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.look(key, <[u8]>::to_vec)
    }
    fn each(&self, prefix: &[u8], from: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        self.scan(prefix, from, sink)
    }
    fn inode(&self, ino: u64) -> Result<InodeRecord> {
        self.look(&key::inode(ino), decode)?.ok_or(Error::Stale)?
    }
}

impl Change<'_> {
    /// Writes an inode.
    pub fn put_inode(&mut self, ino: u64, inode: &InodeRecord) -> Result<()> {
        self.put(&key::inode(ino), &codec::encode(inode))
    }

    /// Changes an inode.
    pub fn edit<T>(&mut self, ino: u64, edit: impl FnOnce(&mut InodeRecord) -> T) -> Result<T> {
        let edited = self.amend(&key::inode(ino), |value| {
            let mut inode = decode(value)?;
            let out = edit(&mut inode);
            codec::encode_over(&inode, value).map_err(|_| Damage::Malformed)?;
            Ok(out)
        })?;
        edited.ok_or(Error::Stale)
    }

    /// Puts a value in chunks in place of what was there. An empty value is one empty chunk.
    pub fn put_chunks(&mut self, prefix: &[u8], value: &[u8]) -> Result<()> {
        let mut count = 0_u16;
        let empty: &[u8] = &[];
        for chunk in value.chunks(CHUNK).chain(value.is_empty().then_some(empty)) {
            self.put(&chunk_key(prefix, count), chunk)?;
            count += 1;
        }
        while self.remove(&chunk_key(prefix, count))? {
            count += 1;
        }
        Ok(())
    }

    /// Removes a value in chunks; true if there was one.
    pub fn remove_chunks(&mut self, prefix: &[u8]) -> Result<bool> {
        let mut count = 0;
        while self.remove(&chunk_key(prefix, count))? {
            count += 1;
        }
        Ok(count > 0)
    }

    /// Removes up to `most` items under a prefix; true if that was all.
    pub fn remove_some(&mut self, prefix: &[u8], most: usize) -> Result<bool> {
        let mut keys = Vec::new();
        self.scan(prefix, prefix, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(keys.len() > most)
        })?;
        for key in keys.iter().take(most) {
            self.remove(key)?;
        }
        Ok(keys.len() <= most)
    }
}

fn chunk_key(prefix: &[u8], index: u16) -> Vec<u8> {
    [prefix, &index.to_be_bytes()].concat()
}
