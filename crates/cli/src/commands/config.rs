//! `ringfence config …`

use clap::Subcommand;
use ringfence_model::api::ConfigView;

use super::DONE;
use crate::app::App;
use crate::client::Route;
use crate::error::Result;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print what is in force, defaults filled in
    Show,
    /// Check the configuration file for mistakes
    Check,
}

/// Does it.
///
/// # Errors
/// The daemon's; a mistake in the file is one of the kind `config`.
pub async fn run(app: &App, command: ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Show => {
            let view: ConfigView = app.get(Route::new("/v1/config")).await?;
            app.out.print(&view.text)?;
        }
        ConfigCommand::Check => {
            app.post::<serde::de::IgnoredAny>(Route::new("/v1/config/check"), &()).await?;
            let file = app.surroundings.layout.config_file();
            app.out.note(&format!("No mistake in {}.", app.out.error_style.path(&file)));
        }
    }
    Ok(DONE)
}
