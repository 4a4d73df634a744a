//! Extended attributes.
use super::acl::{self, Acl};
use super::core::Core;
use super::inode::{self, ACCESS_ACL, CAPABILITY, DEFAULT_ACL, XATTRS};
use super::items::Items;
use super::key;
use super::store::Change;
use crate::codec::InodeRecord;
use crate::fs::{Error, Kind, NodeId, Result, SetXattr};

/// XATTR_SIZE_MAX.
const LARGEST: usize = 65_536;
/// XATTR_NAME_MAX.
const LONGEST: usize = 255;
/// File capabilities.
pub const CAPABILITY_NAME: &[u8] = b"security.capability";

impl Core {
    /// An attribute's value.
    pub fn get_xattr(&self, ino: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        let inode = self.store.inode(ino)?;
        check(&inode, name, Error::NoAttribute)?;
        if !inode.has(XATTRS) {
            return Err(Error::NoAttribute);
        }
        self.store
            .chunks(&key::xattr(ino, name))?
            .ok_or(Error::NoAttribute)
    }

    /// Sets an attribute.
    pub fn set_xattr(&self, ino: NodeId, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        check(&self.store.inode(ino)?, name, Error::NotPermitted)?;
        if value.len() > LARGEST {
            return Err(Error::TooBig);
        }
        let growth = Some(value.len() as u64 / 1024 + 4);
        self.store.change(growth, |change| {
            let there = change.any(&key::xattr(ino, name))?;
            match (how, there) {
                (SetXattr::Create, true) => return Err(Error::Exists),
                (SetXattr::Replace, false) => return Err(Error::NoAttribute),
                _ => {}
            }
            change.set_xattr(ino, name, value)
        })
    }

    /// Names of the attributes.
    pub fn list_xattrs(&self, ino: NodeId) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        if !self.store.inode(ino)?.has(XATTRS) {
            return Ok(names);
        }
        let prefix = key::xattrs(ino);
        self.store.each(&prefix, &prefix, &mut |key, _| {
            if let Some(name) = key::rest(key).strip_suffix(&[0, 0, 0]) {
                names.push(name.to_vec()); // its first chunk
            }
            Ok(false)
        })?;
        Ok(names)
    }

    /// Removes an attribute.
    pub fn remove_xattr(&self, ino: NodeId, name: &[u8]) -> Result<()> {
        check(&self.store.inode(ino)?, name, Error::NotPermitted)?;
        self.store.change(None, |change| {
            let mut inode = change.inode(ino)?;
            if !change.remove_chunks(&key::xattr(ino, name))? {
                return Err(Error::NoAttribute);
            }
            if let Some(flag) = flag(name) {
                inode.set(flag, false);
            }
            inode.ctime = inode::now();
            change.put_inode(ino, &inode)
        })
    }
}

impl Change<'_> {
    fn set_xattr(&mut self, ino: u64, name: &[u8], value: &[u8]) -> Result<()> {
        let mut inode = self.inode(ino)?;
        inode.ctime = inode::now();
        let place = key::xattr(ino, name);
        if name == acl::ACCESS || name == acl::DEFAULT {
            let mut acl = Acl::parse(value).ok_or(Error::Invalid)?;
            if name == acl::ACCESS {
                inode.mode = inode.mode & !0o777 | acl.mode();
                // What the mode says alone is not kept twice (posix_acl_update_mode).
                if acl.is_minimal() {
                    self.remove_chunks(&place)?;
                    inode.set(ACCESS_ACL, false);
                    return self.put_inode(ino, &inode);
                }
            }
        }
        inode.set(XATTRS | flag(name).unwrap_or(0), true);
        self.put_chunks(&place, value)?;
        self.put_inode(ino, &inode)
    }
}

fn flag(name: &[u8]) -> Option<u32> {
    match name {
        acl::ACCESS => Some(ACCESS_ACL),
        acl::DEFAULT => Some(DEFAULT_ACL),
        CAPABILITY_NAME => Some(CAPABILITY),
        _ => None,
    }
}

/// Whether this kind of node may have attributes of this name (xattr(7)).
fn check(inode: &InodeRecord, name: &[u8], refusal: Error) -> Result<()> {
    let kind = inode.kind()?;
    if name.len() > LONGEST {
        return Err(Error::Range);
    }
    match name {
        _ if name.contains(&0) => Err(Error::Invalid),
        acl::ACCESS if kind != Kind::Symlink => Ok(()),
        acl::DEFAULT if kind == Kind::Directory => Ok(()),
        acl::ACCESS | acl::DEFAULT => Err(Error::NotSupported),
        _ if name.starts_with(b"user.") => match kind {
            Kind::File | Kind::Directory => Ok(()),
            _ => Err(refusal),
        },
        _ if name.starts_with(b"trusted.") || name.starts_with(b"security.") => Ok(()),
        _ => Err(Error::NotSupported),
    }
}
