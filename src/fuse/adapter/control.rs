//! Requests of our own commands. Of all other ioctls the kernel says that there is nobody for them.
use rustix::process::geteuid;

use super::{Answer, Call, Failure};
use crate::fs::Error;
use crate::fuse::abi::IoctlIn;
use crate::fuse::control::Request;
use crate::fuse::encode;

impl Call<'_> {
    pub(super) fn ioctl(&mut self) -> Answer {
        let arg = IoctlIn::parse(&mut self.body)?;
        let request = Request::of(arg.cmd).ok_or(Failure::Unknown)?;
        if self.header.uid != 0 && self.header.uid != geteuid().as_raw() {
            return Err(Error::NotPermitted.into());
        }
        let name = self.body.name()?;
        match request {
            Request::CreateSnapshot => self.fs.create_snapshot(name)?,
            Request::DeleteSnapshot => self.fs.delete_snapshot(name)?,
        }
        Ok(encode::ioctl_out(self.reply)?)
    }
}
