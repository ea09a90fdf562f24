//! `ringfence exec [MACHINE] -- COMMAND…`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use ringfence_model::name::MachineName;

use super::run::{self, Plan};
use crate::app::App;
use crate::error::Result;

/// Arguments of `exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without MACHINE the command runs like `ringfence run -- COMMAND`: in the machine of the current folder.\nWith MACHINE it runs there, and sees no folder."
)]
pub struct ExecArgs {
    /// The machine
    pub machine: Option<MachineName>,
    /// Register an unknown folder without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Write to FILE how it ended: {"kind": "inner"|"ringfence", "code": …, "exit": …}
    #[arg(long, value_name = "FILE")]
    pub exit_file: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs it.
///
/// # Errors
/// See [`run::carry_out`].
pub async fn run(app: &App, args: ExecArgs) -> Result<u8> {
    let mut plan = Plan::command(args.command);
    plan.exit_file = args.exit_file;
    plan.yes = args.yes;
    plan.in_machine(args.machine);
    run::carry_out(app, plan).await
}
