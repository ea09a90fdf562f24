//! `ringfence backup check [DIR]`

use clap::Args;
use ringfence_model::api::{CheckRequest, CheckView};
use ringfence_model::error::ErrorKind;

use super::DirArgs;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;
use crate::output::lists;

/// Arguments of `backup check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The folder.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Also read and hash all data
    #[arg(long)]
    pub read_data: bool,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Checks a vault; what is wrong is a failure.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &CheckArgs) -> Result<u8> {
    let out = &app.out;
    let folder = app.directory(args.dir.dir.as_deref())?;
    let request = CheckRequest { folder, read_data: args.read_data };
    let view: CheckView = app.stream(Route::new("/v1/backup/check"), &request).await?;
    if args.json.json {
        out.json_object(&view)?;
    } else {
        out.print(&lists::check(&view, &out.style))?;
    }
    Ok(if view.problems.is_empty() { DONE } else { ErrorKind::Vault.exit_code() })
}
