//! `ringfence completions SHELL`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::DONE;
use crate::app::App;
use crate::args::Cli;
use crate::error::Result;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "For bash: ringfence completions bash > ~/.local/share/bash-completion/completions/ringfence"
)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Prints them.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(app: &App, args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ringfence", &mut script);
    app.out.write(&script)?;
    Ok(DONE)
}
