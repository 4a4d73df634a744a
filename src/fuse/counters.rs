//! How many requests of each kind were served: the measure of speed that does not swing with the scheduler.
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::opcode_name;

/// One more than the highest opcode that is counted by itself; higher ones share the last place.
const OPCODES: usize = 64;

/// Counters of one worker. A cache line pair of its own, so that workers do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
struct PerWorker([AtomicU64; OPCODES]);

/// Requests served, by opcode.
#[derive(Debug)]
pub struct Counters(Vec<PerWorker>);

impl Counters {
    pub(super) fn new(workers: usize) -> Self {
        let zero = || PerWorker([const { AtomicU64::new(0) }; OPCODES]);
        Self((0..workers).map(|_| zero()).collect())
    }

    /// Counts a request; only `worker` itself calls this with its number.
    pub(super) fn count(&self, worker: usize, opcode: u32) {
        let place = (opcode as usize).min(OPCODES - 1);
        if let Some(PerWorker(counters)) = self.0.get(worker) {
            let count = counters[place].load(Ordering::Relaxed);
            counters[place].store(count + 1, Ordering::Relaxed);
        }
    }

    /// Requests with this opcode, as fuse.h numbers it.
    pub fn of(&self, opcode: usize) -> u64 {
        let counts = self
            .0
            .iter()
            .filter_map(|PerWorker(counters)| counters.get(opcode));
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        (0..OPCODES).map(|opcode| self.of(opcode)).sum()
    }
}

/// `LOOKUP=3 GETATTR=1`, without the zeros.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (0..OPCODES).map(|opcode| (opcode, self.of(opcode)));
        for (i, (opcode, count)) in counts.filter(|&(_, count)| count > 0).enumerate() {
            let space = if i == 0 { "" } else { " " };
            match opcode_name(opcode as u32) {
                Some(name) => write!(f, "{space}{name}={count}")?,
                None => write!(f, "{space}opcode{opcode}={count}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        let counters = Counters::new(2);
        for (worker, opcode) in [(0, 1), (1, 1), (1, 3), (0, 1_000_000), (2, 1)] {
            counters.count(worker, opcode);
        }
        assert_eq!(counters.to_string(), "LOOKUP=2 GETATTR=1 opcode63=1");
        assert_eq!(counters.total(), 4);
    }
}
