//! `ringfence session …`

use clap::{Args, Subcommand};
use ringfence_model::api::RunSummary;
use ringfence_model::bytes::visible;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::kept::KeptView;
use ringfence_model::name::SessionId;
use ringfence_model::session::Session;

use super::DONE;
use super::run::{attach, explain};
use super::undo::{self, UndoArgs};
use crate::app::App;
use crate::args::{FolderArgs, JsonArgs, PlanArgs};
use crate::client::Route;
use crate::client::lines::Lines;
use crate::error::Result;
use crate::output::{lists, status, summary};

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the sessions
    List(JsonArgs),
    /// Show one session
    Show {
        /// The session
        session: SessionId,
        /// JSON.
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Attach this terminal to a running session
    Attach {
        /// The session
        session: SessionId,
        /// Only look: nothing that is typed reaches it
        #[arg(long)]
        watch_only: bool,
    },
    /// List the versions of files that a session destroyed, or print one of them
    Kept {
        /// The session
        session: SessionId,
        /// The number of the version whose content to print
        number: Option<u64>,
        /// JSON.
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Print what a session wrote
    Logs(IdArgs),
    /// End a session; its closing snapshot is taken
    Stop(IdArgs),
    /// Let a session go on that was frozen because it removed or rewrote too much at once
    Resume(IdArgs),
    /// Put back what a session changed; one that is frozen is ended first
    Undo {
        /// The session, or the beginning or end of its id
        session: SessionId,
        /// Take the whole opening snapshot, also where the host changed paths meanwhile
        #[arg(long)]
        all: bool,
        /// Plan.
        #[command(flatten)]
        plan: PlanArgs,
    },
}

/// One session.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// The session
    pub session: SessionId,
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: SessionCommand) -> Result<u8> {
    let out = &app.out;
    match command {
        SessionCommand::List(json) => {
            let sessions: Vec<Session> = app.get(Route::new("/v1/sessions")).await?;
            if json.json {
                out.json_list("sessions", &sessions)?;
            } else {
                match status::sessions(&sessions, app.now(), &out.style) {
                    Some(table) => out.print(&table)?,
                    None => out.note("There is no session yet: ringfence run PROFILE"),
                }
            }
        }
        SessionCommand::Show { session, json } => {
            let session: Session = app.get(route(&session)).await?;
            if json.json {
                out.json_object(&session)?;
            } else {
                let sessions = std::slice::from_ref(&session);
                out.print(&status::sessions(sessions, app.now(), &out.style).unwrap_or_default())?;
                for (name, id) in [
                    ("opening snapshot", &session.opening_snapshot),
                    ("closing snapshot", &session.closing_snapshot),
                ] {
                    if let Some(id) = id {
                        out.print(&format!("{name}: {}\n", visible(id)))?;
                    }
                }
            }
        }
        SessionCommand::Attach { session, watch_only } => {
            let found: Session = app.get(route(&session)).await?;
            if found.state.is_final() {
                return Err(ApiError::new(
                    ErrorKind::Failed,
                    format!("session {session} is over ({})", found.state.word()),
                )
                .hint(format!("ringfence session logs {session}")));
            }
            let socket = app.surroundings.layout.session_socket(&session);
            return attach(app, &socket, &session, watch_only)
                .await
                .map(|ended| ended.exit.shell_code())
                .map_err(|error| explain(&error, &session));
        }
        SessionCommand::Kept { session, number: Some(number), .. } => {
            print_log(app, &route(&session).segment("kept").segment(&number.to_string())).await?;
        }
        SessionCommand::Kept { session, number: None, json } => {
            let kept: Vec<KeptView> = app.get(route(&session).segment("kept")).await?;
            if json.json {
                out.json_list("versions", &kept)?;
            } else if kept.is_empty() {
                out.note("It destroyed nothing that no snapshot has: ringfence history");
            } else {
                let zone = app.surroundings.now.time_zone().clone();
                out.print(&lists::kept(&kept, &zone, &out.style))?;
            }
        }
        SessionCommand::Logs(args) => print_log(app, &route(&args.session).segment("logs")).await?,
        SessionCommand::Stop(args) => {
            let route = route(&args.session).segment("stop");
            let summary: RunSummary = app.stream(route, &()).await?;
            let who = summary.session.profile.to_string();
            out.note(&summary::render(&summary, &who, &out.error_style));
        }
        SessionCommand::Resume(args) => {
            let session = resume(app, &app.session(&args.session).await?.id).await?.id;
            out.note(&format!(
                "Session {session} goes on. Its end: ringfence session show {session} · put back what it does: \
                 ringfence session undo {session}"
            ));
        }
        SessionCommand::Undo { session, all, plan } => {
            let session = app.session(&session).await?;
            let folder = FolderArgs { folder: session.folder_path };
            let args = UndoArgs {
                session: Some(session.id),
                path: Vec::new(),
                deletions: false,
                since: None,
                all,
                plan,
                folder,
            };
            return undo::run(app, &args).await;
        }
    }
    Ok(DONE)
}

/// Lets a frozen session go on.
///
/// # Errors
/// The daemon's.
pub async fn resume(app: &App, session: &SessionId) -> Result<Session> {
    app.post(route(session).segment("resume"), &()).await
}

/// Where the daemon answers about a session.
#[must_use]
pub fn route(session: &SessionId) -> Route {
    Route::new("/v1/sessions").segment(session.as_str())
}

/// Prints what a machine wrote. A terminal gets it without escapes, anything else gets
/// the bytes as they are.
///
/// # Errors
/// The daemon's.
pub async fn print_log(app: &App, route: &Route) -> Result<()> {
    let out = &app.out;
    if !out.stdout_is_terminal() {
        return app.interruptible(app.client.bytes(route, |bytes| out.write(bytes))).await;
    }
    let mut lines = Lines::default();
    let show = app.client.bytes(route, |bytes| {
        lines.push(bytes);
        while let Some(line) = lines.next_line() {
            out.print(&safe_line(&line))?;
        }
        Ok(())
    });
    app.interruptible(show).await?;
    if lines.rest().is_empty() { Ok(()) } else { out.print(&safe_line(lines.rest())) }
}

/// One line of hostile bytes for a terminal: colours, titles and control characters go,
/// what else could mislead is made visible.
#[must_use]
pub fn safe_line(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = anstream::adapter::strip_str(text.trim_end_matches('\r')).to_string();
    let text = text.split('\t').map(visible).collect::<Vec<_>>().join("\t");
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_moves_no_cursor() {
        assert_eq!(safe_line(b"\x1b[31mred\x1b[0m\tx\r"), "red\tx\n");
        assert_eq!(safe_line(b"\x1b]0;title\x07a\x08b\xff"), "ab\u{fffd}\n");
    }
}
