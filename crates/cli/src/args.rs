//! The command line's shape. Each command's own arguments stand in its file.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands::{
    backup, completions, config, daemon, diff, exec, folder, history, image, import, log, machine,
    man, profile, recipe, restore, run, session, shell, show, status, undelete, undo,
};

/// Run AI coding agents in virtual machines of their own, with a copy of everything they can touch
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start in a project:\n  ringfence run claude     the agent works in its own machine and sees this folder only\n  ringfence diff           what did it change?\n  ringfence undo           put it all back; itself undoable"
)]
pub struct Cli {
    /// Say nothing but results and failures
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 901)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an agent or a command in a machine, with this folder protected
    Run(run::RunArgs),
    /// Run a command in a machine
    Exec(exec::ExecArgs),
    /// Open a shell in a machine
    Shell(shell::ShellArgs),
    /// Show machines, folders, sessions, and how well everything is protected
    Status(status::StatusArgs),
    /// Check that this computer has what Ringfence needs
    Doctor(JsonArgs),
    /// The folders under protection, and who may see them
    #[command(subcommand)]
    Folder(folder::FolderCommand),
    /// The profiles that agents run under
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// The virtual machines
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// The runs, from start to exit code
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// List the snapshots of a folder, or those in which a file changed
    History(history::HistoryArgs),
    /// Show what differs between two states of a folder
    Diff(diff::DiffArgs),
    /// Print a file, or list a directory, as it is in a snapshot
    Show(show::ShowArgs),
    /// Put a folder, or some of its paths, back to a snapshot
    Restore(restore::RestoreArgs),
    /// Bring back a file or directory that was deleted
    Undelete(undelete::UndeleteArgs),
    /// Put back what a session changed
    Undo(undo::UndoArgs),
    /// What was decided about runs, and why
    Log(log::LogArgs),
    /// The snapshots' vaults
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// The disks that machines start from
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// The agent programs that Ringfence knows how to install
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    /// The background program that does the work; it starts by itself
    #[command(subcommand)]
    Daemon(daemon::DaemonCommand),
    /// The configuration in force
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Take over the configuration of another tool
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(man::ManArgs),
}

impl Command {
    /// Whether an inner exit code is passed through, so that own failures are 250 to 255.
    #[must_use]
    pub const fn is_around_a_command(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Exec(_) | Self::Shell(_))
    }
}

/// For commands that print a table.
#[derive(Debug, Clone, Copy, Args)]
pub struct JsonArgs {
    /// Print JSON with a `schema` number, for scripts
    #[arg(long)]
    pub json: bool,
}

/// For commands about one folder.
#[derive(Debug, Clone, Args)]
pub struct FolderArgs {
    /// A directory in the folder [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// For commands that show a plan before they carry it out.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Only show what would be done
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Print the plan as JSON
    #[command(flatten)]
    pub json: JsonArgs,
}
