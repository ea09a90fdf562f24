//! What a person reads when something fails, and the exit code that goes with it.

use std::ffi::OsString;

use ringfence_model::bytes::visible;
use ringfence_model::error::{ApiError, ErrorKind};

use crate::output::style::{Paint, Style};

/// A result of whatever a person asked for.
pub type Result<T> = std::result::Result<T, ApiError>;

/// The whole message: what and where, why, and what to type next.
#[must_use]
pub fn render(error: &ApiError, style: &Style) -> String {
    let mut text = format!("{} {}\n", style.paint(Paint::Bad, "error:"), lines(&error.message));
    for cause in &error.causes {
        text.push_str(&format!("  because: {}\n", lines(cause)));
    }
    for hint in &error.hints {
        text.push_str(&format!("  {} {}\n", style.paint(Paint::Strong, "next:"), lines(hint)));
    }
    text
}

/// Line ends stay (a configuration error points at its column), all else is made visible.
fn lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// The exit code for arguments that clap did not take (or for `--help`, which it did).
#[must_use]
pub fn usage_code(arguments: &[OsString], is_error: bool) -> u8 {
    if !is_error {
        return 0;
    }
    let around = arguments
        .iter()
        .skip(1)
        .find(|argument| !argument.to_string_lossy().starts_with('-'))
        .is_some_and(|command| ["run", "exec", "shell"].iter().any(|name| command == name));
    if around {
        ErrorKind::Usage.exit_code_around_a_command()
    } else {
        ErrorKind::Usage.exit_code()
    }
}

/// The person stopped it.
#[must_use]
pub fn interrupted() -> ApiError {
    ApiError::new(ErrorKind::Interrupted, "interrupted")
}

/// A wrong command line that clap cannot see.
#[must_use]
pub fn usage(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_why_and_next() {
        let error = ApiError {
            kind: ErrorKind::Vault,
            message: "the opening snapshot of /home/ann/\u{1b}[2Jshop failed".into(),
            causes: vec!["no space left on device".into()],
            hints: vec!["ringfence backup status".into()],
        };
        insta::assert_snapshot!(render(&error, &Style::plain()), @r"
        error: the opening snapshot of /home/ann/\u{1b}[2Jshop failed
          because: no space left on device
          next: ringfence backup status
        ");
    }

    #[test]
    fn usage_has_its_own_code_around_a_command() {
        let code = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            usage_code(&arguments, true)
        };
        assert_eq!(code("ringfence run --bogus"), 252);
        assert_eq!(code("ringfence -q exec"), 252);
        assert_eq!(code("ringfence shell a b"), 252);
        assert_eq!(code("ringfence status run --bogus"), 2);
        assert_eq!(code("ringfence"), 2);
        assert_eq!(usage_code(&["ringfence".into(), "--help".into()], false), 0);
    }
}
