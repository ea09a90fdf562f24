//! `ringfence machine …`

use clap::{Args, Subcommand};
use hyper::Method;
use ringfence_model::api::MachineRequest;
use ringfence_model::name::{MachineName, ProfileName};
use ringfence_model::size::Size;
use ringfence_model::status::MachineStatus;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::status;

/// What to do with machines.
#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// List the machines
    List(JsonArgs),
    /// Make a machine
    Create(CreateArgs),
    /// Start a machine, or wake it
    Start(NameArgs),
    /// Power a machine off
    Stop(NameArgs),
    /// Power a machine off and start it again
    Restart(NameArgs),
    /// Save a machine's memory to disk and end its process
    Suspend(NameArgs),
    /// Delete a machine and its disk; folders and snapshots stay
    Delete {
        /// The machine
        machine: MachineName,
        /// Do it without asking
        #[arg(short, long)]
        yes: bool,
    },
    /// Print what a machine wrote to its console
    Logs(NameArgs),
}

/// One machine.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The machine
    pub machine: MachineName,
}

/// A new machine.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    pub machine: MachineName,
    /// Virtual processors
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub cpus: Option<u32>,
    /// Memory, as in 4GiB
    #[arg(long)]
    pub memory: Option<Size>,
    /// Disk, as in 40GiB; it grows up to that
    #[arg(long)]
    pub disk: Option<Size>,
    /// The profile whose agent is installed in it
    #[arg(long)]
    pub profile: Option<ProfileName>,
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: MachineCommand) -> Result<u8> {
    let out = &app.out;
    match command {
        MachineCommand::List(json) => {
            let machines: Vec<MachineStatus> = all(app).await?;
            if json.json {
                out.json_list("machines", &machines)?;
            } else {
                match status::machines(&machines, &out.style) {
                    Some(table) => out.print(&table)?,
                    None => out.note("There is no machine yet; the first run makes one."),
                }
            }
        }
        MachineCommand::Create(args) => {
            let request = MachineRequest {
                name: args.machine,
                cpus: args.cpus,
                memory: args.memory,
                disk: args.disk,
                profile: args.profile,
            };
            let machine: MachineStatus = app.stream(Route::new("/v1/machines"), &request).await?;
            out.note(&format!("Machine {} is {}.", machine.name, machine.state.word()));
        }
        MachineCommand::Start(args) => act(app, &args.machine, "start").await?,
        MachineCommand::Stop(args) => act(app, &args.machine, "stop").await?,
        MachineCommand::Restart(args) => act(app, &args.machine, "restart").await?,
        MachineCommand::Suspend(args) => act(app, &args.machine, "suspend").await?,
        MachineCommand::Delete { machine, yes } => {
            let question = format!(
                "Delete machine {machine} and everything on its disk? Folders and their snapshots stay."
            );
            let command = format!("ringfence machine delete {machine}");
            if !app.confirm(yes, &question, &command).await? {
                out.note("Nothing was deleted.");
                return Ok(DONE);
            }
            app.stream_by::<serde::de::IgnoredAny>(Method::DELETE, route(&machine), &()).await?;
            out.note(&format!("Machine {machine} is deleted."));
        }
        MachineCommand::Logs(args) => {
            let route = route(&args.machine).segment("logs");
            super::session::print_log(app, &route).await?;
        }
    }
    Ok(DONE)
}

/// Every machine.
///
/// # Errors
/// The daemon's.
pub async fn all(app: &App) -> Result<Vec<MachineStatus>> {
    app.get(Route::new("/v1/machines")).await
}

fn route(machine: &MachineName) -> Route {
    Route::new("/v1/machines").segment(machine.as_str())
}

async fn act(app: &App, machine: &MachineName, act: &str) -> Result<()> {
    let found: MachineStatus = app.stream(route(machine).segment(act), &()).await?;
    app.out.note(&format!("Machine {machine} is {}.", found.state.word()));
    Ok(())
}
