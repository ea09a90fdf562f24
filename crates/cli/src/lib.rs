//! Everything of Ringfence's that touches the person: arguments, questions, tables, messages.
//!
//! Must not: start machines, read or write the daemon's state, decide about rules.
//! All it knows it asks from the daemon (`client`), in the words of `ringfence_model`.

pub mod agsekit;
pub mod app;
pub mod args;
pub mod attach;
pub mod client;
pub mod commands;
pub mod config_files;
pub mod editor;
pub mod env;
pub mod error;
pub mod interrupt;
pub mod output;
pub mod paths;
pub mod time;

use std::ffi::OsString;

use clap::Parser as _;
use ringfence_model::error::{ApiError, ErrorKind};
use tokio::runtime::{Builder, Runtime};

use crate::app::App;
use crate::args::Cli;
use crate::env::Surroundings;
use crate::interrupt::Interrupts;
use crate::output::Output;

/// Runs the command line and returns the exit code of `product.md`'s contract.
#[must_use]
pub fn main_with(arguments: Vec<OsString>) -> u8 {
    if client::start::is_request(&arguments) {
        return client::start::become_daemon();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell anybody when even that cannot be printed.
            let _ = error.print();
            return error::usage_code(&arguments, error.use_stderr());
        }
    };
    let around = cli.command.is_around_a_command();
    let surroundings = match Surroundings::read() {
        Ok(surroundings) => surroundings,
        Err(error) => return report(&Output::plain(), &error, around),
    };
    let output = Output::new(&surroundings, cli.quiet, cli.verbose);
    let (runtime, interrupts) = match begin() {
        Ok(begun) => begun,
        Err(error) => {
            let error =
                ApiError::from_source(ErrorKind::Failed, "the program cannot begin", &error);
            return report(&output, &error, around);
        }
    };
    let app = App::new(surroundings, output, interrupts);
    let code = match runtime.block_on(commands::run(&app, cli.command)) {
        Ok(code) => code,
        Err(error) => report(&app.out, &error, around),
    };
    // A thread may still wait for a line of standard input: the process ends without it.
    runtime.shutdown_background();
    code
}

/// The threads, and the listener for Ctrl-C, which needs them.
fn begin() -> std::io::Result<(Runtime, Interrupts)> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let interrupts = {
        let _context = runtime.enter();
        Interrupts::listen()?
    };
    Ok((runtime, interrupts))
}

fn report(out: &Output, error: &ApiError, around: bool) -> u8 {
    out.error(error);
    if around { error.kind.exit_code_around_a_command() } else { error.kind.exit_code() }
}
