//! The thread that commits every few seconds what nobody has asked to be durable.
use super::core::Core;
use parking_lot::Mutex;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most that a power cut takes from who never calls fsync.
const PERIOD: Duration = Duration::from_secs(5);

/// Starts with the first change, not with the mount: the daemon forks in between, and threads do not survive that.
#[derive(Default)]
pub struct Timer(Mutex<Option<(Sender<()>, JoinHandle<()>)>>);

impl Timer {
    /// Starts it, unless it runs.
    pub fn start(&self, core: &Arc<Core>) {
        let mut running = self.0.lock();
        if running.is_some() {
            return;
        }
        let (sender, stop) = channel();
        let core = Arc::downgrade(core);
        let body = move || {
            while stop.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) && tick(&core) {}
        };
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(body);
        // Without a thread changes become durable on fsync, sync and close alone.
        *running = thread.ok().map(|thread| (sender, thread));
    }

    /// Ends it.
    pub fn stop(&self) {
        if let Some((sender, thread)) = self.0.lock().take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// A commit that fails is tried again, and told to the next fsync.
fn tick(core: &Weak<Core>) -> bool {
    let Some(core) = core.upgrade() else {
        return false;
    };
    let _ = core.store.idle();
    true
}
