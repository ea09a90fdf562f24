//! `ringfence doctor`

use ringfence_model::api::{Finding, Verdict};

use super::{DONE, FAILED};
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::lists;

/// Checks; exit code 1 where something does not work.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: JsonArgs) -> Result<u8> {
    let findings: Vec<Finding> = app.get(Route::new("/v1/doctor")).await?;
    if args.json {
        app.out.json_list("findings", &findings)?;
    } else {
        app.out.print(&lists::findings(&findings, &app.out.style))?;
    }
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if bad { FAILED } else { DONE })
}
