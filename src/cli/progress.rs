//! How far a long task is, on a terminal; nothing where nobody looks.
use crate::fs::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar of bytes on standard error.
pub struct Bar(ProgressBar);

impl Bar {
    /// Shown if standard error is a terminal.
    pub fn bytes(title: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target());
        let style = "{prefix} {bar:30} {bytes} of {total_bytes} ({bytes_per_sec}, {eta} left)";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix(title);
        Self(bar)
    }

    /// A count of attempts.
    pub fn attempts(title: &'static str, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), target());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos} of {len}") {
            bar.set_style(style);
        }
        bar.set_prefix(title);
        Self(bar)
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        if self.0.is_hidden() {
            print(text);
        } else {
            self.0.suspend(|| print(text));
        }
    }

    /// Removes the bar.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn total(&self, units: u64) {
        self.0.inc_length(units);
    }

    fn done(&self, units: u64) {
        self.0.inc(units);
    }
}

/// A bar of bytes for work that counts larger units, of so many bytes each.
pub struct Scaled<'a>(pub &'a Bar, pub u64);

impl Progress for Scaled<'_> {
    fn total(&self, units: u64) {
        self.0.total(units * self.1);
    }

    fn done(&self, units: u64) {
        self.0.done(units * self.1);
    }
}

/// A report that nobody reads any more does not stop the work that it reports on.
fn print(text: &str) {
    let _ = outln!("{text}");
}

fn target() -> ProgressDrawTarget {
    match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    }
}
