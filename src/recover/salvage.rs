//! Salvage: everything that still decrypts, to another place. The volume is only ever read.
//!
//! A directory volume is not mounted for that: [`scan`] finds the files, intact tree or not, and they are copied unit by unit
//! on all cores. (By way of the file system a file with a damaged first unit would be lost whole.) An image's tree is
//! its only map: [`copy_out`] takes what is not damaged of it. Both finish a file by setting its times, so that one that
//! was cut short at any point is done again by a salvage that goes on.
use super::copy_out;
use super::error::{Error, Result};
use super::journal::Journal;
use super::scan::content::{Buffers, Identity};
use super::scan::plan::{PlannedDir, PlannedFile};
use super::scan::{self, Placed, Plan, Source};
use super::target::{self, Place};
use super::verdict::{Outcome, Summary, Verdict};
use super::{How, image, stored};
use crate::fs::{self, Kind, Progress};
use crate::volume::{Kind as VolumeKind, Opened};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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
            let mut settle = |verdict| tell(journal.settle(verdict));
            copy_out(&image(opened, &how)?, top.as_fd(), progress, &mut settle)?;
        }
        VolumeKind::Directory => {
            let source = Source::new(opened).map_err(Error::sys(job.volume))?;
            let plan = Plan::of(&source).map_err(Error::sys(job.volume))?;
            let run = Run {
                source: &source,
                plan: &plan,
                top: top.as_fd(),
                unverified: job.unverified,
                journal: &journal,
                progress,
            };
            run.all(&mut tell);
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
    top: BorrowedFd<'a>,
    unverified: bool,
    journal: &'a Journal,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    fn all(&self, tell: &mut dyn FnMut(Result<Verdict>)) {
        let plan = self.plan;
        self.progress.total(plan.files.iter().map(bytes).sum());
        for (path, why) in &plan.unread {
            tell(self.settle(
                path,
                Some(Kind::Directory),
                Placed::Name,
                Outcome::Lost(format!("listing: {why}")),
            ));
        }
        let failed: Vec<_> = plan
            .dirs
            .iter()
            .map(|dir| open_at(self.top, &dir.path).err())
            .collect();
        // A report that is read slowly holds up the copying, and does not pile up.
        let (said, heard) = mpsc::sync_channel(256);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let said = said; // dropped when all is done
                scan::parallel(
                    plan.files.len(),
                    || (Buffers::new(self.unverified), said.clone()),
                    |(buffers, said), index| {
                        let mut copy = Copy { run: self, buffers };
                        copy.file(&plan.files[index], &mut |settled| drop(said.send(settled)));
                    },
                );
            });
            heard.iter().for_each(&mut *tell);
        });
        // Children before parents: then nothing disturbs the times any more.
        for (dir, failed) in plan.dirs.iter().zip(failed).rev() {
            let outcome = match failed {
                Some(errno) => Outcome::Lost(errno_text(errno)),
                None => self.dress(dir),
            };
            tell(self.settle(&dir.path, Some(Kind::Directory), dir.placed, outcome));
        }
    }

    fn settle(
        &self,
        path: &Path,
        kind: Option<Kind>,
        placed: Placed,
        outcome: Outcome,
    ) -> Result<Verdict> {
        self.journal.settle(Verdict {
            path: path.to_owned(),
            kind,
            outcome,
            placed,
        })
    }

    fn dress(&self, dir: &PlannedDir) -> Outcome {
        let Some((id, stored)) = dir.stored else {
            return Outcome::Attributes(vec!["only the directory's name is left".to_owned()]);
        };
        let dressed = || {
            let (from, stored) = self.plan.open_dir(self.source, stored)?;
            let (xattrs, mut lost) = stored::attributes(self.source, from.as_fd(), c".", Some(id));
            let (above, name) = match (dir.path.parent(), dir.path.file_name()) {
                (Some(above), Some(name)) => (open_at(self.top, above)?, name),
                _ => (open_at(self.top, Path::new(""))?, OsStr::new(".")),
            };
            let dir = above.as_fd();
            let place = Place { dir, name };
            lost.extend(place.dress(&stored.attr, &xattrs));
            lost.extend(place.date(&stored.attr));
            Ok(lost)
        };
        match dressed() {
            Ok(lost) => Outcome::of(Vec::new(), lost),
            Err(errno) => Outcome::Attributes(vec![errno_text(errno)]),
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

/// A directory of the destination, made with those above it where it is not there.
fn open_at(top: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let mut dir = rustix::io::fcntl_dupfd_cloexec(top, 0)?;
    for name in path {
        dir = Place {
            dir: dir.as_fd(),
            name,
        }
        .directory()?;
    }
    Ok(dir)
}

fn errno_text(errno: rustix::io::Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// One thread's work.
struct Copy<'a> {
    run: &'a Run<'a>,
    buffers: &'a mut Buffers,
}

impl Copy<'_> {
    /// Copies the content to the first name, and links the others to it.
    fn file(&mut self, file: &PlannedFile, tell: &mut dyn FnMut(Result<Verdict>)) {
        let kind = Some(file.attr.kind);
        let Some(((first, placed), others)) = file.paths.split_first() else {
            return;
        };
        let outcome = self
            .first(file, first)
            .unwrap_or_else(|error| Outcome::Lost(error.to_string()));
        let there = !matches!(outcome, Outcome::Lost(_));
        let partial = outcome.is_partial();
        let settled = self.run.settle(first, kind, *placed, outcome);
        let undated = partial && settled.is_ok();
        tell(settled);
        if undated {
            let _ = self.at(first, |place| Ok(place.date(&file.attr)));
        }
        for (path, placed) in others {
            let linked = self
                .at(path, |place| place.link(self.run.top, first))
                .map_err(errno_text);
            let outcome = match linked {
                Ok(()) if there => Outcome::Whole,
                Ok(()) => Outcome::Lost("its other name has no content".to_owned()),
                Err(why) => Outcome::Lost(why),
            };
            tell(self.run.settle(path, kind, *placed, outcome));
        }
    }

    fn at<T>(
        &self,
        path: &Path,
        call: impl FnOnce(&Place<'_>) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let above = open_at_existing(self.run.top, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or(OsStr::from_bytes(b"."));
        call(&Place {
            dir: above.as_fd(),
            name,
        })
    }

    fn first(&mut self, file: &PlannedFile, path: &Path) -> Result<Outcome, fs::Error> {
        let (dir, entry) = self.run.plan.open(self.run.source, file)?;
        let above = open_at_existing(self.run.top, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or(OsStr::from_bytes(b"."));
        let place = Place {
            dir: above.as_fd(),
            name,
        };
        let mut attr = file.attr;
        let mut lost = Vec::new();
        match file.attr.kind {
            Kind::File if file.attr.size == 0 => {
                if place.is_done(&attr) {
                    return Ok(Outcome::Earlier);
                }
                place.file()?;
            }
            Kind::File => {
                let fd = self.run.source.open_file(dir.as_fd(), entry.to_bytes())?;
                let Some(identity) = Identity::of(&self.run.source.keys, fd.as_fd())? else {
                    self.run.progress.done(file.attr.size);
                    return Ok(Outcome::Lost("no part of it authenticates".to_owned()));
                };
                attr.size = identity.size;
                if place.is_done(&attr) {
                    self.run.progress.done(file.attr.size);
                    return Ok(Outcome::Earlier);
                }
                let to = place.file()?;
                lost = identity.copy(fd.as_fd(), &to, self.buffers, self.run.progress)?;
            }
            Kind::Symlink => {
                if place.is_done(&attr) {
                    return Ok(Outcome::Earlier);
                }
                place.symlink(&stored::target(self.run.source, dir.as_fd(), entry)?)?;
            }
            Kind::Directory => {}
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                if place.is_done(&attr) {
                    return Ok(Outcome::Earlier);
                }
                place.special(&attr)?;
            }
        }
        let (xattrs, mut missing) = stored::attributes(self.run.source, dir.as_fd(), entry, None);
        missing.extend(place.dress(&attr, &xattrs));
        Ok(match Outcome::of(lost, missing) {
            Outcome::Whole => Outcome::of(Vec::new(), place.date(&attr)),
            partial => partial,
        })
    }
}

/// As [`open_at`], without touching the mode of what is there already.
fn open_at_existing(top: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = rustix::io::fcntl_dupfd_cloexec(top, 0)?;
    for name in path {
        dir = openat(&dir, name, flags, Mode::empty())?;
    }
    Ok(dir)
}
