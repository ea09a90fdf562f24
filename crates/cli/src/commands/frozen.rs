//! A session that the guard against mass loss, or a stricter rule, stopped: noticed while it is attached, decided
//! about where there is a terminal, left as it is where there is none.

use std::time::Duration;

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::mass_loss::GuardAction;
use ringfence_model::name::SessionId;
use ringfence_model::session::{Session, SessionState};

use super::session::{resume, route};
use super::undo::{self, UndoArgs};
use crate::app::App;
use crate::args::{FolderArgs, JsonArgs, PlanArgs};
use crate::client::Client;
use crate::error::Result;

/// Pause between two looks. Nothing is lost meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Rings the terminal.
const BELL: char = '\u{7}';

/// Returns once a session stands still; never where it does not. Says it where the session was
/// only to be warned of. A daemon that does not run is not started for this.
pub async fn until_frozen(app: &App, id: &SessionId) -> Session {
    let client = Client::new(app.client.socket().to_owned(), None);
    let mut warned = false;
    loop {
        tokio::time::sleep(LOOK).await;
        // Whether a daemon answers is for others to say.
        let Ok(session) = client.get::<Session>(&route(id)).await else { continue };
        if session.state == SessionState::Frozen {
            return session;
        }
        if session.guard == GuardAction::Warn && session.mass_loss.is_some() && !warned {
            warned = true;
            // In a terminal that is the session's the line begins where it likes.
            let line_end = if app.out.can_ask() { "\r" } else { "" };
            app.out.say(&format!("{}warning: {}{line_end}", bell(app), what(&session)));
        }
    }
}

fn bell(app: &App) -> String {
    if app.out.can_ask() { BELL.to_string() } else { String::new() }
}

fn what(session: &Session) -> String {
    if !session.stricter.is_empty() {
        let reasons = ringfence_model::bytes::visible(&session.stricter.join("; "));
        return format!("session {}: the rules became stricter: {reasons}", session.id);
    }
    let folder = session.folder_path.as_deref().map(|path| path.display().to_string());
    format!(
        "session {} removed or rewrote {} files of {} at once",
        session.id,
        session.mass_loss.map_or(0, |loss| loss.files),
        ringfence_model::bytes::visible(&folder.unwrap_or_default()),
    )
}

/// Asks what is to become of a frozen session. Returns when it goes on.
///
/// # Errors
/// That it is frozen, where nobody can be asked or nobody wants it to go on.
pub async fn decide(app: &App, session: &Session) -> Result<()> {
    let id = &session.id;
    let frozen = || {
        ApiError::new(
            ErrorKind::Frozen,
            format!("frozen: {}; what it does next waits", what(session)),
        )
        .hint(format!("put everything back, which ends it: ringfence session undo {id}"))
        .hint(format!("let it go on: ringfence session resume {id}"))
        .hint(format!("only end it: ringfence session stop {id}"))
    };
    if !app.out.can_ask() {
        return Err(frozen());
    }
    app.out.say(&format!("\r\n{}Frozen: {}; what it does next waits.", bell(app), what(session)));
    let question = "Put everything back (u), let it go on (r), or leave it frozen? [u/r/N]";
    match app.ask_words(question).await?.to_ascii_lowercase().as_str() {
        "r" => resume(app, id).await.map(drop),
        "u" => {
            let args = UndoArgs {
                path: Vec::new(),
                deletions: false,
                since: None,
                session: Some(id.clone()),
                all: false,
                plan: PlanArgs { dry_run: false, yes: false, json: JsonArgs { json: false } },
                folder: FolderArgs { folder: session.folder_path.clone() },
            };
            undo::run(app, &args).await?;
            Err(ApiError::new(
                ErrorKind::Frozen,
                format!("session {id} was frozen and did not go on"),
            ))
        }
        _ => Err(frozen()),
    }
}
