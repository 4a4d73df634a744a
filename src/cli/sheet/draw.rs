//! The page that SVG and PDF both draw: A4, in millimetres from its upper left corner.
use super::{ADVICE, Sheet};
use crate::volume::recovery_password::GROUPS;
use zeroize::Zeroizing;

/// Width and height of the page.
pub const PAGE: (f32, f32) = (210.0, 297.0);
const LEFT: f32 = 20.0;
const RIGHT: f32 = 190.0;
const VALUES: f32 = 52.0;
/// Characters of a value in one line.
const LINE: usize = 62;

/// Typefaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Face {
    Plain,
    Bold,
    Mono,
}

/// Something on the page.
pub enum Mark {
    /// Text on a baseline, `size` in millimetres.
    Text {
        at: (f32, f32),
        size: f32,
        face: Face,
        text: Zeroizing<String>,
    },
    /// A filled rectangle: corner, width and height.
    Box((f32, f32), (f32, f32)),
}

/// The page.
pub fn page(sheet: &Sheet<'_>) -> Vec<Mark> {
    let mut page = Page::default();
    page.text((LEFT, 30.0), 8.5, Face::Bold, "Recovery password");
    let what =
        "of a volume encrypted by cryptfs. Keep this sheet away from the computer and its disks.";
    page.text((LEFT, 38.0), 3.8, Face::Plain, what);
    page.rule(43.0);
    let mut y = 53.0;
    for (name, value) in sheet.fields() {
        page.text((LEFT, y), 3.8, Face::Plain, name);
        let characters: Vec<char> = value.chars().collect();
        for line in characters.chunks(LINE) {
            let line: String = line.iter().collect();
            page.text((VALUES, y), 3.6, Face::Mono, &line);
            y += 5.5;
        }
        y += 2.0;
    }
    y += 3.0;
    page.rule(y);
    y += 14.0;
    page.digits(sheet, y);
    y += 29.0;
    page.rule(y);
    y += 11.0;
    page.text((LEFT, y), 4.2, Face::Bold, "To open the volume");
    y += 8.0;
    let command: Vec<char> = sheet.command().chars().collect();
    for line in command.chunks(46) {
        let line: String = line.iter().collect();
        page.text((LEFT, y), 3.9, Face::Mono, &line);
        y += 6.0;
    }
    page.code(sheet, (RIGHT - 40.0, y - 21.0));
    y += 34.0;
    for advice in ADVICE {
        page.text((LEFT, y), 3.6, Face::Plain, advice);
        y += 6.5;
    }
    page.marks
}

#[derive(Default)]
struct Page {
    marks: Vec<Mark>,
}

impl Page {
    fn text(&mut self, at: (f32, f32), size: f32, face: Face, text: &str) {
        let text = Zeroizing::new(text.to_owned());
        self.marks.push(Mark::Text {
            at,
            size,
            face,
            text,
        });
    }

    fn rule(&mut self, y: f32) {
        self.marks.push(Mark::Box((LEFT, y), (RIGHT - LEFT, 0.3)));
    }

    /// Two rows of four groups, each with its number above it: a message names the group that is wrong.
    fn digits(&mut self, sheet: &Sheet<'_>, y: f32) {
        let digits = Zeroizing::new(sheet.password.reveal().to_string());
        for (i, group) in digits.split('-').enumerate() {
            let x = LEFT + 43.5 * (i % (GROUPS / 2)) as f32;
            let y = y + 18.0 * (i / (GROUPS / 2)) as f32;
            self.text((x, y - 8.2), 2.6, Face::Plain, &(i + 1).to_string());
            self.text((x, y), 8.6, Face::Mono, group);
        }
    }

    /// Flush with the right margin; the page around it is light, as readers need it.
    fn code(&mut self, sheet: &Sheet<'_>, (x, y): (f32, f32)) {
        let rows = sheet.code();
        let module = 40.0 / (rows.len() + 4).max(1) as f32;
        for (row, modules) in rows.iter().enumerate() {
            let y = y + (row + 4) as f32 * module;
            let mut column = 0;
            // Neighbours as one box: hairlines between boxes would confuse a reader.
            while column < modules.len() {
                let run = modules[column..].iter().take_while(|dark| **dark).count();
                if run > 0 {
                    let x = x + (column + 4) as f32 * module;
                    let size = (run as f32 * module, module + 0.02);
                    self.marks.push(Mark::Box((x, y), size));
                }
                column += run.max(1);
            }
        }
    }
}
