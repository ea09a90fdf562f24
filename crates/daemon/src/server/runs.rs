//! Runs and sessions.

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, Query, State};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use ringfence_model::api::{RunRequest, SessionDiffRequest};
use ringfence_model::audit::{Decisions, DecisionsRequest};
use ringfence_model::exit_check::SessionView;
use ringfence_model::kept::{KeptView, SessionDiffView};
use ringfence_model::name::SessionId;
use ringfence_model::session::Session;
use serde::Deserialize;
use std::sync::Arc;

use super::{Answer, App, Failure, Peer, stream_of};
use crate::supervisor::{Daemon, standing};

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/run", post(run))
        .route("/v1/decisions", get(decisions))
        .route("/v1/sessions", get(list))
        .route("/v1/sessions/{id}", get(show))
        .route("/v1/sessions/{id}/close", post(close))
        .route("/v1/sessions/{id}/stop", post(stop))
        .route("/v1/sessions/{id}/resume", post(resume))
        .route("/v1/sessions/{id}/logs", get(logs))
        .route("/v1/sessions/{id}/diff", post(diff))
        .route("/v1/sessions/{id}/kept", get(kept))
        .route("/v1/sessions/{id}/kept/{number}", get(kept_content))
}

/// Where a request was typed, as the command line says.
#[derive(Deserialize)]
struct At {
    #[serde(default)]
    terminal: Option<String>,
}

async fn run(
    State(daemon): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(at): Query<At>,
    Json(request): Json<RunRequest>,
) -> Response {
    let by = standing::actor(peer.0, at.terminal.as_deref());
    stream_of(move |report| async move { daemon.run_by(by, request, report).await })
}

async fn decisions(
    State(daemon): App,
    Query(request): Query<DecisionsRequest>,
) -> Answer<Decisions> {
    Ok(Json(daemon.decisions(&request)?))
}

async fn close(State(daemon): App, Path(id): Path<SessionId>) -> Response {
    stream_of(move |report| async move { daemon.close(&id, &report).await })
}

async fn list(State(daemon): App) -> Answer<Vec<Session>> {
    Ok(Json(daemon.sessions()?))
}

async fn show(State(daemon): App, Path(id): Path<SessionId>) -> Answer<SessionView> {
    Ok(Json(daemon.session_view(&id)?))
}

async fn stop(State(daemon): App, Path(id): Path<SessionId>) -> Response {
    stream_of(move |report| async move {
        daemon.stop_session(&id).await?;
        daemon.close(&id, &report).await
    })
}

async fn resume(State(daemon): App, Path(id): Path<SessionId>) -> Answer<Session> {
    Ok(Json(daemon.resume_session(&id).await?))
}

async fn logs(State(daemon): App, Path(id): Path<SessionId>) -> Result<Vec<u8>, Failure> {
    daemon.session(&id)?;
    Ok(daemon.session_log(&id)?)
}

async fn diff(
    State(daemon): App,
    Path(id): Path<SessionId>,
    Json(request): Json<SessionDiffRequest>,
) -> Answer<SessionDiffView> {
    Ok(Json(daemon.session_diff(&id, request).await?))
}

async fn kept(State(daemon): App, Path(id): Path<SessionId>) -> Answer<Vec<KeptView>> {
    Ok(Json(daemon.kept(&id).await?))
}

async fn kept_content(
    State(daemon): App,
    Path((id, number)): Path<(SessionId, u64)>,
) -> Result<Body, Failure> {
    Ok(daemon.kept_content(&id, number).await?)
}
