//! `ringfence folder …`

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use ringfence_model::api::{ApproveRequest, FolderRequest, FolderSetRequest};
use ringfence_model::config::{FOLDER_KEYS, FolderChange};
use ringfence_model::exit_check::{ApproveView, ExitAction};
use ringfence_model::folder::{Access, Exception};
use ringfence_model::health::LeftOut;
use ringfence_model::history::PlanView;
use ringfence_model::name::SecretName;
use ringfence_model::pattern::{Pattern, PatternError};
use ringfence_model::profile::{Network, Selector};
use ringfence_model::status::FolderStatus;

use super::rules::{self, LimitArgs, List};
use super::{DONE, hint, restore};
use crate::app::App;
use crate::args::{JsonArgs, PlanArgs};
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::{exit_check, lists, status};

/// What to do with folders.
#[derive(Debug, Subcommand)]
pub enum FolderCommand {
    /// Put a directory under protection and take its first snapshot
    Add {
        /// The directory
        dir: PathBuf,
    },
    /// List the folders
    List(JsonArgs),
    /// Show one folder
    Show {
        /// A directory in the folder
        dir: PathBuf,
        /// JSON.
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Forget a folder; its files and its vault stay, and `folder add` finds the vault again
    Remove {
        /// The folder
        dir: PathBuf,
    },
    /// Change a folder's rules in the configuration file
    Set(Box<SetArgs>),
    /// Let in what the exit check holds back, put a folder's .ringfence.toml in force, or say that
    /// a folder's contents are its own
    Approve(ApproveArgs),
}

/// Arguments of `folder set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// A directory in the folder
    dir: PathBuf,
    /// Who may see it: profiles and labels, as in `claude,label:self-hosted`; `none` for nobody
    #[arg(long, value_name = "PROFILES", value_parser = rules::selectors)]
    profiles: Option<List<Selector>>,
    /// Who may not see it, whatever `--profiles` says; `none` for nobody
    #[arg(long, value_name = "PROFILES", value_parser = rules::selectors)]
    deny: Option<List<Selector>>,
    /// Whether agents may write in it
    #[arg(long, value_name = "ro|rw", value_parser = access)]
    access: Option<Access>,
    /// A name that machines do not see, as in a .gitignore; again for more. Replaces those
    /// before; `none` for none
    #[arg(long, value_name = "PATTERN", value_parser = name_pattern)]
    hide: Vec<Name>,
    /// A name that machines can read but not change; again for more. Replaces those before;
    /// `none` for none
    #[arg(long, value_name = "PATTERN", value_parser = name_pattern)]
    protect: Vec<Name>,
    /// What happens to what the host might run of a session's changes: hold all of it back
    /// until it is approved, only tell it, or nothing [default: hold back what git runs by
    /// itself, tell the rest]
    #[arg(long, value_name = "hold|warn|off")]
    exit_check: Option<ExitAction>,
    /// The widest network of a machine while this folder is attached to it
    #[arg(long, value_name = "offline|allowlist|internet|open")]
    network: Option<Network>,
    /// The only hosts that are reached then, beside `--network allowlist`
    #[arg(long, value_name = "HOSTS", value_parser = rules::words)]
    allow: Option<List<String>>,
    /// The largest machine that it is attached to.
    #[command(flatten)]
    limits: LimitArgs,
    /// The secrets that sessions in it may carry; `none` for none
    #[arg(long, value_name = "NAMES", value_parser = rules::secrets)]
    secrets: Option<List<SecretName>>,
    /// Reasons against sharing it that you lift: home, private, system
    #[arg(long, value_name = "REASONS", value_parser = rules::exceptions)]
    share_anyway: Option<List<Exception>>,
    /// A key of the rule that is left to the defaults again; again for more
    #[arg(long, value_name = "KEY", value_parser = PossibleValuesParser::new(FOLDER_KEYS))]
    unset: Vec<String>,
}

impl SetArgs {
    fn request(self, path: PathBuf) -> FolderSetRequest {
        FolderSetRequest {
            path,
            profiles: self.profiles.map(|list| list.0),
            access: self.access,
            hide: names(self.hide),
            protect: names(self.protect),
            exit_check: self.exit_check,
            more: FolderChange {
                deny: self.deny.map(|list| list.0),
                network: self.network,
                allow: self.allow.map(|list| list.0),
                limits: self.limits.into(),
                secrets: self.secrets.map(|list| list.0),
                share_anyway: self.share_anyway.map(|list| list.0),
                unset: self.unset,
            },
        }
    }
}

/// Arguments of `folder approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// A directory in the folder
    pub dir: PathBuf,
    /// Also where the host has changed a path since
    #[arg(long, conflicts_with = "drop")]
    pub all: bool,
    /// Forget it instead: the folder stays as it is, its snapshots keep what is held back
    #[arg(long)]
    pub drop: bool,
    /// Instead: say that everything in the folder may be seen by whoever may see the folder, also
    /// what sessions may have left there of other folders
    #[arg(long, conflicts_with_all = ["all", "drop"])]
    pub contents: bool,
    /// Instead: put what the folder's .ringfence.toml says in force, as the next snapshot has it. It
    /// can only make rules stricter
    #[arg(long, conflicts_with_all = ["all", "drop", "contents"])]
    pub hint: bool,
    /// Plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// One value of `--hide` or `--protect`; `None`: the word `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Option<Pattern>);

fn name_pattern(text: &str) -> std::result::Result<Name, String> {
    if text == "none" {
        return Ok(Name(None));
    }
    text.parse().map(|pattern| Name(Some(pattern))).map_err(|error: PatternError| error.to_string())
}

/// The patterns in place of those before, where any were given.
fn names(given: Vec<Name>) -> Option<Vec<Pattern>> {
    (!given.is_empty()).then(|| given.into_iter().filter_map(|name| name.0).collect())
}

fn access(text: &str) -> std::result::Result<Access, String> {
    match text {
        "ro" => Ok(Access::Ro),
        "rw" => Ok(Access::Rw),
        _ => Err("use ro (agents can only read) or rw (agents can write)".into()),
    }
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: FolderCommand) -> Result<u8> {
    let out = &app.out;
    match command {
        FolderCommand::Add { dir } => {
            let request = FolderRequest { path: app.directory(Some(&dir))? };
            let folder: FolderStatus = app.stream(Route::new("/v1/folders"), &request).await?;
            out.note(&format!("{} is under protection.", out.error_style.path(&folder.path)));
        }
        FolderCommand::List(json) => {
            let folders = all(app).await?;
            if json.json {
                out.json_list("folders", &folders)?;
            } else {
                match status::folders(&folders, app.now(), &out.style) {
                    Some(table) => out.print(&table)?,
                    None => out.note("No folder is under protection yet: ringfence folder add DIR"),
                }
            }
        }
        FolderCommand::Show { dir, json } => {
            let folder = one(app, &dir).await?;
            if json.json {
                out.json_object(&folder)?;
            } else {
                out.print(&lists::folder(&folder, app.now(), &out.style))?;
                let route = Route::new("/v1/folders/large").query_path("path", &folder.path);
                // A vault that cannot be read is told of above.
                let large: Vec<LeftOut> = app.get(route).await.unwrap_or_default();
                out.print(&lists::worth_leaving_out(&large))?;
            }
        }
        FolderCommand::Remove { dir } => {
            let path = app.directory(Some(&dir))?;
            let known = all(app).await?;
            app.delete(Route::new("/v1/folders").query_path("path", &path)).await?;
            let real = path.canonicalize().unwrap_or(path);
            let style = &out.error_style;
            match known.iter().find(|folder| folder.path == real) {
                Some(folder) => out.note(&format!(
                    "{} is not under protection any more. Its snapshots stay in {}; to have them back: \
                     ringfence folder add {}",
                    style.path(&real),
                    style.path(&folder.vault),
                    style.argument(&real)
                )),
                None => {
                    out.note(&format!("{} is not under protection any more.", style.path(&real)))
                }
            }
        }
        FolderCommand::Approve(args) => return approve(app, &args).await,
        FolderCommand::Set(args) => {
            let path = app.directory(Some(&args.dir))?;
            let nothing = FolderSetRequest {
                path: path.clone(),
                profiles: None,
                access: None,
                hide: None,
                protect: None,
                exit_check: None,
                more: FolderChange::default(),
            };
            let request = args.request(path);
            if request == nothing {
                return Err(usage("nothing to set").hint("ringfence folder set --help"));
            }
            app.post::<serde::de::IgnoredAny>(Route::new("/v1/folders/set"), &request).await?;
            out.note("The rule is changed: ringfence config show");
        }
    }
    Ok(DONE)
}

/// Shows what is held back, asks, and lets it in or forgets it.
async fn approve(app: &App, args: &ApproveArgs) -> Result<u8> {
    let folder = one(app, &args.dir).await?;
    if args.contents {
        return approve_contents(app, args, folder.path).await;
    }
    if args.hint {
        return hint::approve(app, &args.plan, folder.path).await;
    }
    if folder.held_count == 0 {
        if args.plan.json.json {
            let target = folder.path.display().to_string();
            let plan = PlanView { target, ..PlanView::default() };
            app.out.json_object(&ApproveView { held: Vec::new(), plan })?;
        } else {
            app.out.note(&format!(
                "Nothing of {} is held back.",
                app.out.error_style.path(&folder.path)
            ));
        }
        return Ok(DONE);
    }
    let (json, yes) = (args.plan.json.json, args.plan.yes);
    let request = ApproveRequest {
        folder: folder.path,
        dry_run: true,
        agreed: None,
        drop: args.drop,
        all: args.all,
        contents: false,
    };
    let route = || Route::new("/v1/folders/approve");
    let view: ApproveView = app.stream(route(), &request).await?;
    if args.plan.dry_run {
        if json {
            app.out.json_object(&view)?;
        } else {
            app.out.print(&exit_check::plan(&view, args.drop, &app.out.style))?;
        }
        return Ok(DONE);
    }
    if !json {
        let text = exit_check::plan(&view, args.drop, &app.out.error_style);
        if yes { app.out.note(&text) } else { app.out.say(&text) }
    }
    if !restore::agreed(app, &args.plan, "ringfence folder approve").await? {
        return Ok(DONE);
    }
    // What was shown is what is let in, whatever came to it meanwhile.
    let agreed = view.held.into_iter().map(|held| held.path).collect();
    let request = ApproveRequest { dry_run: false, agreed: Some(agreed), ..request };
    let view: ApproveView = app.stream(route(), &request).await?;
    if json {
        app.out.json_object(&view)?;
    } else {
        app.out.note(&exit_check::done(&view, args.drop, &app.out.error_style));
    }
    Ok(DONE)
}

/// Shows what sessions may have left in a folder, asks, and has it forgotten.
async fn approve_contents(app: &App, args: &ApproveArgs, folder: PathBuf) -> Result<u8> {
    let path = app.out.error_style.path(&folder);
    let mut request = ApproveRequest {
        folder,
        dry_run: true,
        agreed: None,
        drop: false,
        all: false,
        contents: true,
    };
    let route = || Route::new("/v1/folders/approve");
    let mut view: ApproveView = app.stream(route(), &request).await?;
    if !args.plan.json.json {
        for note in &view.plan.notes {
            app.out.say(&format!("{path}: {}", ringfence_model::bytes::visible(note)));
        }
        app.out.say(&format!(
            "From then on whoever may see {path} may see all that is in it. Look at it first."
        ));
    }
    if !args.plan.dry_run {
        if !restore::agreed(app, &args.plan, "ringfence folder approve --contents").await? {
            return Ok(DONE);
        }
        request.dry_run = false;
        view = app.stream(route(), &request).await?;
    }
    if args.plan.json.json {
        app.out.json_object(&view)?;
    } else if view.plan.applied {
        app.out.note(&format!("What is in {path} is its own now."));
    }
    Ok(DONE)
}

/// Every folder.
///
/// # Errors
/// The daemon's.
pub async fn all(app: &App) -> Result<Vec<FolderStatus>> {
    app.get(Route::new("/v1/folders")).await
}

/// The folder that a directory lies in.
///
/// # Errors
/// When it lies in none.
pub async fn one(app: &App, dir: &Path) -> Result<FolderStatus> {
    let root = app.root(&app.directory(Some(dir))?).await?;
    let found = all(app).await?.into_iter().find(|folder| folder.path == root);
    found.ok_or_else(|| {
        usage(format!("{} was removed meanwhile", app.out.error_style.path(&root)))
            .hint("ringfence folder list")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_replace_those_before_and_none_means_none() {
        let read = |texts: &[&str]| {
            names(texts.iter().map(|text| name_pattern(text).expect(text)).collect())
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["none"]), Some(Vec::new()));
        assert_eq!(read(&[".env", "secrets/**"]).map(|names| names.len()), Some(2));
        assert!(name_pattern("[a").is_err());
    }
}
