//! `ringfence shell [MACHINE]`

use std::path::PathBuf;

use clap::Args;
use ringfence_model::name::MachineName;

use super::run::{self, Plan};
use crate::app::App;
use crate::error::Result;

/// Arguments of `shell`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without MACHINE the shell opens in the machine of the current folder, and sees the folder.\nWith MACHINE it opens there, and sees no folder."
)]
pub struct ShellArgs {
    /// The machine
    pub machine: Option<MachineName>,
    /// Register an unknown folder without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Write to FILE how it ended: {"kind": "inner"|"ringfence", "code": …, "exit": …}
    #[arg(long, value_name = "FILE")]
    pub exit_file: Option<PathBuf>,
}

/// Opens it.
///
/// # Errors
/// See [`run::carry_out`].
pub async fn run(app: &App, args: ShellArgs) -> Result<u8> {
    let mut plan = Plan::command(Vec::new());
    plan.exit_file = args.exit_file;
    plan.yes = args.yes;
    plan.in_machine(args.machine);
    run::carry_out(app, plan).await
}
