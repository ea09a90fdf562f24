//! `cargo xtask`: chores that need to know the repository.
//!
//! Owns the checks that no compiler and no linter makes (`tidy`), the reference that is
//! made from the sources (`schema`), and the proof that tests notice when a guard is gone
//! (`guards`, which alone starts processes). Must not be a dependency of anything that ships.

mod guards;
mod schema;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy | schema | guards [--list] [--e2e] [WORD…]";

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command that reports to its terminal"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["schema"] {
        return match schema::write(&repository_root()) {
            Ok(files) => {
                println!("schema: {files} files written to {}", schema::DIRECTORY);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some((first, rest)) = arguments.split_first()
        && first == "guards"
    {
        return guards::command(&repository_root(), rest).unwrap_or_else(|error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        });
    }
    if arguments != ["tidy"] {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    match tidy::check(&repository_root()) {
        Ok(report) => {
            for note in &report.notes {
                println!("note: {note}");
            }
            for violation in &report.violations {
                eprintln!("error: {violation}");
            }
            println!("tidy: {} files read, {} violations", report.files, report.violations.len());
            if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The directory that holds the workspace's `Cargo.toml`.
fn repository_root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
