//! `ringfence folder approve --hint`: what a folder says about itself comes into force.

use std::path::PathBuf;

use ringfence_model::api::HintRequest;
use ringfence_model::config::HintView;

use super::{DONE, restore};
use crate::app::App;
use crate::args::PlanArgs;
use crate::client::Route;
use crate::env;
use crate::error::Result;
use crate::output::hint;

/// Shows what the folder's own file says, asks, and has that very version approved.
///
/// # Errors
/// The daemon's, also that the file has a mistake.
pub async fn approve(app: &App, plan: &PlanArgs, folder: PathBuf) -> Result<u8> {
    let out = &app.out;
    let route = || Route::new("/v1/folders/hint");
    let mut request =
        HintRequest { folder: folder.clone(), snapshot: None, terminal: env::terminal_name() };
    let mut view: HintView = app.stream(route(), &request).await?;
    let nothing = !view.present && view.before.is_none();
    if !plan.json.json {
        let text = hint::shown(&view, &folder, &out.error_style);
        if plan.yes || nothing { out.note(&text) } else { out.say(&text) }
    }
    if !(plan.dry_run || nothing) {
        if !restore::agreed(app, plan, "ringfence folder approve --hint").await? {
            return Ok(DONE);
        }
        // What was shown is what is approved, whatever stands in the folder by now.
        request.snapshot = Some(view.snapshot);
        view = app.stream(route(), &request).await?;
    }
    if plan.json.json {
        out.json_object(&view)?;
    } else if view.applied {
        let path = out.error_style.path(&folder);
        out.note(&format!("It counts from now on: ringfence folder show {path}"));
    }
    Ok(DONE)
}
