//! The person's editor: the only program that this file starts, and nobody else does.

use std::path::Path;
use std::process::Command;

use ringfence_model::error::{ApiError, ErrorKind};

use crate::error::Result;

/// Opens a file in the editor and waits until it is left.
///
/// # Errors
/// When there is no editor, it cannot be started or it fails.
pub fn open(editor: Option<&str>, file: &Path) -> Result<()> {
    let editor = editor.unwrap_or("vi");
    let mut words = editor.split_whitespace();
    let failed = |why: &str| {
        ApiError::new(ErrorKind::Failed, format!("the editor `{editor}` {why}"))
            .hint("EDITOR=nano ringfence config edit")
    };
    let program = words.next().ok_or_else(|| failed("is nothing"))?;
    match command(program).args(words).arg(file).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(&format!("ended with {status}"))),
        Err(error) => Err(failed(&format!("cannot be started: {error}"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "this file owns the editor")]
fn command(program: &str) -> Command {
    Command::new(program)
}
