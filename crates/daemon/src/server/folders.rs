//! Folders.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Query, State};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use ringfence_model::api::{
    ApproveRequest, FolderLookup, FolderRequest, FolderSetRequest, HintRequest,
};
use ringfence_model::health::LeftOut;
use ringfence_model::secret::SecretView;
use ringfence_model::status::FolderStatus;

use super::{Answer, App, Peer, stream_of};
use crate::supervisor::{Daemon, standing};

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/folders", get(list).post(add).delete(remove))
        .route("/v1/folders/lookup", get(lookup))
        .route("/v1/folders/set", post(set))
        .route("/v1/folders/large", get(large))
        .route("/v1/folders/approve", post(approve))
        .route("/v1/folders/hint", post(hint))
        .route("/v1/secrets", get(secrets))
}

async fn list(State(daemon): App) -> Answer<Vec<FolderStatus>> {
    Ok(Json(daemon.status().await?.folders))
}

async fn lookup(State(daemon): App, Query(request): Query<FolderRequest>) -> Answer<FolderLookup> {
    Ok(Json(daemon.lookup(&request.path)?))
}

async fn add(State(daemon): App, Json(request): Json<FolderRequest>) -> Response {
    stream_of(move |report| async move { daemon.add_folder(&request.path, &report).await })
}

async fn remove(State(daemon): App, Query(request): Query<FolderRequest>) -> Answer<PathBuf> {
    Ok(Json(daemon.unregister(&request.path)?.path))
}

async fn set(State(daemon): App, Json(request): Json<FolderSetRequest>) -> Answer<FolderStatus> {
    Ok(Json(daemon.set_folder(&request).await?))
}

async fn approve(State(daemon): App, Json(request): Json<ApproveRequest>) -> Response {
    stream_of(move |report| async move { daemon.approve(request, &report).await })
}

async fn hint(
    State(daemon): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<HintRequest>,
) -> Response {
    let by = standing::actor(peer.0, request.terminal.as_deref());
    stream_of(move |report| async move { daemon.approve_hint(&request, by, &report).await })
}

async fn large(State(daemon): App, Query(request): Query<FolderRequest>) -> Answer<Vec<LeftOut>> {
    Ok(Json(daemon.worth_leaving_out(&request.path).await?))
}

async fn secrets(State(daemon): App) -> Answer<Vec<SecretView>> {
    Ok(Json(daemon.secret_views()?))
}
