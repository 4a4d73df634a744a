//! Damage and attack: backing files are flipped, cut, grown, zeroed, swapped and spliced, byte by byte and unit by unit.
//! Reading what they hold then gives an error or exactly what was written, never other bytes, never a panic; and what was
//! not damaged is as it was.
//!
//! | damage | tests | directory volume | image |
//! | --- | --- | --- | --- |
//! | bits flipped | [`flipped_bits_are_errors`] | error in that unit | error at that page |
//! | cut, grown | [`cut_and_grown_files_are_errors`] | error; emptied: not noticed | error |
//! | units zeroed, swapped, moved within and across files | [`zeroed_swapped_and_spliced_units_are_errors`] | error; zeros in a sparse file and whole files: not noticed | error |
//! | names changed, moved, planted; directory ids, links, attributes, side files | [`directory`] | error, or not listed | none of them lies in an image as such |
//! | an older version of a unit or file | cryptfs(5) says so | not noticed | error (`image::hostile`) |
//! | the whole volume put back | `acceptance::refusals` (header), `image::hostile` | only its header is noticed | refused |
//! | header copies damaged, of another volume, forged, older | `acceptance::copies`, `acceptance::refusals`, `volume::header` | outvoted, repaired, refused | the same |
//!
//! What a kind of volume cannot notice by design stands in [`Blind`], and nothing else is allowed. Everyday runs take a
//! sample of the larger sets; `CRYPTFS_HOSTILE=all` takes all of them.
mod damage;
mod directory;
pub mod known;

use crate::kinds::{ALL, Blind, VolumeKind};
use crate::model::rng::Rng;
use cryptfs::fs::FileSystem;
use damage::{Damage, Original};
use known::{Found, Known, Thing, Tree};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tempfile::TempDir;

/// A volume that was closed cleanly, and what is in it.
struct Victim {
    kind: &'static dyn VolumeKind,
    home: TempDir,
    tree: Tree,
    originals: Vec<Original>,
}

impl Victim {
    fn new(kind: &'static dyn VolumeKind) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        kind.create_small(home.path());
        let fs = kind.open(home.path(), false).expect("open the volume");
        let tree = known::make(&*fs);
        fs.close().expect("close");
        drop(fs);
        let victim = Self {
            kind,
            originals: damage::originals(home.path()),
            home,
            tree,
        };
        let complaints = victim.examine(&[], &|_| None);
        assert!(complaints.is_empty(), "before any damage: {complaints:?}");
        victim
    }

    /// The places whose content lies in a backing file: all of them where that cannot be told.
    fn hit(&self, files: &[usize]) -> Vec<&[u8]> {
        let inos: Vec<u64> = files.iter().map(|file| self.originals[*file].ino).collect();
        let hit = |known: &Known| self.kind.blind().one_file_for_all || inos.contains(&known.ino);
        let places = self.tree.iter().filter(|(_, known)| hit(known));
        places.map(|(path, _)| path.as_slice()).collect()
    }

    /// Opens the volume and looks at everything. `excuse` says why something wrong is allowed at a place that was hit.
    fn examine(
        &self,
        files: &[usize],
        excuse: &dyn Fn(&Known) -> Option<&'static str>,
    ) -> Vec<String> {
        let hit = self.hit(files);
        let named = |file: &usize| {
            self.tree
                .values()
                .all(|known| known.ino != self.originals[*file].ino)
        };
        let names_hit = files.iter().any(named) && self.kind.blind().long_directory_names;
        let fs: Arc<dyn FileSystem> = match self.kind.open(self.home.path(), true) {
            Ok(fs) => fs,
            Err(_) if self.kind.blind().one_file_for_all => return Vec::new(),
            Err(error) => return vec![format!("the volume does not open: {error}")],
        };
        let mut complaints = Vec::new();
        for (path, known) in &self.tree {
            let was_hit = hit.contains(&path.as_slice());
            let what = match known::examine(&*fs, path, known) {
                Found::Right => continue,
                Found::Error(errno) if was_hit && errno == rustix::io::Errno::IO.raw_os_error() => {
                    continue;
                }
                Found::Error(errno) => format!("error {errno}"),
                Found::Gone if names_hit && has_long(path) => continue,
                Found::Gone => "gone".to_owned(),
                Found::Wrong(_) if was_hit && excuse(known).is_some() => continue,
                Found::Wrong(what) => what,
            };
            let shown: String = path.escape_ascii().to_string().chars().take(40).collect();
            complaints.push(format!("{shown} (hit: {was_hit}): {what}"));
        }
        let strangers = known::strangers(&*fs, &self.tree);
        complaints.extend(
            strangers
                .iter()
                .map(|name| format!("{} appeared", name.escape_ascii())),
        );
        complaints
    }

    /// Inflicts each damage alone. Returns how many were noticed, by kind of damage.
    fn suffer(&self, damages: &[Damage]) -> BTreeMap<String, usize> {
        let mut tried = BTreeMap::new();
        let mut failures = Vec::new();
        for damage in damages {
            if damage.inflict(&self.originals) {
                let files = damage.files();
                let blind = self.kind.blind();
                let excuse = |known: &Known| excuse(&blind, damage, known, &self.originals);
                let examined = catch_unwind(AssertUnwindSafe(|| self.examine(&files, &excuse)));
                let complaints = examined.unwrap_or_else(|_| vec!["panic".to_owned()]);
                if !complaints.is_empty() {
                    failures.push(format!("{damage:?}: {}", complaints.join("; ")));
                }
                let name = format!("{damage:?}");
                *tried
                    .entry(name.split(' ').next().unwrap_or_default().to_owned())
                    .or_default() += 1;
            }
            damage.undo(&self.originals);
            assert!(
                failures.len() < 10,
                "{}:\n{}",
                self.kind.name(),
                failures.join("\n")
            );
        }
        assert!(
            failures.is_empty(),
            "{}:\n{}",
            self.kind.name(),
            failures.join("\n")
        );
        tried
    }
}

/// Whether a path has a name that a directory volume keeps in a side file.
fn has_long(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|name| name.len() > 160)
}

/// Why a damage may go unnoticed in a file.
fn excuse(
    blind: &Blind,
    damage: &Damage,
    known: &Known,
    originals: &[Original],
) -> Option<&'static str> {
    let Thing::File { sparse, .. } = &known.thing else {
        return None;
    };
    if matches!(damage, Damage::Cut { length: 0, .. }) && blind.emptied_files {
        return Some("an emptied file");
    }
    if matches!(damage, Damage::Zero { .. }) && *sparse && blind.zeroed_units_of_sparse_files {
        return Some("a hole in a sparse file");
    }
    damage.moves().into_iter().find_map(|(from, to)| {
        let (donor, place) = (&originals[from.0], &originals[to.0]);
        if place.ino != known.ino {
            return None;
        }
        let zeros = donor.unit(from.1).iter().all(|byte| *byte == 0);
        if zeros && *sparse && blind.zeroed_units_of_sparse_files {
            return Some("a hole in a sparse file");
        }
        let heads = from.1 == 0 && to.1 == 0 && donor.bytes.len() == place.bytes.len();
        (heads && blind.exchanged_files).then_some("the head of another file of this size")
    })
}

fn each_kind(damages: fn(&[Original], &mut Rng) -> Vec<Damage>) {
    for kind in ALL {
        let victim = Victim::new(kind);
        let mut rng = Rng::new(1);
        let mut damages = damages(&victim.originals, &mut rng);
        if kind.blind().one_file_for_all {
            thin(&mut damages, &victim.originals, &mut rng);
        }
        let tried = victim.suffer(&damages);
        eprintln!("{}: {tried:?}", kind.name());
    }
}

/// One file has every unit with every other: a sample of those damages that do not fall into a hole.
fn thin(damages: &mut Vec<Damage>, originals: &[Original], rng: &mut Rng) {
    damages.retain(|damage| damage.hits(originals));
    let keep = damage::thousandths(25) * 40;
    let of = damages.len().max(1) as u64;
    damages.retain(|_| rng.below(of) < keep);
}

#[test]
fn flipped_bits_are_errors() {
    each_kind(damage::flips);
}

#[test]
fn cut_and_grown_files_are_errors() {
    each_kind(damage::lengths);
}

#[test]
fn zeroed_swapped_and_spliced_units_are_errors() {
    each_kind(damage::units);
}
