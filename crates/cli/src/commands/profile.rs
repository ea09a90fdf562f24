//! `ringfence profile …`

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use ringfence_model::config::{PROFILE_KEYS, ProfileChange, ProfileRemoval};
use ringfence_model::name::{ProfileName, RecipeName, SecretName};
use ringfence_model::profile::Network;
use ringfence_model::secret::SecretView;
use ringfence_model::status::ProfileView;
use serde::Serialize;

use super::DONE;
use super::rules::{self, LimitArgs, List};
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
    /// Add a profile to the configuration; one of a built-in name replaces that whole
    Add(Box<ProfileArgs>),
    /// Change a profile of the configuration
    Set {
        /// What is changed.
        #[command(flatten)]
        args: Box<ProfileArgs>,
        /// A key that is left to the defaults again; again for more
        #[arg(long, value_name = "KEY", value_parser = PossibleValuesParser::new(PROFILE_KEYS))]
        unset: Vec<String>,
    },
    /// Take a profile out of the configuration; a built-in one of its name is there again
    Remove {
        /// Its name
        profile: ProfileName,
    },
}

/// What a profile says. What is not given stays as it is.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Its name
    profile: ProfileName,
    /// The recipe that it runs: ringfence recipe list
    #[arg(long)]
    recipe: Option<RecipeName>,
    /// Labels that folders can name, with commas; `none` for none
    #[arg(long, value_name = "LABELS", value_parser = rules::words)]
    labels: Option<List<String>>,
    /// An argument before those of the command line; again for more. Replaces those before
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// A variable of its environment, NAME=VALUE; again for more. No secrets: see --secrets
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::variable)]
    env: Vec<(String, String)>,
    /// The widest network that it gets
    #[arg(long, value_name = "offline|allowlist|internet|open")]
    network: Option<Network>,
    /// Hosts for the network `allowlist`, with commas; `none` for none
    #[arg(long, value_name = "HOSTS", value_parser = rules::words)]
    allow: Option<List<String>>,
    /// The secrets that its sessions carry, with commas; `none` for none
    #[arg(long, value_name = "NAMES", value_parser = rules::secrets)]
    secrets: Option<List<SecretName>>,
    /// The size of a machine that is made for it.
    #[command(flatten)]
    limits: LimitArgs,
}

impl ProfileArgs {
    fn change(self, add: bool, unset: Vec<String>) -> ProfileChange {
        ProfileChange {
            name: self.profile,
            add,
            recipe: self.recipe,
            labels: self.labels.map(|list| list.0),
            args: (!self.arg.is_empty()).then_some(self.arg),
            env: self.env.into_iter().collect(),
            network: self.network,
            allow: self.allow.map(|list| list.0),
            secrets: self.secrets.map(|list| list.0),
            limits: self.limits.into(),
            unset,
        }
    }
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
    match command {
        ProfileCommand::List(json) => {
            let profiles = all(app).await?;
            if json.json {
                app.out.json_list("profiles", &profiles)?;
            } else {
                app.out.print(&lists::profiles(&profiles, &app.out.style))?;
            }
        }
        ProfileCommand::Add(args) => set(app, args.change(true, Vec::new())).await?,
        ProfileCommand::Set { args, unset } => set(app, args.change(false, unset)).await?,
        ProfileCommand::Remove { profile } => {
            let request = ProfileRemoval { name: profile };
            app.post::<serde::de::IgnoredAny>(Route::new("/v1/profiles/remove"), &request).await?;
            app.out
                .note(&format!("Profile {} is not in the configuration any more.", request.name));
        }
        ProfileCommand::Show { profile, json } => {
            let profiles = all(app).await?;
            let found =
                profiles.into_iter().find(|view| view.name == profile).ok_or_else(|| {
                    usage(format!("there is no profile {profile}")).hint("ringfence profile list")
                })?;
            let mut carries: Vec<SecretView> = app.get(Route::new("/v1/secrets")).await?;
            carries.retain(|secret| secret.profiles.contains(&profile));
            if json.json {
                app.out.json_object(&Shown { profile: found, carries })?;
            } else {
                app.out.print(&lists::profile(&found))?;
                app.out.print(&lists::secrets(&carries, &app.out.style))?;
            }
        }
    }
    Ok(DONE)
}

async fn all(app: &App) -> Result<Vec<ProfileView>> {
    app.get(Route::new("/v1/profiles")).await
}

async fn set(app: &App, change: ProfileChange) -> Result<()> {
    app.post::<serde::de::IgnoredAny>(Route::new("/v1/profiles/set"), &change).await?;
    app.out.note(&format!("Profile {0} is written: ringfence profile show {0}", change.name));
    Ok(())
}
