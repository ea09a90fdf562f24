//! Colours and widths as values, so that everything that renders is a pure function.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use ringfence_model::bytes::visible;

/// How to render.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Style {
    /// With colours.
    pub colour: bool,
    /// Width of the terminal in characters; `None`: as wide as it takes.
    pub columns: Option<u16>,
    /// Shown as `~`.
    pub home: Option<PathBuf>,
    /// The person's time zone; `None`: UTC.
    pub zone: Option<TimeZone>,
}

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Good,
    /// Weaker than it could be.
    Weak,
    /// Not protected, not working, lost.
    Bad,
    /// Worth reading first.
    Strong,
    /// Worth reading last.
    Faint,
    /// A place in a difference.
    Place,
}

impl Style {
    /// No colour, any width.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// Text in a colour, where there are colours.
    #[must_use]
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Weak => "33",
            Paint::Bad => "1;31",
            Paint::Strong => "1",
            Paint::Faint => "2",
            Paint::Place => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A path of the host's, safe for a terminal, with `~` for the home directory.
    #[must_use]
    pub fn path(&self, path: &Path) -> String {
        if let Some(rest) = self.home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
            if rest.as_os_str().is_empty() {
                return "~".into();
            }
            return format!("~/{}", visible(&rest.to_string_lossy()));
        }
        visible(&path.to_string_lossy())
    }

    /// A path as an argument that a shell takes as it is.
    #[must_use]
    pub fn argument(&self, path: &Path) -> String {
        let text = self.path(path);
        let plain = text.chars().all(|c| c.is_alphanumeric() || "~/._-+@%:,=".contains(c));
        if plain { text } else { format!("'{}'", path.to_string_lossy().replace('\'', r"'\''")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short_safe_and_quoted() {
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        assert_eq!(style.path(Path::new("/home/ann/shop")), "~/shop");
        assert_eq!(style.path(Path::new("/home/ann")), "~");
        assert_eq!(style.path(Path::new("/home/anna")), "/home/anna");
        assert_eq!(style.path(Path::new("/x/\u{1b}[0m")), "/x/\\u{1b}[0m");
        assert_eq!(style.argument(Path::new("/home/ann/my shop")), "'/home/ann/my shop'");
        assert_eq!(style.argument(Path::new("/home/ann/shop")), "~/shop");
    }
}
