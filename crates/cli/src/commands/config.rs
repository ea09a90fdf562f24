//! `ringfence config …`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ringfence_model::config::{self, ConfigView, ConfigWrite, Source};
use ringfence_model::error::{ApiError, ErrorKind};

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::{config_files, editor, output};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print everything that is in force, and where each value came from
    Show(JsonArgs),
    /// Look for mistakes in the configuration; needs no daemon and says nothing when all is well
    Check(CheckArgs),
    /// Open the configuration in your editor; what you write takes effect once it has no mistake
    Edit {
        /// A file beside the main one, in `conf.d`
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of the configuration, for editors
    Schema,
}

/// Arguments of `config check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files to check, each with those that belong to it [default: the configuration in use]
    pub files: Vec<PathBuf>,
    /// Bring files of an older schema to the present one; comments stay
    #[arg(long, conflicts_with = "files")]
    pub fix: bool,
}

/// Does it.
///
/// # Errors
/// The daemon's; a mistake in a file is one of the kind `config`.
pub async fn run(app: &App, command: ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Show(json) => {
            let view: ConfigView = app.get(Route::new("/v1/config")).await?;
            if json.json {
                app.out.json_object(&view)?;
            } else {
                app.out.print(&output::config::show(&view, &app.out.style))?;
                warn(app, &view.warnings);
            }
        }
        ConfigCommand::Check(args) => check(app, &args).await?,
        ConfigCommand::Edit { file } => edit(app, file).await?,
        ConfigCommand::Schema => app.out.json(&config::schema())?,
    }
    Ok(DONE)
}

fn warn(app: &App, warnings: &[String]) {
    for warning in warnings {
        app.out.say(&format!("warning: {warning}"));
    }
}

async fn check(app: &App, args: &CheckArgs) -> Result<()> {
    if args.fix {
        let mended: Vec<PathBuf> = app.post(Route::new("/v1/config/migrate"), &()).await?;
        for file in &mended {
            let file = app.out.error_style.path(file);
            app.out.note(&format!(
                "{file} has the present schema; its text before is in {file}.previous."
            ));
        }
    }
    let in_use = [app.surroundings.layout.config_file()];
    let mut mains: Vec<PathBuf> = Vec::new();
    for file in if args.files.is_empty() { &in_use[..] } else { &args.files } {
        let file = app.surroundings.directory.join(file);
        if !args.files.is_empty() && !file.is_file() {
            let message = format!("{}: there is no such file", file.display());
            return Err(ApiError::new(ErrorKind::Config, message));
        }
        let main = config_files::main_of(&file);
        if !mains.contains(&main) {
            mains.push(main);
        }
    }
    for main in &mains {
        let reading = config_files::sources(main)
            .and_then(|sources| config_files::read(sources, app.surroundings.home.as_deref()))
            .map_err(|error| config_files::told(&error))?;
        let warnings: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
        warn(app, &warnings);
    }
    if app.out.can_ask() {
        app.out.note("No mistake found.");
    }
    Ok(())
}

/// Edits a draft beside the file. Only a draft without mistakes takes the file's place.
async fn edit(app: &App, file: Option<PathBuf>) -> Result<()> {
    let main = app.surroundings.layout.config_file();
    let file = match file {
        None => main.clone(),
        Some(name) if name.components().count() == 1 => {
            main.with_file_name(config::INCLUDES).join(name)
        }
        Some(file) => app.surroundings.directory.join(file),
    };
    let unreadable = |error: &std::io::Error| {
        let message = format!("{} cannot be read", file.display());
        ApiError::from_source(ErrorKind::Config, message, error)
    };
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&error)),
    };
    let mut draft = file.clone().into_os_string();
    draft.push(".edit");
    let draft = PathBuf::from(draft);
    let shown = app.out.error_style.path(&draft);
    if draft.exists() {
        app.out.say(&format!("Going on with what you wrote last time: {shown}"));
    } else {
        let number = format!("schema = {}\n", config::SCHEMA);
        write(&draft, before.as_deref().unwrap_or(&number)).map_err(|error| {
            ApiError::from_source(ErrorKind::Failed, format!("{shown} cannot be written"), &error)
        })?;
    }
    loop {
        editor::open(app.surroundings.editor.as_deref(), &draft)?;
        let text = std::fs::read_to_string(&draft).map_err(|error| unreadable(&error))?;
        if before.as_ref() == Some(&text) {
            let _ = std::fs::remove_file(&draft);
            app.out.note("Nothing was changed.");
            return Ok(());
        }
        match checked(app, &main, &file, &text) {
            Ok(()) => {
                let body = ConfigWrite { file: file.clone(), before, text };
                app.post::<serde::de::IgnoredAny>(Route::new("/v1/config/write"), &body).await?;
                let _ = std::fs::remove_file(&draft);
                app.out.note(&format!("{} is in force.", app.out.error_style.path(&file)));
                return Ok(());
            }
            Err(error) if app.out.can_ask() => {
                app.out.error(&error);
                if !app.out.ask("Go on editing?").await? {
                    return Err(kept(&draft));
                }
            }
            Err(error) => {
                app.out.error(&error);
                return Err(kept(&draft));
            }
        }
    }
}

/// That a text is not in force and not lost.
fn kept(draft: &Path) -> ApiError {
    let message = format!("not in force; what you wrote is in {}", draft.display());
    ApiError::new(ErrorKind::Config, message)
        .hint("to go on with it: ringfence config edit")
        .hint(format!("to forget it: rm {}", draft.display()))
}

/// Checks a text in the place of a file, together with all other files.
pub(super) fn checked(app: &App, main: &Path, file: &Path, text: &str) -> Result<()> {
    let read = |sources: Vec<Source>| config_files::read(sources, app.surroundings.home.as_deref());
    let mut sources = config_files::sources(main).map_err(|error| config_files::told(&error))?;
    match sources.iter_mut().find(|source| source.file == file) {
        Some(source) => text.clone_into(&mut source.text),
        None => sources.push(Source { file: file.to_owned(), text: text.to_owned() }),
    }
    let reading = read(sources).map_err(|error| config_files::told(&error))?;
    let warnings: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
    warn(app, &warnings);
    Ok(())
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}
