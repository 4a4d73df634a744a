//! The sheet as plain text, the QR code in half blocks.
use super::{ADVICE, Sheet};
use std::fmt::Write;

/// Writes the sheet.
pub fn write(sheet: &Sheet<'_>, out: &mut String) {
    out.push_str("RECOVERY PASSWORD of a volume encrypted by cryptfs\n");
    out.push_str("Keep this sheet away from the computer and its disks.\n\n");
    for (name, value) in sheet.fields() {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{name:<14}{value}");
    }
    let digits = zeroize::Zeroizing::new(sheet.password.reveal().to_string());
    for (i, group) in digits.split('-').enumerate() {
        let before = match i {
            0 => "\n    ",
            4 => "\n    ",
            _ => "   ",
        };
        let _ = write!(out, "{before}{group}");
    }
    let _ = writeln!(out, "\n\nTo open the volume:\n\n    {}\n", sheet.command());
    for advice in ADVICE {
        let _ = writeln!(out, "- {advice}");
    }
    out.push('\n');
    code(&sheet.code(), out);
}

/// Two rows in each line, dark on light paper.
fn code(rows: &[Vec<bool>], out: &mut String) {
    for pair in rows.chunks(2) {
        out.push_str("    ");
        for (column, above) in pair[0].iter().enumerate() {
            let below = pair.get(1).is_some_and(|row| row[column]);
            out.push(match (above, below) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push('\n');
    }
}
