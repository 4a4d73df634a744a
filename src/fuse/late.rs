//! Requests that the kernel sends too early.
//!
//! With its write-back cache the kernel holds written pages, and the length they give a file, until it pleases to send
//! them. It sends them before a copy_file_range or a hole is punched, but not before a SEEK_DATA or SEEK_HOLE (Linux 6.18):
//! we would answer "hole" for data that was written a moment ago, and `cp` would leave it out. So where somebody may be
//! writing to the file we first make the kernel drop its pages, which writes them to us.
//!
//! That is done by a thread of its own: it waits until workers have served these writes, so no worker may wait for it.
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::Receiver;

use super::abi::InHeader;
use super::encode;
use super::wire::{Reader, Reply};
use super::worker::Shared;

/// A request to be served when the kernel has written the node's pages.
pub(super) struct Postponed<'a> {
    /// Where it came from.
    pub(super) device: BorrowedFd<'a>,
    pub(super) header: InHeader,
    pub(super) body: Vec<u8>,
}

/// The thread that serves them.
pub(super) struct Late<'a> {
    shared: &'a Shared<'a>,
    reply: Reply,
}

impl<'a> Late<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            reply: Reply::new(4096),
        }
    }

    /// Until all workers have ended.
    pub(super) fn run(mut self, requests: &Receiver<Postponed<'_>>) -> io::Result<()> {
        for Postponed {
            device,
            header,
            body,
        } in requests
        {
            let waiting = self.shared.ending.waiting.lock();
            // Fails if the kernel does not know the node any more; it then has no pages of it.
            if !self.shared.ending.has_begun() {
                let _ =
                    rustix::io::write(device, encode::drop_pages(&mut self.reply, header.nodeid));
            }
            drop(waiting);
            self.shared
                .serve(device, &header, Reader::new(&body), &mut self.reply)?;
        }
        Ok(())
    }
}
