//! `ringfence recipe …`

use clap::Subcommand;
use ringfence_model::api::RecipeView;
use ringfence_model::name::RecipeName;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::lists;

/// What to do with recipes.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// List the recipes
    List(JsonArgs),
    /// Show one recipe
    Show {
        /// Its name
        recipe: RecipeName,
        /// JSON.
        #[command(flatten)]
        json: JsonArgs,
    },
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: RecipeCommand) -> Result<u8> {
    let recipes: Vec<RecipeView> = app.get(Route::new("/v1/recipes")).await?;
    match command {
        RecipeCommand::List(json) if json.json => app.out.json_list("recipes", &recipes)?,
        RecipeCommand::List(_) => app.out.print(&lists::recipes(&recipes, &app.out.style))?,
        RecipeCommand::Show { recipe, json } => {
            let found = recipes.into_iter().find(|view| view.name == recipe).ok_or_else(|| {
                usage(format!("there is no recipe {recipe}")).hint("ringfence recipe list")
            })?;
            if json.json {
                app.out.json_object(&found)?;
            } else {
                app.out.print(&lists::recipes(&[found], &app.out.style))?;
            }
        }
    }
    Ok(DONE)
}
