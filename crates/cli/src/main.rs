//! The binary `ringfence`. Owns nothing but the process: it reads the environment
//! once, hands over, and turns the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(ringfence_cli::main_with(std::env::args_os().collect()))
}
