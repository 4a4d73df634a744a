//! Content that is open because somebody read or wrote it without a handle.
//!
//! The kernel does not tell when a file is opened and closed (see fuse/adapter): that would be two more requests. So what
//! is used is kept open for a while, and closed, its length brought up to date, once it was left alone.
use super::node::{Node, Open};
use crate::sys::log;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

/// What is not used for this long is closed, before twice of it.
const PERIOD: Duration = Duration::from_secs(1);

/// How many are kept open, of files and of directories: what is held by need takes the rest of the limit on open files.
/// Asked once: a daemon raises its limit before it mounts.
pub fn most() -> usize {
    static MOST: LazyLock<usize> = LazyLock::new(|| {
        let limit = getrlimit(Resource::Nofile).current;
        limit.map_or(256, |limit| (limit / 4).min(256) as usize) // at most 256
    });
    *MOST
}

/// The nodes whose content is kept open, the oldest first.
#[derive(Default)]
pub struct Kept(Arc<Mutex<List>>);

#[derive(Default)]
struct List {
    nodes: VecDeque<Weak<Node>>,
    watched: bool,
}

impl Kept {
    /// The node's content was used. True if it was not among them. Call with its lock held.
    pub fn add(&self, node: &Arc<Node>, open: &mut Open) -> bool {
        open.used = true;
        if open.kept {
            return false;
        }
        open.kept = true;
        let mut list = self.0.lock();
        list.nodes.push_back(Arc::downgrade(node));
        if !list.watched {
            list.watched = watch(&self.0);
        }
        true
    }

    /// Closes the node's content, or keeps it where somebody is at work on it. Call with its lock held.
    pub fn close(&self, node: &Arc<Node>, open: &mut Open) -> crate::fs::Result<()> {
        let closed = open.close();
        if open.file.is_some() {
            self.add(node, open);
        }
        closed
    }

    /// Closes the oldest if there are too many. Call without any node's lock.
    pub fn trim(&self) {
        let oldest = {
            let mut list = self.0.lock();
            (list.nodes.len() > most()).then(|| list.nodes.pop_front())
        };
        if let Some(node) = oldest.flatten().and_then(|node| node.upgrade()) {
            look(&self.0, &node, true);
        }
    }
}

/// Starts the thread that closes what is left alone. It ends when there is nothing left.
fn watch(list: &Arc<Mutex<List>>) -> bool {
    let list = Arc::downgrade(list);
    let body = move || {
        loop {
            std::thread::sleep(PERIOD);
            match list.upgrade() {
                Some(list) if sweep(&list) => {}
                _ => return,
            }
        }
    };
    let thread = std::thread::Builder::new().name("close".into());
    thread.spawn(body).is_ok()
}

/// Closes what was not used since the last time. False if nothing is left.
fn sweep(list: &Mutex<List>) -> bool {
    // One by one, so that what is opened meanwhile counts those that are still to come.
    let count = list.lock().nodes.len();
    for _ in 0..count {
        let node = list.lock().nodes.pop_front();
        if let Some(node) = node.and_then(|node| node.upgrade()) {
            look(list, &node, false);
        }
    }
    let mut list = list.lock();
    list.watched = !list.nodes.is_empty();
    list.watched
}

/// Closes a node's content unless it was used, or is in use.
fn look(list: &Mutex<List>, node: &Arc<Node>, pressed: bool) {
    let mut open = node.open.lock();
    let used = std::mem::take(&mut open.used) && !pressed;
    if !used && let Err(error) = open.close() {
        log::error(format_args!("closing node {}: {error}", node.id));
    }
    open.kept = open.file.is_some() && open.count == 0;
    if open.kept {
        list.lock().nodes.push_back(Arc::downgrade(node));
    }
}
