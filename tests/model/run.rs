//! Runs a case, and on a failure looks for the shortest list of operations that still fails.
use super::compare::{Compare, Rules, TICKS, found};
use super::direct::Direct;
use super::generate::Guide;
use super::ops::{At, Op, Profile};
use super::rng::Rng;
use super::subject::{Answer, Outcome, Subject};
use super::tree::Tree;
use cryptfs::fs::{FileSystem, Kind, Rename, Time};
use rustix::io::Errno;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// A case: everything follows from it.
#[derive(Clone)]
pub struct Case {
    pub seed: u64,
    pub steps: usize,
    /// The whole tree is compared after this many steps.
    pub every: usize,
    pub profile: Profile,
    pub rules: Rules,
}

/// How long shrinking may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tree whose clock moves by a second whenever it is asked, in a century of its own.
fn oracle(profile: &Profile) -> Direct {
    let ticks = AtomicI64::new(TICKS);
    let clock = Box::new(move || Time {
        sec: ticks.fetch_add(1, Ordering::Relaxed),
        nsec: 0,
    });
    let tree: Arc<dyn FileSystem> = Arc::new(Tree::with_clock(clock));
    Direct::new(
        Box::new(move || Arc::clone(&tree)),
        &profile.callers,
        profile.umask,
    )
}

/// Runs a case on fresh subjects that `make` gives; panics with a report when one is not what the oracle is.
pub fn check(name: &str, case: &Case, make: &dyn Fn() -> Box<dyn Subject>) {
    let ops = draw(case);
    let Err(failure) = run(case, &ops, make) else {
        return;
    };
    let until = &ops[..=failure.step.min(ops.len() - 1)];
    let (ops, failure) = shrink(case, until, failure, make);
    let mut report = format!(
        "{name}: seed {:#x}, shrunk to {} operations\n",
        case.seed,
        ops.len()
    );
    for (step, op) in ops.iter().enumerate() {
        let mark = if step == failure.step { "=> " } else { "   " };
        writeln!(report, "{mark}{op:?}").expect("a string");
    }
    panic!("{report}{}", failure.what);
}

/// The operations of a case, drawn while the oracle alone runs them.
fn draw(case: &Case) -> Vec<Op> {
    let mut rng = Rng::new(case.seed);
    let mut oracle = oracle(&case.profile);
    let mut next = || {
        let mut guide = Guide {
            rng: &mut rng,
            profile: &case.profile,
            places: &oracle.places(),
            open: &oracle.open(),
        };
        let op = guide.next();
        let _ = oracle.apply(&op);
        op
    };
    (0..case.steps).map(|_| next()).collect()
}

struct Failure {
    step: usize,
    what: String,
}

fn shrink(
    case: &Case,
    ops: &[Op],
    mut failure: Failure,
    make: &dyn Fn() -> Box<dyn Subject>,
) -> (Vec<Op>, Failure) {
    let begun = Instant::now();
    let case = Case {
        every: 1,
        ..case.clone()
    };
    let mut ops = ops.to_vec();
    if let Err(sooner) = run(&case, &ops, make) {
        ops.truncate(sooner.step + 1);
        failure = sooner;
    }
    let mut size = ops.len().div_ceil(2);
    while size > 0 {
        let (mut at, before) = (0, ops.len());
        while at < ops.len() {
            if begun.elapsed() > PATIENCE {
                return (ops, failure);
            }
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            match run(&case, &fewer, make) {
                Err(still) => {
                    fewer.truncate(still.step + 1);
                    (ops, failure) = (fewer, still);
                }
                Ok(()) => at += size,
            }
        }
        if size > 1 || ops.len() == before {
            size /= 2; // what the last operations needed may go once they are gone: single ones are tried again
        }
    }
    (ops, failure)
}

fn run(case: &Case, ops: &[Op], make: &dyn Fn() -> Box<dyn Subject>) -> Result<(), Failure> {
    let mut oracle = oracle(&case.profile);
    let mut subject = make();
    let mut compare = Compare::new(case.rules.clone());
    for (step, op) in ops.iter().enumerate() {
        let look =
            step % case.every == case.every - 1 || *op == Op::Remount || step + 1 == ops.len();
        let body = || stepped(&mut compare, &mut oracle, &mut *subject, op, look);
        let result =
            catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(said(&*panic)));
        result.map_err(|what| Failure { step, what })?;
    }
    Ok(())
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without words"))
}

fn stepped(
    compare: &mut Compare,
    oracle: &mut Direct,
    subject: &mut dyn Subject,
    op: &Op,
    look: bool,
) -> Result<(), String> {
    if refused(compare.rules(), oracle, op) {
        let got = subject.apply(op);
        return compare.outcome(op, &Err(Errno::INVAL.raw_os_error()), &got);
    }
    let want = oracle.apply(op);
    let got = subject.apply(op);
    compare.outcome(op, &want, &got)?;
    if let (Op::Seek(slot, offset, whence), true) = (op, is_answer(&want)) {
        let items = oracle.snapshot()?;
        let item = &items[format!("#{slot}").as_bytes()];
        found(item, *offset, *whence, &got)?;
    }
    if look {
        compare.snapshots(&oracle.snapshot()?, &subject.snapshot()?)?;
    }
    Ok(())
}

/// Whether a seek was made at all, on an open file.
fn is_answer(outcome: &Outcome) -> bool {
    *outcome != Err(Errno::BADF.raw_os_error())
}

/// An exchange with a directory, where the rules do not know it.
fn refused(rules: &Rules, oracle: &mut Direct, op: &Op) -> bool {
    let Op::Rename(one, other, Rename::Exchange) = op else {
        return false;
    };
    let mut kind = |at: &At| match oracle.apply(&Op::Stat(at.clone())) {
        Ok(Answer::Attr(attr)) => Some((attr.kind, attr.ino)),
        _ => None,
    };
    match (kind(one), kind(other)) {
        (Some(one), Some(other)) if one != other && !rules.exchange_directories => {
            one.0 == Kind::Directory || other.0 == Kind::Directory
        }
        _ => false,
    }
}
