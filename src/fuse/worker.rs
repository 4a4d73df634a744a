//! A thread that takes requests from the kernel, one at a time.
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;

use rustix::io::Errno;

use super::abi::{self, InHeader};
use super::adapter::{Call, Failure, Outcome};
use super::counters::Counters;
use super::ending::Ending;
use super::late::Postponed;
use super::lost::Lost;
use super::mtimes::{Mtimes, Times};
use super::wire::{Reader, Reply, RequestBuffer};
use crate::fs::{self, Entry, FileSystem, NodeId, SetAttr, SetTime};
use crate::sys::log;

/// Largest read and write; more than `/proc/sys/fs/fuse/max_pages_limit` allows by default would be cut by the kernel.
pub(super) const MAX_IO: u32 = 1 << 20;

/// What all threads of a session use.
pub(super) struct Shared<'a> {
    pub(super) file_system: &'a dyn FileSystem,
    pub(super) mtimes: Mtimes,
    pub(super) lost: Lost,
    pub(super) setxattr_ext: bool,
    pub(super) counters: &'a Counters,
    pub(super) ending: &'a Ending,
}

/// Takes requests and answers them.
pub(super) struct Worker<'a> {
    number: usize,
    device: BorrowedFd<'a>,
    shared: &'a Shared<'a>,
    postpone: Sender<Postponed<'a>>,
    request: RequestBuffer,
    reply: Reply,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        number: usize,
        device: BorrowedFd<'a>,
        shared: &'a Shared<'a>,
        postpone: Sender<Postponed<'a>>,
    ) -> Self {
        let request = RequestBuffer::new(MAX_IO as usize);
        let reply = Reply::new(MAX_IO as usize);
        Self {
            number,
            device,
            shared,
            postpone,
            request,
            reply,
        }
    }

    /// Until the file system is unmounted, or the session is ended.
    pub(super) fn run(mut self) -> io::Result<()> {
        let ending = self.shared.ending;
        ending.enter();
        let end = self.take_all();
        ending.leave();
        end
    }

    fn take_all(&mut self) -> io::Result<()> {
        while !self.shared.ending.is_over() {
            match rustix::io::read(self.device, self.request.space()) {
                Ok(length) => self.take(length)?,
                // NOENT: its sender was interrupted before we got the request.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                Err(Errno::NODEV) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> io::Result<()> {
        let mut body = Reader::new(self.request.filled(length));
        let Ok(header) = InHeader::parse(&mut body) else {
            return Err(io::Error::other("the kernel sent less than a header"));
        };
        self.shared.counters.count(self.number, header.opcode);
        if header.opcode == abi::LSEEK && !self.shared.ending.has_begun() {
            let postponed = Postponed {
                device: self.device,
                header,
                body: body.rest().to_vec(),
            };
            return self.postpone.send(postponed).map_err(|_| ended());
        }
        self.shared
            .serve(self.device, &header, body, &mut self.reply)
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread for postponed requests has ended")
}

impl Shared<'_> {
    /// Serves a request and answers it on `device`, from where it came.
    pub(super) fn serve(
        &self,
        device: BorrowedFd<'_>,
        header: &InHeader,
        body: Reader<'_>,
        reply: &mut Reply,
    ) -> io::Result<()> {
        reply.clear();
        if header.opcode == abi::READ && self.ending.has_begun() {
            return send(
                device,
                reply.finish(header.unique, Errno::IO.raw_os_error()),
            );
        }
        let mut call = Call {
            fs: self.file_system,
            shared: self,
            header,
            body,
            reply,
        };
        let errno = match catch_unwind(AssertUnwindSafe(|| call.serve())) {
            Ok(Outcome::Silent) => return Ok(()),
            Ok(Outcome::Reply(Ok(()))) => 0,
            Ok(Outcome::Reply(Err(failure))) => {
                report(header, &failure);
                failure.errno()
            }
            // Whoever waits for the answer must not hang.
            Err(_) => Errno::IO.raw_os_error(),
        };
        send(device, reply.finish(header.unique, errno))
    }
}

impl Shared<'_> {
    /// What was found, with the times that the kernel has.
    pub(super) fn with_times(&self, mut entry: Entry) -> Entry {
        if let Some(times) = self.mtimes.of(entry.node) {
            (entry.attr.mtime, entry.attr.ctime) = (times.mtime, times.ctime);
        }
        entry
    }

    /// Forgets what was refused of a file that has no name any more: nobody can miss it.
    pub(super) fn drop_if_unlinked(&self, node: NodeId) {
        if self.lost.has(node)
            && self
                .file_system
                .getattr(node)
                .is_ok_and(|attr| attr.nlink == 0)
        {
            self.lost.gone(node);
        }
    }

    /// Sets a file's times to what the kernel has, where they are not.
    pub(super) fn restore_times(&self, node: NodeId, times: Times) {
        self.mtimes.told(node);
        let Ok(attr) = self.file_system.getattr(node) else {
            return;
        };
        if Times::of(&attr) != times {
            let set = SetAttr {
                mtime: (attr.mtime != times.mtime).then_some(SetTime::At(times.mtime)),
                ctime: Some(times.ctime),
                ..SetAttr::default()
            };
            let _ = self.file_system.setattr(node, &set);
        }
    }
}

/// The last thing done for a request: the kernel may at once send another worker the RELEASE of its handle.
pub(super) fn send(device: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    match rustix::io::write(device, message) {
        // NOENT: the connection was aborted, and all its references with it.
        Ok(_) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        // The kernel did not like the answer and has told the caller EIO.
        Err(Errno::INVAL) => {
            log::error(format_args!("a reply was refused"));
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Tells the log about damage: the person who reads EIO in a program looks there for the reason.
fn report(header: &InHeader, failure: &Failure) {
    let Failure::Fs(error @ fs::Error::Damaged(_)) = failure else {
        return;
    };
    let operation = abi::opcode_name(header.opcode).unwrap_or("request");
    let node = header.nodeid;
    log::error(format_args!("{operation} of node {node}: {error}"));
}
