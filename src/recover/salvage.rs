//! Salvage: everything that still decrypts, to another place. The volume is only ever read.
//!
//! A directory volume is not mounted for that: [`scan`] finds the files, intact tree or not, and they are copied unit by unit
//! on all cores. (By way of the file system a file with a damaged first unit would be lost whole.) An image's tree is
//! its only map: [`copy_out`] takes what is not damaged of it. Both finish a file by setting its times, so that one that
//! was cut short at any point is done again by a salvage that goes on.
use super::climb::{Walker, existing};
use super::copy_out::copy_out;
use super::error::{Error, Result};
use super::journal::Journal;
use super::scan::content::{Buffers, Identity};
use super::scan::plan::{PlannedFile, PlannedName};
use super::scan::walk::Reader;
use super::scan::{self, Placed, Plan, Source};
use super::target::{self, Earlier, Made, Place, Target, Withhold, left_out};
use super::verdict::{Outcome, Summary, Verdict};
use super::{How, image, stored};
use crate::fs::{self, Attr, Kind, Progress};
use crate::volume::{Kind as VolumeKind, Opened};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// From where to where.
pub struct Job<'a> {
    /// The volume's path: the destination must not lie in it.
    pub volume: &'a Path,
    /// A new or empty directory.
    pub to: &'a Path,
    /// The destination holds an earlier salvage: what it finished is not copied again.
    pub resume: bool,
    /// Write what damaged units decrypt to, and not zeros.
    pub unverified: bool,
    /// Restore set-user-ID and set-group-ID bits, device nodes, and `security` and `trusted` attributes too.
    pub privileges: bool,
}

/// Copies everything out. `report` hears each verdict; progress counts bytes.
pub fn salvage(
    opened: Opened,
    job: &Job<'_>,
    progress: &dyn Progress,
    report: &mut dyn FnMut(&Verdict),
) -> Result<Summary> {
    let top = target::open(job.to, job.volume, job.resume)?;
    let journal = Journal::open(top.as_fd(), job.to)?;
    let target = Target {
        top: top.as_fd(),
        earlier: match job.resume {
            true => Earlier::Yes(journal.identity()?),
            false => Earlier::No,
        },
        journal: &journal,
        withhold: match job.privileges {
            true => Withhold::Nothing,
            false => Withhold::Power,
        },
    };
    let mut summary = Summary::default();
    let mut failed = None;
    let mut tell = |settled: Result<Verdict>| match settled {
        Ok(verdict) => {
            summary.count(&verdict);
            report(&verdict);
        }
        Err(error) => failed = Some(error),
    };
    match opened.kind() {
        VolumeKind::Image => {
            let how = How {
                accept_older: true,
                ..How::to_read()
            };
            let mut settle = |verdict| {
                let settled = journal.settle(verdict);
                let noted = settled.is_ok();
                tell(settled);
                noted
            };
            copy_out(&image(opened, &how)?, target, progress, &mut settle)?;
        }
        VolumeKind::Directory => {
            let source = Source::new(opened).map_err(Error::sys(job.volume))?;
            let plan = Plan::of(&source).map_err(Error::sys(job.volume))?;
            let run = Run {
                source: &source,
                plan: &plan,
                target,
                unverified: job.unverified,
                progress,
            };
            run.all(&mut tell).map_err(Error::sys(job.to))?;
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

/// The salvage of a directory volume.
struct Run<'a> {
    source: &'a Source,
    plan: &'a Plan,
    target: Target<'a>,
    unverified: bool,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    fn all(&self, tell: &mut dyn FnMut(Result<Verdict>)) -> rustix::io::Result<()> {
        let plan = self.plan;
        self.progress.total(plan.files.iter().map(bytes).sum());
        for (path, why) in &plan.unread {
            tell(self.settle(
                path.clone(),
                Some(Kind::Directory),
                Placed::Name,
                Outcome::Lost(format!("listing: {why}")),
            ));
        }
        let failed = self.make_directories()?;
        // A report that is read slowly holds up the copying, and does not pile up.
        let (said, heard) = mpsc::sync_channel(256);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let said = said; // dropped when all is done
                scan::parallel(
                    plan.files.len(),
                    || (Copy::new(self), said.clone()),
                    |(copy, said), index| match copy {
                        Ok(copy) => copy.file(&plan.files[index], &mut |settled| {
                            drop(said.send(settled));
                        }),
                        Err(errno) => self.lost(&plan.files[index], *errno, &mut |settled| {
                            drop(said.send(settled));
                        }),
                    },
                );
            });
            heard.iter().for_each(&mut *tell);
        });
        self.dress_directories(failed, tell)
    }

    /// Makes all directories, closed to everyone else. Which of them could not be made, and why.
    fn make_directories(&self) -> rustix::io::Result<Vec<Option<Errno>>> {
        let mut walker = Walker::new(self.target.top)?;
        let earlier = self.target.earlier;
        let mut made = |dir| {
            let made = walker.go(self.plan, dir, |dir, name| {
                Place { dir, name, earlier }.directory()
            });
            made.err()
        };
        Ok((0..self.plan.dirs.len()).map(&mut made).collect())
    }

    /// Gives directories their attributes, children before parents: then nothing disturbs the times any more.
    fn dress_directories(
        &self,
        failed: Vec<Option<Errno>>,
        tell: &mut dyn FnMut(Result<Verdict>),
    ) -> rustix::io::Result<()> {
        let mut walker = Walker::new(self.target.top)?;
        let mut reader = Reader::new(self.source)?;
        for (dir, failed) in failed.into_iter().enumerate().rev() {
            let outcome = match failed {
                Some(errno) => Outcome::Lost(errno_text(errno)),
                None => match self.dress(dir, &mut walker, &mut reader) {
                    Ok(lost) => Outcome::of(Vec::new(), lost),
                    Err(errno) => Outcome::Attributes(vec![errno_text(errno)]),
                },
            };
            let (path, placed) = (self.plan.path(dir), self.plan.dirs[dir].placed);
            tell(self.settle(path, Some(Kind::Directory), placed, outcome));
        }
        Ok(())
    }

    fn dress(
        &self,
        dir: usize,
        walker: &mut Walker<'_>,
        reader: &mut Reader<'_>,
    ) -> rustix::io::Result<Vec<String>> {
        let planned = &self.plan.dirs[dir];
        let Some((id, stored)) = planned.stored else {
            return Ok(vec!["only the directory's name is left".to_owned()]);
        };
        let made = Made::open(own(walker.go(self.plan, dir, existing)?)?);
        // Once it has its mode, it may not even let its owner out by `..`.
        walker.go(self.plan, planned.parent, existing)?;
        let (from, stored) = self.plan.open_dir(reader, stored)?;
        let (xattrs, mut lost) = stored::attributes(self.source, from, c".", Some(id));
        lost.extend(made.dress(&stored.attr, &xattrs, self.target.withhold));
        lost.extend(made.date(&stored.attr));
        Ok(lost)
    }

    fn settle(
        &self,
        path: PathBuf,
        kind: Option<Kind>,
        placed: Placed,
        outcome: Outcome,
    ) -> Result<Verdict> {
        self.target.journal.settle(Verdict {
            path,
            kind,
            outcome,
            placed,
        })
    }

    /// Where a name of a file is in the destination.
    fn path(&self, name: &PlannedName) -> PathBuf {
        self.plan.path(name.dir).join(&name.name)
    }

    /// Says of all names of a file that nothing of it could be copied.
    fn lost(&self, file: &PlannedFile, errno: Errno, tell: &mut dyn FnMut(Result<Verdict>)) {
        for name in &file.names {
            let outcome = Outcome::Lost(errno_text(errno));
            tell(self.settle(self.path(name), Some(file.attr.kind), name.placed, outcome));
        }
    }
}

fn bytes(file: &PlannedFile) -> u64 {
    if file.attr.kind == Kind::File {
        file.attr.size
    } else {
        0
    }
}

fn own(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

fn errno_text(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// One thread's work.
struct Copy<'a> {
    run: &'a Run<'a>,
    buffers: Buffers,
    reader: Reader<'a>,
    walker: Walker<'a>,
}

impl<'a> Copy<'a> {
    fn new(run: &'a Run<'a>) -> rustix::io::Result<Self> {
        Ok(Self {
            run,
            buffers: Buffers::new(run.unverified),
            reader: Reader::new(run.source)?,
            walker: Walker::new(run.target.top)?,
        })
    }

    /// Copies the content to the first name, and links the others to it.
    fn file(&mut self, file: &PlannedFile, tell: &mut dyn FnMut(Result<Verdict>)) {
        let Some((name, others)) = file.names.split_first() else {
            return;
        };
        let dir = match self.directory(name.dir) {
            Ok(dir) => dir,
            Err(errno) => return self.run.lost(file, errno, tell),
        };
        let kind = Some(file.attr.kind);
        let (dir, earlier) = (dir.as_fd(), self.run.target.earlier);
        let first = Place {
            dir,
            name: &name.name,
            earlier,
        };
        let path = self.run.path(name);
        let mut attr = file.attr;
        let (outcome, made) = self
            .first(file, &first, &path, &mut attr)
            .unwrap_or_else(|error| (Outcome::Lost(error.to_string()), None));
        let there = !matches!(outcome, Outcome::Lost(_));
        let partial = outcome.is_partial();
        let settled = self.run.settle(path, kind, name.placed, outcome);
        let undated = made.filter(|_| partial && settled.is_ok());
        tell(settled);
        if let Some(made) = undated {
            made.date(&attr);
        }
        for other in others {
            let outcome = match self.link(&first, other) {
                Ok(()) if there => Outcome::Whole,
                Ok(()) => Outcome::Lost("its other name has no content".to_owned()),
                Err(errno) => Outcome::Lost(errno_text(errno)),
            };
            tell(
                self.run
                    .settle(self.run.path(other), kind, other.placed, outcome),
            );
        }
    }

    /// A directory of the destination.
    fn directory(&mut self, dir: usize) -> rustix::io::Result<OwnedFd> {
        own(self.walker.go(self.run.plan, dir, existing)?)
    }

    fn link(&mut self, first: &Place<'_>, other: &PlannedName) -> rustix::io::Result<()> {
        let dir = self.directory(other.dir)?;
        let place = Place {
            dir: dir.as_fd(),
            name: &other.name,
            earlier: first.earlier,
        };
        place.link(first.dir, first.name)
    }

    /// Copies the content; `attr` learns the size. What was made is given where it has no times yet.
    fn first(
        &mut self,
        file: &PlannedFile,
        place: &Place<'_>,
        path: &Path,
        attr: &mut Attr,
    ) -> Result<(Outcome, Option<Made>), fs::Error> {
        let Run {
            source,
            plan,
            target,
            progress,
            ..
        } = self.run;
        if target.withhold.device(attr) {
            return Ok((Outcome::Lost(left_out("device node")), None));
        }
        let (dir, entry) = plan.open(&mut self.reader, file)?;
        let mut content = None;
        if attr.kind == Kind::File && attr.size > 0 {
            let fd = source.open_file(dir, entry.to_bytes())?;
            let Some(identity) = Identity::of(&source.keys, fd.as_fd())? else {
                progress.done(file.attr.size);
                let why = "no part of it authenticates".to_owned();
                return Ok((Outcome::Lost(why), None));
            };
            attr.size = identity.size;
            content = Some((fd, identity));
        }
        if target.is_done(place, path, attr) {
            progress.done(bytes(file));
            return Ok((Outcome::Earlier, None));
        }
        let mut lost = Vec::new();
        let made = match attr.kind {
            Kind::File | Kind::Directory => place.file()?,
            Kind::Symlink => place.symlink(&stored::target(source, dir, entry)?)?,
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                place.special(attr)?
            }
        };
        if let Some((fd, identity)) = content {
            lost = identity.copy(fd.as_fd(), made.file(), &mut self.buffers, *progress)?;
        }
        let (xattrs, mut missing) = stored::attributes(source, dir, entry, None);
        missing.extend(made.dress(attr, &xattrs, target.withhold));
        Ok(match Outcome::of(lost, missing) {
            Outcome::Whole => (Outcome::of(Vec::new(), made.date(attr)), None),
            partial => (partial, Some(made)),
        })
    }
}
