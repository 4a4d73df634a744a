//! Extended attributes (man/cryptfs.5, "EXTENDED ATTRIBUTES").
//!
//! backing name = "user.cryptfs." + base64url(first 16 bytes of HMAC-SHA-256(name)); backing value = AES-256-SIV over length of
//! the name (1 byte), name, value; associated data: backing name, and a directory's id. Links and special files can have
//! no `user.` attributes: theirs begin with "trusted.cryptfs.", which only root can set. POSIX ACLs are passed through
//! in clear, so that kernels enforce them.
use super::*;
use crate::crypto::digest;
use data_encoding::BASE64URL_NOPAD;
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// How backing names of attributes begin, of files and directories.
const PREFIX: &str = "user.cryptfs.";
/// The same of anything else.
const SPECIAL_PREFIX: &str = "trusted.cryptfs.";

/// Whether a backing name is that of an attribute of ours.
pub fn is_sealed(stored: &CStr) -> bool {
    [PREFIX, SPECIAL_PREFIX]
        .iter()
        .any(|prefix| stored.to_bytes().starts_with(prefix.as_bytes()))
}
/// XATTR_SIZE_MAX.
const MAX_VALUE: usize = 64 << 10;

impl Directory {
    pub(super) fn get_attribute(&self, node: &Arc<Node>, name: &[u8]) -> Result<Vec<u8>> {
        if let Some(acl) = acl(name) {
            return self.with_object(node, |object| {
                backing::get_xattr(object, acl).map_err(absent)
            });
        }
        let stored = self.stored_name(node, name)?;
        let sealed = self.with_object(node, |object| {
            backing::get_xattr(object, &stored).map_err(absent)
        })?;
        let (found, value) = self.open_attribute(node, &stored, &sealed)?;
        if found == name {
            Ok(value)
        } else {
            Err(Damage::Malformed.into())
        }
    }

    pub(super) fn set_attribute(
        &self,
        node: &Arc<Node>,
        name: &[u8],
        value: &[u8],
        how: SetXattr,
    ) -> Result<()> {
        if let Some(acl) = acl(name) {
            return self.with_object(node, |object| {
                self.backing()
                    .set_xattr(object, acl, value, how)
                    .map_err(absent)
            });
        }
        if value.len() > MAX_VALUE {
            return Err(Error::TooBig);
        }
        let stored = self.stored_name(node, name)?;
        let plain = [&[name.len() as u8], name, value].concat(); // stored_name has checked the length
        let sealed = self
            .store
            .keys
            .xattrs()
            .seal(&associated(node, &stored), &plain);
        self.with_object(node, |object| {
            self.backing()
                .set_xattr(object, &stored, &sealed, how)
                .map_err(absent)
        })
    }

    pub(super) fn list_attributes(&self, node: &Arc<Node>) -> Result<Vec<Vec<u8>>> {
        self.with_object(node, |object| {
            let mut names = Vec::new();
            for stored in backing::list_xattrs(object)? {
                if acl(stored.to_bytes()).is_some() {
                    names.push(stored.into_bytes());
                } else if is_sealed(&stored) {
                    let sealed = backing::get_xattr(object, &stored)?;
                    names.push(self.open_attribute(node, &stored, &sealed)?.0);
                }
            }
            Ok(names)
        })
    }

    pub(super) fn remove_attribute(&self, node: &Arc<Node>, name: &[u8]) -> Result<()> {
        let stored = match acl(name) {
            Some(acl) => acl.to_owned(),
            None => self.stored_name(node, name)?,
        };
        self.with_object(node, |object| {
            self.backing().remove_xattr(object, &stored).map_err(absent)
        })
    }

    fn stored_name(&self, node: &Node, name: &[u8]) -> Result<CString> {
        let known = [&b"user."[..], b"trusted.", b"security."]
            .iter()
            .any(|space| name.starts_with(space));
        if !known {
            return Err(Error::NotSupported);
        }
        if name.len() > 255 {
            return Err(Error::Range);
        }
        let mac = digest::hmac_sha256(self.store.keys.xattr_names(), &[name]);
        let prefix = match node.kind {
            Kind::File | Kind::Directory => PREFIX,
            _ => SPECIAL_PREFIX,
        };
        CString::new(format!("{prefix}{}", BASE64URL_NOPAD.encode(&mac[..16])))
            .map_err(|_| Error::Invalid)
    }

    /// Name and value of a stored attribute.
    fn open_attribute(
        &self,
        node: &Node,
        stored: &CStr,
        sealed: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let id = node.dir().ok().map(|dir| dir.id);
        Ok(open(&self.store.keys, id, stored, sealed)?)
    }
}

/// Name and value of a stored attribute; `id`: a directory's.
pub fn open(
    keys: &Keys,
    id: Option<DirId>,
    stored: &CStr,
    sealed: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), Damage> {
    let mut associated = vec![stored.to_bytes()];
    associated.extend(id.as_ref().map(|id| &id.0[..]));
    let opened = keys.xattrs().open(&associated, sealed);
    let plain = opened.map_err(|_| Damage::Tag)?;
    let (length, rest) = plain.split_first().ok_or(Damage::Malformed)?;
    let (name, value) = rest
        .split_at_checked(usize::from(*length))
        .ok_or(Damage::Malformed)?;
    Ok((name.to_vec(), value.to_vec()))
}

/// A directory has an id of its own; a file has none that stays (its file id changes with its content), so that an attribute
/// copied from one file to another by someone with access to the backing store is not noticed.
fn associated<'a>(node: &'a Node, stored: &'a CStr) -> Vec<&'a [u8]> {
    let mut associated = vec![stored.to_bytes()];
    if let Ok(dir) = node.dir() {
        associated.push(&dir.id.0);
    }
    associated
}

/// A POSIX ACL's backing name.
pub fn acl(name: &[u8]) -> Option<&'static CStr> {
    match name {
        b"system.posix_acl_access" => Some(c"system.posix_acl_access"),
        b"system.posix_acl_default" => Some(c"system.posix_acl_default"),
        _ => None,
    }
}

fn absent(errno: Errno) -> Error {
    match errno {
        Errno::NODATA => Error::NoAttribute,
        other => other.into(),
    }
}
