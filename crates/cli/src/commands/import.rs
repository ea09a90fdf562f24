//! `ringfence import …`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ringfence_model::bytes::visible;
use ringfence_model::config::{ConfigWrite, INCLUDES};
use ringfence_model::error::{ApiError, ErrorKind};

use super::{DONE, config};
use crate::agsekit::{self, Imported};
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;

/// Where agsekit has its file, below the home directory.
const USUAL: &str = ".config/agsekit/config.yaml";
/// The file beside the main one that an import makes.
const NAME: &str = "agsekit.toml";
/// The largest file that is read, in bytes; a real one has a few KiB.
const MOST: u64 = 1 << 20;

/// From what to import.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Take over agents and folders of Agent Safety Kit, and say what could not be
    Agsekit(AgsekitArgs),
}

/// Arguments of `import agsekit`.
#[derive(Debug, Args)]
pub struct AgsekitArgs {
    /// Its configuration [default: ~/.config/agsekit/config.yaml]
    file: Option<PathBuf>,
    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// JSON.
    #[command(flatten)]
    json: JsonArgs,
}

/// Does it.
///
/// # Errors
/// A file that cannot be read, or whose rules contradict what is there; nothing is written then.
pub async fn run(app: &App, command: ImportCommand) -> Result<u8> {
    let ImportCommand::Agsekit(args) = command;
    let file = match (&args.file, &app.surroundings.home) {
        (Some(file), _) => app.surroundings.directory.join(file),
        (None, Some(home)) => home.join(USUAL),
        (None, None) => return Err(crate::error::usage("name agsekit's configuration file")),
    };
    let imported = agsekit::convert(&understood(&file)?);
    let main = app.surroundings.layout.config_file();
    let target = main.with_file_name(INCLUDES).join(NAME);
    if target.exists() {
        let shown = app.out.error_style.path(&target);
        return Err(ApiError::new(
            ErrorKind::Refused,
            format!("{shown} is there already, from an earlier import"),
        )
        .hint("to import anew, move it away; to change it: ringfence config edit agsekit.toml"));
    }
    config::checked(app, &main, &target, &imported.text)?;
    if !args.dry_run {
        let body = ConfigWrite { file: target.clone(), before: None, text: imported.text.clone() };
        app.post::<serde::de::IgnoredAny>(Route::new("/v1/config/write"), &body).await?;
    }
    if args.json.json {
        app.out.json_object(&imported)?;
        return Ok(DONE);
    }
    if args.dry_run {
        app.out.print(&imported.text)?;
    } else {
        app.out.note(&format!("{} is in force.", app.out.error_style.path(&target)));
    }
    app.out.note(&told(&imported));
    Ok(DONE)
}

fn understood(file: &Path) -> Result<agsekit::Setup> {
    let shown = file.display();
    let unreadable = |error: &std::io::Error| {
        ApiError::from_source(ErrorKind::Config, format!("{shown} cannot be read"), error)
    };
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| unreadable(&error))?;
    opened.take(MOST + 1).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > MOST {
        let message = format!("{shown} is larger than {MOST} bytes: not a configuration");
        return Err(ApiError::new(ErrorKind::Config, message));
    }
    agsekit::read(&text)
        .map_err(|why| ApiError::new(ErrorKind::Config, format!("{shown}: {}", visible(&why))))
}

fn told(imported: &Imported) -> String {
    let mut lines = vec![format!("Profiles: {}.", listed(&imported.profiles))];
    lines.push(format!("Folders: {}.", listed(&imported.folders)));
    if !imported.left.is_empty() {
        lines.push("Not carried over:".to_owned());
        let width = imported.left.iter().map(|left| left.what.chars().count()).max().unwrap_or(0);
        for left in &imported.left {
            let what = visible(&left.what).to_string();
            lines.push(format!("  {what:width$}  {}", visible(&left.why)));
        }
    }
    if !imported.folders.is_empty() {
        lines
            .push("A rule alone backs nothing up. In each folder: ringfence folder add".to_owned());
    }
    lines.join("\n")
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| visible(name).to_string()).collect();
    names.join(", ")
}
