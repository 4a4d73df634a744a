//! The sheet as PDF 1.4 (ISO 32000): one page, the standard fonts that every reader has, nothing compressed.
use super::draw::{Face, Mark, PAGE};
use std::fmt::Write;
use zeroize::Zeroizing;

/// Points in a millimetre.
const POINTS: f32 = 72.0 / 25.4;
const FONTS: [(Face, &str); 3] = [
    (Face::Plain, "Helvetica"),
    (Face::Bold, "Helvetica-Bold"),
    (Face::Mono, "Courier-Bold"),
];

/// Writes the page. All of it is ASCII.
pub fn write(page: &[Mark], out: &mut String) {
    let mut content = Zeroizing::new(String::with_capacity(super::LARGEST / 2));
    for mark in page {
        draw(mark, &mut content);
    }
    let (width, height) = (PAGE.0 * POINTS, PAGE.1 * POINTS);
    let mut places = Vec::new();
    let mut object = |out: &mut String, body: &str| {
        places.push(out.len());
        // Writing to a String does not fail.
        let _ = writeln!(out, "{} 0 obj\n{body}\nendobj", places.len());
    };
    out.push_str("%PDF-1.4\n");
    object(out, "<< /Type /Catalog /Pages 2 0 R >>");
    object(out, "<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    object(
        out,
        &format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.2} {height:.2}] /Contents 4 0 R \
             /Resources << /Font << /F0 5 0 R /F1 6 0 R /F2 7 0 R >> >> >>"
        ),
    );
    places_of_stream(out, &content, &mut object);
    for (_, name) in FONTS {
        object(
            out,
            &format!(
                "<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>"
            ),
        );
    }
    let start = out.len();
    let _ = writeln!(out, "xref\n0 {}\n0000000000 65535 f ", places.len() + 1);
    for place in &places {
        let _ = writeln!(out, "{place:010} 00000 n ");
    }
    let size = places.len() + 1;
    let _ = write!(
        out,
        "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    );
}

fn places_of_stream(out: &mut String, content: &str, object: &mut impl FnMut(&mut String, &str)) {
    let mut body = Zeroizing::new(String::with_capacity(content.len() + 64));
    let _ = write!(
        body,
        "<< /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    );
    object(out, &body);
}

fn draw(mark: &Mark, out: &mut String) {
    let flip = |y: f32| (PAGE.1 - y) * POINTS;
    let _ = match mark {
        Mark::Box((x, y), (width, height)) => writeln!(
            out,
            "{:.3} {:.3} {:.3} {:.3} re f",
            x * POINTS,
            flip(y + height),
            width * POINTS,
            height * POINTS
        ),
        Mark::Text {
            at: (x, y),
            size,
            face,
            text,
        } => {
            let font = FONTS
                .iter()
                .position(|(known, _)| known == face)
                .unwrap_or(0);
            let (x, y, size) = (x * POINTS, flip(*y), size * POINTS);
            let _ = write!(out, "BT /F{font} {size:.2} Tf {x:.2} {y:.2} Td (");
            literal(text, out);
            writeln!(out, ") Tj ET")
        }
    };
}

/// A string of Latin-1, which is what the standard fonts have; anything else shows as "?".
fn literal(text: &str, out: &mut String) {
    for c in text.chars() {
        let _ = match (c, u32::from(c)) {
            ('(' | ')' | '\\', _) => write!(out, "\\{c}"),
            (' '..='~', _) => write!(out, "{c}"),
            (_, code @ 0xa0..=0xff) => write!(out, "\\{code:03o}"),
            _ => write!(out, "?"),
        };
    }
}
