//! The file of an image, and its header's last copy, when the image's size changes or a backup is made of it.
//!
//! At any moment each place where a header copy is looked for either holds one or is repaired by the next mount, and the
//! file is at least as long as the file system in it.
use super::copies;
use super::error::{Error, Result};
use super::header::KEEPS_SPACE;
use super::place::{COPIES, Place};
use super::site::{self, Site};
use super::unlocked::Volume;
use rustix::fs::ftruncate;
use std::path::Path;

const LAST: usize = COPIES - 1;

impl Volume {
    /// Before an image grows from `old` to `new` bytes: the file (a block device has grown already) and the header copy at
    /// its end. No header stays where the last copy was.
    pub fn lengthen(&mut self, old: u64, new: u64) -> Result<()> {
        let path = self.place().path().to_owned();
        let file = self.place().as_fd();
        if !self.place().is_device() {
            let keeps = self.header().features.compat & KEEPS_SPACE != 0;
            if keeps {
                site::take_space(file, old..new).map_err(Error::io(&path))?;
            }
            ftruncate(file, new).map_err(Error::sys(&path))?;
        }
        let place = self.place().resized(new)?;
        let written = place.write_copy(LAST, self.header_bytes());
        written.map_err(Error::io(&path))?;
        let gone = self.place().resized(old)?.destroy_copy(LAST);
        gone.map_err(Error::io(&path))?;
        self.move_to(place);
        Ok(())
    }

    /// After an image was made smaller: the header copy at its new end, then the file.
    pub fn shorten(&mut self, new: u64) -> Result<()> {
        let path = self.place().path().to_owned();
        let place = self.place().resized(new)?;
        let written = place.write_copy(LAST, self.header_bytes());
        written.map_err(Error::io(&path))?;
        ftruncate(place.as_fd(), new).map_err(Error::sys(&path))?;
        self.move_to(place);
        Ok(())
    }

    /// Makes the file of a backup of this image, or takes an earlier one. It is a volume once [`Volume::end_backup`] has
    /// written its header.
    pub fn begin_backup(&self, path: &Path, update: bool) -> Result<Place> {
        let size = self.place().length();
        if !update {
            let site = Site::Image {
                size,
                preallocate: false,
                overwrite: false,
            };
            let (place, claim) = site.claim(path)?;
            claim.give_to_owner_of(self.place(), &place);
            return Ok(place);
        }
        let place = Place::open(path)?;
        let earlier = copies::find(&place, &[])?;
        let saved = earlier.candidates.first().map(|c| c.header.uuid);
        match saved == Some(self.header().uuid) && place.length() == size {
            true => Ok(place),
            false => Err(Error::OtherBackup(path.to_owned())),
        }
    }

    /// Writes the header into a backup.
    pub fn end_backup(&self, place: &Place) -> Result<()> {
        copies::write_all(place, self.header_bytes())
    }
}
