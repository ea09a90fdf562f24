//! `ringfence backup recover TARGET`: a folder out of its copy, with nothing but the key.

use std::path::PathBuf;

use clap::Args;
use ringfence_model::api::{RecoverRequest, RecoverView};
use ringfence_model::error::{ApiError, ErrorKind};

use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::{Result, usage};
use crate::output::copies;

/// Most bytes of a file that holds a key.
const MAX_KEY: u64 = 64 * 1024;

/// Arguments of `backup recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Where the copy lies, as on the recovery sheet: a directory, `sftp:…`, `s3:…` or `rest:…`
    pub target: String,
    /// The directory to restore into; made if missing, must be empty
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub to: Option<PathBuf>,
    /// A file with the key: the recovery sheet will do; `-` is standard input [default: ask]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Which state: `latest`, the first digits of a snapshot's id, or a time [default: the newest]
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    pub at: Option<String>,
    /// Only list the snapshots that the copy holds
    #[arg(long, conflicts_with_all = ["to", "at", "protect", "no_protect"])]
    pub list: bool,
    /// Protect the directory from now on, and go on with the copy's history
    #[arg(long)]
    pub protect: bool,
    /// Only restore
    #[arg(long, conflicts_with = "protect")]
    pub no_protect: bool,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Recovers.
///
/// # Errors
/// The daemon's, or that there is no key.
pub async fn run(app: &App, args: &RecoverArgs) -> Result<u8> {
    let key = key(app, args).await?;
    let at = match &args.at {
        None => None,
        Some(text) => app.state(text).await?,
    };
    let to = app.directory(args.to.as_deref())?;
    let register = match (args.protect, args.no_protect || args.list) {
        (true, _) => true,
        (_, true) => false,
        _ if app.out.can_ask() => {
            let shown = app.out.error_style.path(&to);
            app.ask(&format!("Protect {shown} from now on, with the copy's history?")).await?
        }
        _ => false,
    };
    let request =
        RecoverRequest { target: args.target.clone(), key, to, at, list_only: args.list, register };
    let view: RecoverView = app.stream(Route::new("/v1/backup/recover"), &request).await?;
    if args.json.json {
        app.out.json_object(&view)?;
    } else if args.list {
        app.out.print(&copies::listed(&view, &app.surroundings.now, &app.out.style))?;
    } else {
        app.out.note(&copies::recovered(&view, &app.out.error_style));
    }
    Ok(DONE)
}

/// The text that holds the key.
async fn key(app: &App, args: &RecoverArgs) -> Result<String> {
    use std::io::Read as _;
    let Some(file) = &args.key_file else {
        if !app.out.can_ask() {
            return Err(usage("the key is missing, and nobody can be asked without a terminal")
                .hint("ringfence backup recover TARGET --to DIR --key-file FILE"));
        }
        return app.out.ask_secret("Key (eight groups, from the recovery sheet): ").await;
    };
    let unreadable = |error: std::io::Error| {
        let shown = app.out.error_style.path(file);
        ApiError::from_source(
            ErrorKind::Failed,
            format!("the key cannot be read from {shown}"),
            &error,
        )
    };
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_KEY).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(app.surroundings.directory.join(file));
        file.and_then(|file| file.take(MAX_KEY).read_to_string(&mut text)).map_err(unreadable)?;
    }
    Ok(text)
}
