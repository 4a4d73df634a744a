//! The model finds what it is there to find: subjects with one planted fault each are caught, and shrunk to a few
//! operations.
use super::ops::Op;
use super::subject::{Answer, Outcome, Snapshot};
use super::tree::Tree;
use super::{Case, Direct, Profile, Rules, Subject, check};
use cryptfs::fs::{Allocate, FileSystem, Kind, Rename, Time};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs another operation than the one asked for, or tampers with what is seen.
struct Faulty {
    inner: Direct,
    fault: Fault,
}

struct Fault {
    name: &'static str,
    /// The most operations a report should need.
    at_most: usize,
    run: fn(&Op) -> Option<Op>,
    look: fn(&mut Snapshot),
}

impl Subject for Faulty {
    fn apply(&mut self, op: &Op) -> Outcome {
        match (self.fault.run)(op) {
            Some(instead) => self.inner.apply(&instead),
            None => self.inner.apply(op),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot, String> {
        let mut seen = self.inner.snapshot()?;
        (self.fault.look)(&mut seen);
        Ok(seen)
    }
}

const FAULTS: [Fault; 7] = [
    Fault {
        name: "the last byte of a write over an edge is lost",
        at_most: 4,
        run: |op| match op {
            Op::Write {
                slot,
                offset,
                length,
                seed,
                kill,
            } if offset % 4064 + *length as u64 > 4064 => {
                let (slot, offset, length) = (*slot, *offset, length - 1);
                Some(Op::Write {
                    slot,
                    offset,
                    length,
                    seed: *seed,
                    kill: *kill,
                })
            }
            _ => None,
        },
        look: |_| {},
    },
    Fault {
        name: "a punch stops short",
        at_most: 4,
        run: |op| match op {
            Op::Allocate {
                slot,
                how: Allocate::Punch,
                offset,
                length,
            } if *length > 1 => Some(Op::Allocate {
                slot: *slot,
                how: Allocate::Punch,
                offset: *offset,
                length: length - 1,
            }),
            _ => None,
        },
        look: |_| {},
    },
    Fault {
        name: "no-replace replaces",
        at_most: 4,
        run: |op| match op {
            Op::Rename(from, to, Rename::NoReplace) => {
                Some(Op::Rename(from.clone(), to.clone(), Rename::Replace))
            }
            _ => None,
        },
        look: |_| {},
    },
    Fault {
        name: "times are kept in seconds",
        at_most: 4,
        run: |_| None,
        look: |seen| {
            for item in seen.values_mut() {
                item.attr.mtime.nsec = 0;
            }
        },
    },
    Fault {
        name: "hard links are counted once",
        at_most: 4,
        run: |_| None,
        look: |seen| {
            for item in seen
                .values_mut()
                .filter(|item| item.attr.kind == Kind::File)
            {
                item.attr.nlink = item.attr.nlink.min(1);
            }
        },
    },
    Fault {
        name: "looking moves the time of change",
        at_most: 4,
        run: |_| None,
        look: |seen| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("after 1970");
            for item in seen
                .values_mut()
                .filter(|item| item.attr.kind == Kind::Fifo)
            {
                item.attr.ctime = Time {
                    sec: now.as_secs() as i64,
                    nsec: now.subsec_nanos(),
                };
            }
        },
    },
    Fault {
        name: "an empty value is no value",
        at_most: 4,
        run: |_| None,
        look: |seen| {
            for item in seen.values_mut() {
                item.xattrs.retain(|_, value| !value.is_empty());
            }
        },
    },
];

fn report(case: &Case, fault: usize) -> String {
    let make = || -> Box<dyn Subject> {
        let profile = Profile::direct();
        let tree: Arc<dyn FileSystem> = Arc::new(Tree::new());
        let reopen = Box::new(move || Arc::clone(&tree));
        let inner = Direct::new(reopen, &profile.callers, profile.umask);
        let Fault {
            name,
            at_most,
            run,
            look,
        } = FAULTS[fault];
        let fault = Fault {
            name,
            at_most,
            run,
            look,
        };
        Box::new(Faulty { inner, fault })
    };
    let failed = catch_unwind(AssertUnwindSafe(|| check("fault", case, &make)));
    *failed
        .expect_err("the fault was not found")
        .downcast()
        .expect("a report")
}

#[test]
fn planted_faults_are_found_and_shrunk() {
    for (index, fault) in FAULTS.iter().enumerate() {
        let case = Case {
            seed: 1,
            steps: 600,
            every: 10,
            profile: Profile::direct(),
            rules: Rules::default(),
        };
        let report = report(&case, index);
        let operations = report
            .lines()
            .filter(|line| line.starts_with("   ") || line.starts_with("=> "));
        let count = operations.count();
        assert!(
            count <= fault.at_most,
            "{}: {count} operations\n{report}",
            fault.name
        );
    }
}

#[test]
fn a_wrong_answer_is_found() {
    struct Liar(Direct);
    impl Subject for Liar {
        fn apply(&mut self, op: &Op) -> Outcome {
            match self.0.apply(op) {
                Ok(Answer::Count(count)) if matches!(op, Op::Copy { .. }) => {
                    Ok(Answer::Count(count + 1))
                }
                answer => answer,
            }
        }
        fn snapshot(&mut self) -> Result<Snapshot, String> {
            self.0.snapshot()
        }
    }
    let profile = Profile::direct();
    let case = Case {
        seed: 3,
        steps: 400,
        every: 100,
        profile: profile.clone(),
        rules: Rules::default(),
    };
    let make = || -> Box<dyn Subject> {
        let tree: Arc<dyn FileSystem> = Arc::new(Tree::new());
        let reopen = Box::new(move || Arc::clone(&tree));
        Box::new(Liar(Direct::new(reopen, &profile.callers, profile.umask)))
    };
    assert!(catch_unwind(AssertUnwindSafe(|| check("liar", &case, &make))).is_err());
}
