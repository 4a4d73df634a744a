//! Random operations, guided by what there is: without a guide nine of ten would fail for want of a file.
use super::ops::{At, Op, Profile, SLOTS, Slot};
use super::rng::Rng;
use cryptfs::fs::{Allocate, Kind, Rename, SetXattr, Time, Whence};

impl Profile {
    /// A mode with which an ordinary user does not lock himself out; set-ID bits, which his writes would clear, are
    /// root's to test.
    fn allowed(&self, mode: u32) -> u32 {
        if self.root {
            mode
        } else {
            mode & 0o1777 | 0o700
        }
    }
}

const MODES: [u32; 6] = [0o777, 0o644, 0o600, 0o755, 0o1777, 0o400];

fn offset(rng: &mut Rng) -> u64 {
    let edge = rng.pick(&[
        0, 64, 4000, 4064, 4096, 8064, 8128, 12_192, 20_000, 65_536, 100_000,
    ]);
    match rng.below(100) {
        0 => rng.pick(&[1 << 30, (5 << 30) + 7]),
        1..50 => (edge + rng.below(5)).saturating_sub(2),
        _ => rng.below(30_000),
    }
}

fn length(rng: &mut Rng) -> usize {
    let edge = rng.pick(&[1, 64, 4000, 4064, 4096, 8128, 20_000]);
    match rng.below(3) {
        0 => edge + rng.below(3) as usize,
        1 => 1 + rng.below(200) as usize,
        _ => 1 + rng.below(12_000) as usize,
    }
}

fn seed(rng: &mut Rng) -> u64 {
    if rng.once(10) {
        0
    } else {
        1 + rng.below(0xffff)
    }
}

fn time(rng: &mut Rng) -> Option<Time> {
    let sec = rng.pick(&[0, 1, 1_000_000_000, 2_000_000_000, 4_294_967_296, -86_400]);
    let nsec = rng.pick(&[0, 1, 123_456_789, 999_999_999]);
    Some(Time { sec, nsec }).filter(|_| !rng.once(3))
}

fn allocation(rng: &mut Rng) -> Allocate {
    let keep_size = rng.once(2);
    match rng.below(4) {
        0 => Allocate::Reserve { keep_size },
        1 => Allocate::Zero { keep_size },
        _ => Allocate::Punch,
    }
}

fn special(rng: &mut Rng, profile: &Profile) -> (u32, u32) {
    const REGULAR: u32 = 0o100000;
    let makedev = |major: u32, minor: u32| minor & 0xff | major << 8 | (minor & !0xff) << 12;
    match rng.below(if profile.root { 5 } else { 3 }) {
        0 => (0o010000, 0),
        1 => (0o140000, 0),
        2 => (REGULAR, 0),
        3 => (0o020000, makedev(1, 3)),
        _ => (0o060000, makedev(7, 300)),
    }
}

/// Draws operations.
pub struct Guide<'a> {
    pub rng: &'a mut Rng,
    pub profile: &'a Profile,
    /// What there is, the root included.
    pub places: &'a [(At, Kind)],
    /// Open files.
    pub open: &'a [Slot],
}

impl Guide<'_> {
    /// The next operation. The weights favour changing over looking: the whole tree is looked at anyway.
    pub fn next(&mut self) -> Op {
        let remount = self.profile.remount;
        if remount > 0 && self.rng.once(remount) {
            return Op::Remount;
        }
        match self.rng.below(100) {
            0..40 if self.open.is_empty() => self.opening(),
            0..40 => self.content(),
            40..80 => self.names(),
            _ => self.attributes(),
        }
    }

    /// A place of one of these kinds, most of the time; sometimes any, or one where nothing is.
    fn at(&mut self, kinds: &[Kind]) -> At {
        let wanted = |place: &&(At, Kind)| kinds.is_empty() || kinds.contains(&place.1);
        let fit: Vec<_> = self.places.iter().skip(1).filter(wanted).collect();
        match self.rng.below(8) {
            0 => self.vacant(),
            1 if self.places.len() > 1 => self
                .rng
                .pick(&self.places[1..].iter().collect::<Vec<_>>())
                .0
                .clone(),
            _ if !fit.is_empty() => self.rng.pick(&fit).0.clone(),
            _ => self.vacant(),
        }
    }

    /// A directory, the root included.
    fn directory(&mut self) -> At {
        let kind = |place: &&(At, Kind)| place.1 == Kind::Directory && place.0.depth() < 3;
        let fit: Vec<_> = self.places.iter().filter(kind).collect();
        match self.rng.below(12) {
            0 => self.at(&[]),
            _ => self.rng.pick(&fit).0.clone(),
        }
    }

    /// A name in a directory, which may or may not be taken.
    fn vacant(&mut self) -> At {
        self.directory().below(self.rng)
    }

    fn slot(&mut self) -> Slot {
        match self.open {
            [] => self.any_slot(),
            _ if self.rng.once(20) => self.any_slot(),
            open => self.rng.pick(open),
        }
    }

    fn any_slot(&mut self) -> Slot {
        self.rng.below(SLOTS as u64) as usize
    }

    fn who(&mut self) -> usize {
        self.rng.below(self.profile.callers.len() as u64) as usize
    }

    fn mode(&mut self) -> u32 {
        self.profile.allowed(self.rng.pick(&MODES))
    }

    fn opening(&mut self) -> Op {
        let slot = self.any_slot();
        match self.rng.below(12) {
            0 => Op::Tmpfile(slot, self.directory(), self.mode() & 0o777, self.who()),
            1..6 => Op::Create(slot, self.vacant(), self.mode() & 0o777, self.who()),
            _ => Op::Open {
                slot,
                at: self.at(&[Kind::File]),
                write: !self.rng.once(6),
                truncate: self.rng.once(3),
            },
        }
    }

    fn content(&mut self) -> Op {
        let slot = self.slot();
        let (offset, length) = (offset(self.rng), length(self.rng));
        match self.rng.below(40) {
            0..14 => Op::Write {
                slot,
                offset,
                length,
                seed: seed(self.rng),
                kill: self.profile.kill && self.rng.once(4),
            },
            14..18 => Op::Append {
                slot,
                length,
                seed: seed(self.rng),
            },
            18..22 => Op::Read {
                slot,
                offset,
                length,
            },
            22..28 => Op::Allocate {
                slot,
                how: allocation(self.rng),
                offset,
                length: length as u64,
            },
            28..30 => Op::Seek(slot, offset, self.rng.pick(&[Whence::Data, Whence::Hole])),
            30..33 => Op::Copy {
                from: slot,
                at: offset,
                to: self.slot(),
                target: self::offset(self.rng),
                length: length as u64,
            },
            33 => Op::Fsync(slot, self.rng.once(2)),
            34..38 => Op::TruncateSlot(slot, offset),
            38 => Op::Sync,
            _ => Op::Close(slot),
        }
    }

    fn names(&mut self) -> Op {
        let leaf = [
            Kind::File,
            Kind::Symlink,
            Kind::Fifo,
            Kind::Socket,
            Kind::CharDevice,
            Kind::BlockDevice,
        ];
        match self.rng.below(40) {
            0..6 => Op::Mkdir(self.vacant(), self.mode(), self.who()),
            6..8 => {
                let (kind, rdev) = special(self.rng, self.profile);
                Op::Mknod(self.vacant(), kind | self.mode() & 0o777, rdev, self.who())
            }
            8..10 => Op::Symlink(self.vacant(), self.rng.below(5) as usize, self.who()),
            10..14 => Op::Link(self.at(&leaf), self.vacant()),
            14 => Op::LinkSlot(self.slot(), self.vacant()),
            15..19 => Op::Unlink(self.at(&leaf)),
            19..21 => Op::Rmdir(self.at(&[Kind::Directory])),
            21..30 => {
                let to = if self.rng.once(2) {
                    self.at(&[])
                } else {
                    self.vacant()
                };
                let ways = [
                    Rename::Replace,
                    Rename::Replace,
                    Rename::NoReplace,
                    Rename::Exchange,
                ];
                Op::Rename(self.at(&[]), to, self.rng.pick(&ways))
            }
            _ => self.opening(),
        }
    }

    fn attributes(&mut self) -> Op {
        let at = self.at(&[]);
        let holder = self.at(&[Kind::File, Kind::Directory]);
        let owner = |rng: &mut Rng| Some(rng.pick(&[0, 7, 1000])).filter(|_| !rng.once(4));
        match self.rng.below(24) {
            0..3 => {
                let modes = [0o777, 0o644, 0o000, 0o2777, 0o6755, 0o4711, 0o1777, 0o2644];
                Op::Chmod(at, self.profile.allowed(self.rng.pick(&modes)))
            }
            3..5 if self.profile.root => Op::Chown(at, owner(self.rng), owner(self.rng)),
            3..8 => Op::Utimens(at, time(self.rng), time(self.rng)),
            8..10 => Op::Truncate(self.at(&[Kind::File]), offset(self.rng)),
            10..15 => Op::SetXattr {
                at: holder,
                name: self.rng.pick(&[0, 0, 0, 1, 2]),
                length: self.rng.pick(&[0, 1, 16, 100, 500]),
                seed: self.rng.next() | 1,
                how: self.rng.pick(&[
                    SetXattr::Either,
                    SetXattr::Either,
                    SetXattr::Create,
                    SetXattr::Replace,
                ]),
            },
            15..17 => Op::GetXattr(holder, self.rng.pick(&[0, 0, 0, 1, 2])),
            17..19 => Op::RemoveXattr(holder, self.rng.pick(&[0, 0, 0, 1, 2])),
            19 => Op::Stat(at),
            20 => Op::Readlink(self.at(&[Kind::Symlink])),
            21 => Op::List(self.directory()),
            _ => Op::Forget,
        }
    }
}
