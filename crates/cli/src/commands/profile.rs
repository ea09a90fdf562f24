//! `ringfence profile …`

use clap::Subcommand;
use ringfence_model::name::ProfileName;
use ringfence_model::secret::SecretView;
use ringfence_model::status::ProfileView;
use serde::Serialize;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::lists;

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the profiles
    List(JsonArgs),
    /// Show one profile
    Show {
        /// Its name
        profile: ProfileName,
        /// JSON.
        #[command(flatten)]
        json: JsonArgs,
    },
}

/// A profile and where its secrets are read.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    profile: ProfileView,
    carries: Vec<SecretView>,
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: ProfileCommand) -> Result<u8> {
    let profiles: Vec<ProfileView> = app.get(Route::new("/v1/profiles")).await?;
    match command {
        ProfileCommand::List(json) if json.json => app.out.json_list("profiles", &profiles)?,
        ProfileCommand::List(_) => app.out.print(&lists::profiles(&profiles, &app.out.style))?,
        ProfileCommand::Show { profile, json } => {
            let found =
                profiles.into_iter().find(|view| view.name == profile).ok_or_else(|| {
                    usage(format!("there is no profile {profile}")).hint("ringfence profile list")
                })?;
            let mut carries: Vec<SecretView> = app.get(Route::new("/v1/secrets")).await?;
            carries.retain(|secret| secret.profiles.contains(&profile));
            if json.json {
                app.out.json_object(&Shown { profile: found, carries })?;
            } else {
                app.out.print(&lists::profiles(&[found], &app.out.style))?;
                app.out.print(&lists::secrets(&carries, &app.out.style))?;
            }
        }
    }
    Ok(DONE)
}
