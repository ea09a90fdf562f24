//! `ringfenced`: the daemon, and the confined processes it re-executes itself as.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs AI coding agents in virtual machines of their own. Started by `ringfence`; not
/// meant to be typed.
#[derive(Parser)]
#[command(name = "ringfenced", version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// The daemon.
    Serve,
    /// Serves one folder to one machine; reads its specification from standard input.
    #[command(hide = true)]
    Share,
    /// Keeps what a share's guest destroys; reads its specification from standard input.
    #[command(hide = true)]
    Keeper,
    /// One machine's network; reads its specification from standard input.
    #[command(hide = true)]
    Gateway,
    /// One session's ssh, terminal and record; reads its specification from standard input.
    #[command(hide = true)]
    Session,
    /// One vault's snapshots as a file system; reads its specification from standard input.
    #[command(hide = true)]
    Mount,
}

// Not asynchronous: share, keeper and gateway confine themselves while they have one thread.
fn main() -> ExitCode {
    match Arguments::parse().role {
        Role::Serve => ringfenced::serve(),
        Role::Share => ringfenced::share(),
        Role::Keeper => ringfenced::keeper(),
        Role::Gateway => ringfenced::gateway(),
        Role::Session => ringfenced::session_process(),
        Role::Mount => ringfenced::mount_process(),
    }
}
