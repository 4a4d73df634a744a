//! The sheet as SVG 1.1.
use super::draw::{Face, Mark, PAGE};
use std::fmt::Write;

/// Writes the page.
pub fn write(page: &[Mark], out: &mut String) {
    let (width, height) = PAGE;
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" viewBox=\"0 0 {width} {height}\">"
    );
    let _ = writeln!(
        out,
        "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
    );
    for mark in page {
        let _ = match mark {
            Mark::Box((x, y), (width, height)) => writeln!(
                out,
                "<rect x=\"{x:.3}\" y=\"{y:.3}\" width=\"{width:.3}\" height=\"{height:.3}\"/>"
            ),
            Mark::Text {
                at: (x, y),
                size,
                face,
                text,
            } => {
                let font = match face {
                    Face::Plain => "font-family=\"Helvetica, Arial, sans-serif\"",
                    Face::Bold => {
                        "font-family=\"Helvetica, Arial, sans-serif\" font-weight=\"bold\""
                    }
                    Face::Mono => "font-family=\"'Courier New', 'DejaVu Sans Mono', monospace\"",
                };
                let _ = write!(
                    out,
                    "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{size:.2}\" {font} xml:space=\"preserve\">"
                );
                escape(text, out);
                writeln!(out, "</text>")
            }
        };
    }
    out.push_str("</svg>\n");
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // A path may hold what XML does not.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}
