//! What is being waited for, on standard error: one updating line on a terminal,
//! else nothing, or with `-v` a line for each step.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ringfence_model::bytes::visible;

use super::style::{Paint, Style};
use crate::client::Event;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Not at all.
    Silent,
    /// One line that changes.
    Line,
    /// One line for each step.
    Log,
}

/// Shows progress until it is dropped; then its line is gone.
#[derive(Debug)]
pub struct Waiting {
    how: How,
    quiet: bool,
    style: Style,
    bar: Option<ProgressBar>,
    last: String,
}

impl Waiting {
    pub(super) fn new(how: How, quiet: bool, style: Style) -> Self {
        Self { how, quiet, style, bar: None, last: String::new() }
    }

    /// Shows one step or note.
    pub fn on(&mut self, event: Event) {
        match event {
            Event::Progress(progress) => self.step(&visible(&progress.what), progress.fraction),
            Event::Note(note) if self.quiet => drop(note),
            Event::Note(note) => self.line(&visible(&note)),
            Event::Warning(warning) => {
                let text = format!("warning: {}", visible(&warning));
                self.line(&self.style.paint(Paint::Bad, &text));
            }
        }
    }

    /// Shows what is waited for now.
    pub fn step(&mut self, what: &str, fraction: Option<f32>) {
        let text = step_text(what, fraction);
        match self.how {
            How::Silent => {}
            How::Log => {
                if self.last != what {
                    what.clone_into(&mut self.last);
                    let _ = writeln!(std::io::stderr().lock(), "{text}");
                }
            }
            How::Line => {
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = ProgressBar::new_spinner();
                    // The template is constant; without it the bar has its own.
                    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                        bar.set_style(style);
                    }
                    bar.enable_steady_tick(Duration::from_millis(200));
                    bar
                });
                if self.last != what {
                    what.clone_into(&mut self.last);
                    bar.reset_elapsed();
                }
                bar.set_message(text);
            }
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(text),
            // A dumb terminal has no bar to print above.
            _ => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `opening snapshot 42 %`
fn step_text(what: &str, fraction: Option<f32>) -> String {
    match fraction {
        Some(fraction) if fraction.is_finite() => {
            format!("{what} {:.0} %", fraction.clamp(0.0, 1.0) * 100.0)
        }
        _ => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_say_how_much_where_that_is_known() {
        assert_eq!(step_text("image", Some(0.418)), "image 42 %");
        assert_eq!(step_text("image", Some(7.0)), "image 100 %");
        assert_eq!(step_text("image", Some(f32::NAN)), "image");
        assert_eq!(
            step_text("machine shop: waiting for SSH", None),
            "machine shop: waiting for SSH"
        );
    }
}
