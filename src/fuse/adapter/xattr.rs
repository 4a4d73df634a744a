//! Extended attributes.
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;

use super::{Answer, Call};
use crate::fs::{Error, SetAttr, SetXattr};
use crate::fuse::abi::{GetxattrIn, SETXATTR_ACL_KILL_SGID, SetxattrCompatIn, SetxattrIn};
use crate::fuse::encode;
use crate::sys::process;

const TRUSTED: &[u8] = b"trusted.";
const SELINUX: &str = "security.selinux";
const S_ISGID: u32 = 0o2000;

impl Call<'_> {
    pub(super) fn getxattr(&mut self) -> Answer {
        let arg = GetxattrIn::parse(&mut self.body)?;
        let name = self.body.name()?;
        let value = match self.fs.getxattr(self.node(), name) {
            // The kernel looks for ACLs when it checks permissions. A store without ACLs has none.
            Err(Error::NotSupported) if is_acl(name) => return Err(Error::NoAttribute.into()),
            // Asked for by ls(1) for each file, unless the answer is that there are no labels at all. Where SELinux is
            // active the kernel answers itself and does not ask us.
            Err(Error::NoAttribute) if name == SELINUX => return Err(Error::NotSupported.into()),
            answer => answer?,
        };
        self.sized(&value, arg.size)
    }

    pub(super) fn listxattr(&mut self) -> Answer {
        let arg = GetxattrIn::parse(&mut self.body)?;
        let mut list = Vec::new();
        let mut names = self.fs.listxattr(self.node())?;
        // As other file systems have it (xattr(7)): the kernel leaves this to us.
        if names.iter().any(|name| name.starts_with(TRUSTED)) && !self.is_administrator() {
            names.retain(|name| !name.starts_with(TRUSTED));
        }
        for name in names {
            list.extend_from_slice(&name);
            list.push(0);
        }
        self.sized(&list, arg.size)
    }

    /// Whether the caller may see trusted attributes: root, or who has CAP_SYS_ADMIN.
    fn is_administrator(&self) -> bool {
        const CAP_SYS_ADMIN: u32 = 21;
        self.header.uid == 0 || process::has_capability(self.header.pid, CAP_SYS_ADMIN)
    }

    /// The value, or how long it is if the caller has no room yet.
    fn sized(&mut self, value: &[u8], room: u32) -> Answer {
        let length = u32::try_from(value.len())?;
        if room == 0 {
            return Ok(encode::size_out(self.reply, length)?);
        }
        if length > room {
            return Err(Error::Range.into());
        }
        Ok(self.reply.put(value)?)
    }

    pub(super) fn setxattr(&mut self) -> Answer {
        let arg = if self.shared.setxattr_ext {
            SetxattrIn::parse(&mut self.body)?
        } else {
            let SetxattrCompatIn { size, flags } = SetxattrCompatIn::parse(&mut self.body)?;
            SetxattrIn {
                size,
                flags,
                setxattr_flags: 0,
                padding: 0,
            }
        };
        let name = self.body.name()?;
        let value = self.body.bytes(arg.size as usize)?;
        self.fs
            .setxattr(self.node(), name, value, how(arg.flags)?)?;
        if arg.setxattr_flags & SETXATTR_ACL_KILL_SGID != 0 {
            self.clear_set_group_id()?;
        }
        Ok(())
    }

    /// chmod(2) does it when the caller is not of the file's group; setting an access ACL is a chmod.
    fn clear_set_group_id(&mut self) -> Answer {
        let attr = self.fs.getattr(self.node())?;
        if attr.mode & S_ISGID != 0 {
            let mode = Some(attr.mode & !S_ISGID);
            self.fs.setattr(
                self.node(),
                &SetAttr {
                    mode,
                    ..SetAttr::default()
                },
            )?;
        }
        Ok(())
    }

    pub(super) fn removexattr(&mut self) -> Answer {
        let name = self.body.name()?;
        Ok(self.fs.removexattr(self.node(), name)?)
    }
}

fn is_acl(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"system.posix_acl_")
}

fn how(flags: u32) -> Result<SetXattr, Error> {
    let flags = XattrFlags::from_bits_retain(flags);
    if flags.is_empty() {
        Ok(SetXattr::Either)
    } else if flags == XattrFlags::CREATE {
        Ok(SetXattr::Create)
    } else if flags == XattrFlags::REPLACE {
        Ok(SetXattr::Replace)
    } else {
        Err(Error::Invalid)
    }
}
