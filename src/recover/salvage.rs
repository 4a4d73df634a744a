//! Salvage: everything that still decrypts, to another place. The volume is only ever read.
//!
//! A directory volume is not mounted for that: [`scan`] finds the files, intact tree or not, and they are copied unit by unit
//! on all cores. (By way of the file system a file with a damaged first unit would be lost whole.) An image's tree is
//! its only map: [`copy_out`] reads it through the file system. Both finish a file by setting its times, so that one that
//! was cut short at any point is done again by a salvage that goes on.
use super::copy_out;
use super::error::{Error, Result};
use super::journal::Journal;
use super::scan::content::{Buffers, Identity};
use super::scan::plan::{PlannedDir, PlannedFile};
use super::scan::{self, Placed, Plan, Source};
use super::target::{self, Place};
use super::verdict::{Outcome, Summary, Verdict};
use super::{How, file_system, stored};
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
    let mut journal = Journal::open(top.as_fd(), job.to)?;
    let mut summary = Summary::default();
    let mut failed = None;
    let mut tell = |verdict: Verdict| match journal.settle(verdict) {
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
            let files = file_system(opened, &how)?;
            copy_out(&*files, top.as_fd(), progress, &mut tell)?;
        }
        VolumeKind::Directory => {
            let source = Source::new(opened).map_err(Error::sys(job.volume))?;
            let plan = Plan::of(&source).map_err(Error::sys(job.volume))?;
            let buffers = || Buffers::new(job.unverified);
            run(&source, &plan, top.as_fd(), &buffers, progress, &mut tell);
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

fn run(
    source: &Source,
    plan: &Plan,
    top: BorrowedFd<'_>,
    buffers: &(dyn Fn() -> Buffers + Sync),
    progress: &dyn Progress,
    tell: &mut dyn FnMut(Verdict),
) {
    progress.total(plan.files.iter().map(bytes).sum());
    for (path, why) in &plan.unread {
        tell(verdict(
            path,
            Some(Kind::Directory),
            Placed::Name,
            Outcome::Lost(format!("listing: {why}")),
        ));
    }
    let failed: Vec<_> = plan
        .dirs
        .iter()
        .map(|dir| open_at(top, &dir.path).err())
        .collect();
    let (said, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let said = said; // dropped when all is done
            scan::parallel(
                plan.files.len(),
                || (buffers(), said.clone()),
                |(buffers, said), index| {
                    let file = &plan.files[index];
                    let mut copy = Copy {
                        source,
                        plan,
                        top,
                        progress,
                        buffers,
                    };
                    copy.file(file, &mut |verdict| drop(said.send(verdict)));
                },
            );
        });
        heard.iter().for_each(&mut *tell);
    });
    // Children before parents: then nothing disturbs the times any more.
    for (dir, failed) in plan.dirs.iter().zip(failed).rev() {
        let outcome = match failed {
            Some(errno) => Outcome::Lost(std::io::Error::from(errno).to_string()),
            None => dress(source, plan, top, dir),
        };
        tell(verdict(
            &dir.path,
            Some(Kind::Directory),
            dir.placed,
            outcome,
        ));
    }
}

fn bytes(file: &PlannedFile) -> u64 {
    if file.attr.kind == Kind::File {
        file.attr.size
    } else {
        0
    }
}

fn verdict(path: &Path, kind: Option<Kind>, placed: Placed, outcome: Outcome) -> Verdict {
    Verdict {
        path: path.to_owned(),
        kind,
        outcome,
        placed,
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

fn dress(source: &Source, plan: &Plan, top: BorrowedFd<'_>, dir: &PlannedDir) -> Outcome {
    let Some((id, stored)) = dir.stored else {
        return Outcome::Attributes(vec!["only the directory's name is left".to_owned()]);
    };
    let dressed = || {
        let (from, stored) = plan.open_dir(source, stored)?;
        let (xattrs, mut lost) = stored::attributes(source, from.as_fd(), c".", Some(id));
        let (above, name) = match (dir.path.parent(), dir.path.file_name()) {
            (Some(above), Some(name)) => (open_at(top, above)?, name),
            _ => (open_at(top, Path::new(""))?, OsStr::new(".")),
        };
        lost.extend(
            Place {
                dir: above.as_fd(),
                name,
            }
            .dress(&stored.attr, &xattrs),
        );
        Ok(lost)
    };
    match dressed() {
        Ok(lost) if lost.is_empty() => Outcome::Whole,
        Ok(lost) => Outcome::Attributes(lost),
        Err(errno) => Outcome::Attributes(vec![errno_text(errno)]),
    }
}

fn errno_text(errno: rustix::io::Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// One thread's work.
struct Copy<'a> {
    source: &'a Source,
    plan: &'a Plan,
    top: BorrowedFd<'a>,
    progress: &'a dyn Progress,
    buffers: &'a mut Buffers,
}

impl Copy<'_> {
    /// Copies the content to the first name, and links the others to it.
    fn file(&mut self, file: &PlannedFile, tell: &mut dyn FnMut(Verdict)) {
        let kind = Some(file.attr.kind);
        let Some(((first, placed), others)) = file.paths.split_first() else {
            return;
        };
        let outcome = self
            .first(file, first)
            .unwrap_or_else(|error| Outcome::Lost(error.to_string()));
        let there = !matches!(outcome, Outcome::Lost(_));
        tell(verdict(first, kind, *placed, outcome));
        for (path, placed) in others {
            let linked = self
                .at(path, |place| place.link(self.top, first))
                .map_err(errno_text);
            let outcome = match linked {
                Ok(()) if there => Outcome::Whole,
                Ok(()) => Outcome::Lost("its other name has no content".to_owned()),
                Err(why) => Outcome::Lost(why),
            };
            tell(verdict(path, kind, *placed, outcome));
        }
    }

    fn at<T>(
        &self,
        path: &Path,
        call: impl FnOnce(&Place<'_>) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let above = open_at_existing(self.top, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or(OsStr::from_bytes(b"."));
        call(&Place {
            dir: above.as_fd(),
            name,
        })
    }

    fn first(&mut self, file: &PlannedFile, path: &Path) -> Result<Outcome, fs::Error> {
        let (dir, entry) = self.plan.open(self.source, file)?;
        let above = open_at_existing(self.top, path.parent().unwrap_or(Path::new("")))?;
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
                let fd = self.source.open_file(dir.as_fd(), entry.to_bytes())?;
                let Some(identity) = Identity::of(&self.source.keys, fd.as_fd())? else {
                    self.progress.done(file.attr.size);
                    return Ok(Outcome::Lost("no part of it authenticates".to_owned()));
                };
                attr.size = identity.size;
                if place.is_done(&attr) {
                    self.progress.done(file.attr.size);
                    return Ok(Outcome::Earlier);
                }
                let to = place.file()?;
                lost = identity.copy(fd.as_fd(), &to, self.buffers, self.progress)?;
            }
            Kind::Symlink => {
                if place.is_done(&attr) {
                    return Ok(Outcome::Earlier);
                }
                place.symlink(&stored::target(self.source, dir.as_fd(), entry)?)?;
            }
            Kind::Directory => {}
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                if place.is_done(&attr) {
                    return Ok(Outcome::Earlier);
                }
                place.special(&attr)?;
            }
        }
        let (xattrs, mut missing) = stored::attributes(self.source, dir.as_fd(), entry, None);
        missing.extend(place.dress(&attr, &xattrs));
        Ok(match (lost.is_empty(), missing.is_empty()) {
            (true, true) => Outcome::Whole,
            (true, false) => Outcome::Attributes(missing),
            (false, _) => Outcome::Ranges(lost),
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
