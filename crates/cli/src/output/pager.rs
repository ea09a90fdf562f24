//! The pager: the only program that this file starts, and nobody else does.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::Output;
use crate::error::Result;

/// Shows a long text: through `PAGER` (or `less`) on a terminal, else as it is.
///
/// # Errors
/// When standard output cannot be written.
pub fn page(out: &Output, pager: Option<&str>, text: &str) -> Result<()> {
    if !out.stdout_is_terminal() || text.is_empty() {
        return out.print(text);
    }
    let pager = pager.unwrap_or("less -FR");
    let mut words = pager.split_whitespace();
    let (Some(program), arguments) = (words.next(), words.collect::<Vec<_>>()) else {
        return out.print(text);
    };
    let mut command = command(program);
    command.args(&arguments).stdin(Stdio::piped());
    // What is printed is UTF-8 whatever the locale says; less would show it byte by byte.
    command.env("LESSCHARSET", "utf-8");
    // Without `-R` less would show the letters of the colours.
    if program.ends_with("less") && !arguments.iter().any(|argument| argument.contains('R')) {
        command.arg("-R");
    }
    let Ok(mut child) = command.spawn() else { return out.print(text) };
    if let Some(mut stdin) = child.stdin.take() {
        // A pager that was left before the end is no failure.
        let _ = stdin.write_all(text.as_bytes());
    }
    let _ = child.wait();
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this file owns the pager")]
fn command(program: &str) -> Command {
    Command::new(program)
}
