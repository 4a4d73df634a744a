//! The sheet as one HTML file: the same drawing, set to print on A4.
use super::draw::Mark;
use super::svg;

/// Writes the page.
pub fn write(page: &[Mark], out: &mut String) {
    out.push_str(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Recovery password</title>\n\
         <style>@page { size: A4; margin: 0 } body { margin: 0 } svg { display: block; max-width: 100%; height: auto }</style>\n\
         </head>\n<body>\n",
    );
    svg::write(page, out);
    out.push_str("</body>\n</html>\n");
}
