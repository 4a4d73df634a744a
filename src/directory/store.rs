//! What every file of a mounted directory volume shares.
use super::backing::Backing;
use super::session::Session;
use crate::volume::keys::Keys;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The backing store, the keys, and what is known of earlier sessions.
pub struct Store {
    /// System calls.
    pub backing: Backing,
    /// The volume's keys.
    pub keys: Arc<Keys>,
    /// This session and the last one that crashed.
    pub session: Session,
    /// Nothing may be changed.
    pub read_only: bool,
    unsettled: AtomicBool,
    repaired: AtomicBool,
}

impl Store {
    /// Before any file is opened.
    pub fn new(backing: Backing, keys: Arc<Keys>, session: Session, read_only: bool) -> Self {
        Self {
            backing,
            keys,
            session,
            read_only,
            unsettled: AtomicBool::new(false),
            repaired: AtomicBool::new(false),
        }
    }

    /// True if a file whose header was written in `session` may have been changed by a session that did not end
    /// cleanly: its recorded length then proves nothing.
    pub fn lenient(&self, session: u64) -> bool {
        session <= self.session.unclean_upto || self.unsettled()
    }

    /// True if there may be files whose recorded length proves nothing.
    pub fn doubts(&self) -> bool {
        self.lenient(1)
    }

    /// Every file was looked at, and its length is right now.
    pub fn mark_repaired(&self) {
        self.repaired.store(true, Ordering::Relaxed);
    }

    /// True after [`Store::mark_repaired`].
    pub fn repaired(&self) -> bool {
        self.repaired.load(Ordering::Relaxed)
    }

    /// A header could not be brought up to date (a full disk): this session must count as a crash.
    pub fn mark_unsettled(&self) {
        self.unsettled.store(true, Ordering::Relaxed);
    }

    /// True after [`Store::mark_unsettled`].
    pub fn unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed)
    }
}
