//! The sheet: a recovery password on paper, with what it opens and what to type. As text, SVG, HTML or PDF.
mod draw;
mod html;
mod pdf;
mod svg;
mod text;

use super::{Code, Error, Result, kit, message};
use crate::printable::printable;
use crate::volume::keys::Uuid;
use crate::volume::same_disk::{SameDisk, same_disk};
use crate::volume::{Header, RecoveryPassword, date, uuid};
use clap::Args;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of the largest sheet; the buffer never moves, so that no copy of the digits is left behind in memory.
const LARGEST: usize = 1 << 20;

/// Options of the commands that show a recovery password.
#[derive(Args, Clone, Debug)]
pub struct SheetArgs {
    /// Also write a sheet to print: FILE ends in .txt, .svg, .html or .pdf
    #[arg(long = "sheet", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Write the sheet even onto the disk that it protects
    #[arg(long = "force", requires = "file")]
    pub force: bool,
}

/// What stands on a sheet.
pub struct Sheet<'a> {
    /// Where the volume is.
    pub volume: &'a Path,
    /// Its header.
    pub header: &'a Header,
    /// The password ID.
    pub id: &'a Uuid,
    /// The password.
    pub password: &'a RecoveryPassword,
}

#[derive(Clone, Copy)]
enum Format {
    Text,
    Svg,
    Html,
    Pdf,
}

impl SheetArgs {
    /// Says what would be wrong with writing the sheet, before anything is done that could not be taken back.
    pub fn check(&self, volume: &Path) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        format(file)?;
        if file.exists() {
            let message = format!("{} exists", printable(file));
            let hint = "name a file that does not exist";
            return Err(Error::told(Code::Place, message, hint));
        }
        if self.force {
            return Ok(());
        }
        let (sheet, volume) = (nearest(file)?, nearest(volume)?);
        match same_disk(&sheet, &volume) {
            SameDisk::Different => Ok(()),
            SameDisk::Same => {
                let message = "the sheet would lie on the disk that it protects";
                let hint = "name a file on another disk, or say --force and move it away at once";
                Err(Error::told(Code::Place, message, hint))
            }
            SameDisk::CannotTell => {
                message::warning("cannot tell whether the sheet lies on the disk that it protects");
                Ok(())
            }
        }
    }

    /// Writes the sheet, if one is wanted: mode 0600, durable.
    pub fn write(&self, sheet: &Sheet<'_>) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let format = format(file)?;
        kit::write_new(file, sheet.render(format).as_bytes(), sheet.owner())?;
        if matches!(format, Format::Pdf) && !sheet.is_latin() {
            message::warning("PDF's own fonts have Latin letters only: a ? stands for others");
            message::hint("a sheet that ends in .html or .svg shows them all");
        }
        message::note(format_args!(
            "sheet written to {}: print it, then destroy the file",
            printable(file)
        ));
        Ok(())
    }
}

impl Sheet<'_> {
    /// Whose the volume is.
    pub fn owner(&self) -> Option<u32> {
        std::fs::metadata(self.volume).ok().map(|there| there.uid())
    }

    /// As plain text.
    pub fn text(&self) -> Zeroizing<String> {
        self.render(Format::Text)
    }

    fn render(&self, format: Format) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(LARGEST));
        match format {
            Format::Text => text::write(self, &mut out),
            Format::Svg => svg::write(&draw::page(self), &mut out),
            Format::Html => html::write(&draw::page(self), &mut out),
            Format::Pdf => pdf::write(&draw::page(self), &mut out),
        }
        out
    }

    /// Names and values, for every form.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let made = self.header.protectors().find(|p| p.id == *self.id);
        let mut fields = vec![
            ("Volume", printable(&self.volume).to_string()),
            ("Label", self.header.label.clone()),
            ("Volume ID", uuid::text(&self.header.uuid)),
            ("Computer", self.header.computer.clone()),
            ("Password ID", uuid::text(self.id)),
            (
                "Made",
                made.map_or_else(String::new, |p| date::rfc3339(p.created)),
            ),
            ("Printed", date::rfc3339(date::now())),
        ];
        fields.retain(|(_, value)| !value.is_empty());
        fields
    }

    fn is_latin(&self) -> bool {
        let fields = self.fields();
        let mut letters = fields.iter().flat_map(|(_, value)| value.chars());
        letters.all(|c| u32::from(c) <= 0xff)
    }

    fn command(&self) -> String {
        format!("cryptfs recover {}", message::typed(self.volume))
    }

    /// The digits as a QR code: rows of dark and light.
    fn code(&self) -> Vec<Vec<bool>> {
        let digits = Zeroizing::new(self.password.reveal().to_string());
        let Ok(code) =
            qrcode::QrCode::with_error_correction_level(digits.as_bytes(), qrcode::EcLevel::M)
        else {
            return Vec::new(); // 55 characters fit
        };
        let dark = |color: &qrcode::Color| *color == qrcode::Color::Dark;
        let row = |row: &[qrcode::Color]| row.iter().map(dark).collect();
        code.to_colors().chunks(code.width()).map(row).collect()
    }
}

const ADVICE: [&str; 5] = [
    "Type the eight groups as they stand; each is checked when you press Enter.",
    "Without the computer: cryptfs-recover --salvage DESTINATION VOLUME, on any Linux system.",
    "Whoever has this sheet and the disk can read everything. Keep them apart.",
    "Prove once a year that it works: cryptfs recover --verify VOLUME.",
    "After use replace it: cryptfs key rotate VOLUME. Then destroy this sheet.",
];

fn format(file: &Path) -> Result<Format> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("txt") => Ok(Format::Text),
        Some("svg") => Ok(Format::Svg),
        Some("html") => Ok(Format::Html),
        Some("pdf") => Ok(Format::Pdf),
        _ => {
            let message = format!("cannot tell the form of sheet {}", printable(file));
            let hint = "let its name end in .txt, .svg, .html or .pdf";
            Err(Error::told(Code::Usage, message, hint))
        }
    }
}

/// What is there of a path: a volume or a sheet may be about to be made.
fn nearest(path: &Path) -> Result<File> {
    let path = std::path::absolute(path).map_err(Error::io(path))?;
    let there = path.ancestors().find(|above| above.exists());
    let there = there.unwrap_or(Path::new("/"));
    // A file that is still to be made lies where its directory does.
    File::open(there).map_err(Error::io(there))
}
