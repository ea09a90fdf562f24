//! `ringfence backup status`

use crate::app::App;
use crate::args::JsonArgs;
use crate::commands::{DONE, folder};
use crate::error::Result;
use crate::output::lists;

/// Lists the vaults.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, json: JsonArgs) -> Result<u8> {
    let out = &app.out;
    let folders = folder::all(app).await?;
    if json.json {
        out.json_list("folders", &folders)?;
    } else if folders.is_empty() {
        out.note("No folder is under protection yet: ringfence folder add DIR");
    } else {
        out.print(&lists::vaults(&folders, app.now(), &out.style))?;
    }
    Ok(DONE)
}
