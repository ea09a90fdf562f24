//! One file a command: its arguments, its calls, what it prints.

pub mod backup;
pub mod completions;
pub mod config;
pub mod daemon;
pub mod diff;
pub mod doctor;
pub mod exec;
pub mod exit_file;
pub mod first_contact;
pub mod folder;
pub mod frozen;
pub mod hint;
pub mod history;
pub mod image;
pub mod import;
pub mod log;
pub mod machine;
pub mod man;
pub mod profile;
pub mod recipe;
pub mod restore;
pub mod rules;
pub mod run;
pub mod session;
pub mod shell;
pub mod show;
pub mod status;
pub mod undelete;
pub mod undo;

use crate::app::App;
use crate::args::Command;
use crate::error::Result;

/// Exit code of a command that did what it was asked.
pub const DONE: u8 = 0;
/// Exit code of a command that found something wrong.
pub const FAILED: u8 = 1;

/// Does what the command line says.
///
/// # Errors
/// Whatever the command failed with.
pub async fn run(app: &App, command: Command) -> Result<u8> {
    match command {
        Command::Run(args) => run::run(app, args).await,
        Command::Exec(args) => exec::run(app, args).await,
        Command::Shell(args) => shell::run(app, args).await,
        Command::Status(args) => status::run(app, &args).await,
        Command::Doctor(args) => doctor::run(app, args).await,
        Command::Folder(command) => folder::run(app, command).await,
        Command::Profile(command) => profile::run(app, command).await,
        Command::Machine(command) => machine::run(app, command).await,
        Command::Session(command) => session::run(app, command).await,
        Command::History(args) => history::run(app, &args).await,
        Command::Diff(args) => diff::run(app, &args).await,
        Command::Show(args) => show::run(app, &args).await,
        Command::Restore(args) => restore::run(app, &args).await,
        Command::Undelete(args) => undelete::run(app, &args).await,
        Command::Undo(args) => undo::run(app, &args).await,
        Command::Log(args) => log::run(app, &args).await,
        Command::Backup(command) => backup::run(app, command).await,
        Command::Image(command) => image::run(app, command).await,
        Command::Recipe(command) => recipe::run(app, command).await,
        Command::Daemon(command) => daemon::run(app, command).await,
        Command::Config(command) => config::run(app, command).await,
        Command::Import(command) => import::run(app, command).await,
        Command::Completions(args) => completions::run(app, &args),
        Command::Man(args) => man::run(&args),
    }
}
