//! Snapshots, differences, restores: what the vaults can tell and do.

use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Query, State};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use ringfence_model::api::{
    BackupCopyRequest, BackupKeyView, BackupNowRequest, BackupSetRequest, DiffRequest,
    HistoryQuery, MountRequest, MountView, PauseRequest, RecoverRequest, RestoreRequest, ShowQuery,
    UndeleteRequest, UndoRequest,
};
use ringfence_model::health::{CheckRequest, RepairRequest};
use ringfence_model::history::{DiffView, HistoryView, ShowView, SnapshotView};
use ringfence_model::prune::{PinRequest, PruneRequest};
use ringfence_model::status::FolderStatus;

use super::{Answer, App, Failure, Peer, stream_of};
use crate::supervisor::{Daemon, standing};

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/history", get(history))
        .route("/v1/diff", post(diff))
        .route("/v1/show", get(show))
        .route("/v1/entry", get(entry))
        .route("/v1/restore", post(restore))
        .route("/v1/undelete", post(undelete))
        .route("/v1/undo", post(undo))
        .route("/v1/backup/now", post(backup_now))
        .route("/v1/backup/accept", post(accept))
        .route("/v1/backup/check", post(check))
        .route("/v1/backup/repair", post(repair))
        .route("/v1/backup/key", get(key))
        .route("/v1/backup/set", post(set))
        .route("/v1/backup/pin", post(pin))
        .route("/v1/backup/prune", post(prune))
        .route("/v1/backup/pause", post(pause))
        .route("/v1/backup/resume", post(resume))
        .route("/v1/backup/copy", post(copy))
        .route("/v1/backup/recover", post(recover))
        .route("/v1/backup/mount", post(mount))
}

async fn history(State(daemon): App, Query(query): Query<HistoryQuery>) -> Answer<HistoryView> {
    Ok(Json(daemon.history(query).await?))
}

async fn diff(State(daemon): App, Json(request): Json<DiffRequest>) -> Answer<DiffView> {
    Ok(Json(daemon.diff(request).await?))
}

async fn show(
    State(daemon): App,
    Query(query): Query<ShowQuery>,
) -> Result<axum::body::Body, Failure> {
    Ok(daemon.show(query).await?)
}

async fn entry(State(daemon): App, Query(query): Query<ShowQuery>) -> Answer<ShowView> {
    Ok(Json(daemon.entry(query).await?))
}

async fn restore(State(daemon): App, Json(request): Json<RestoreRequest>) -> Response {
    stream_of(move |report| async move { daemon.restore(request, &report).await })
}

async fn undelete(State(daemon): App, Json(request): Json<UndeleteRequest>) -> Response {
    stream_of(move |report| async move { daemon.undelete(request, &report).await })
}

async fn undo(State(daemon): App, Json(request): Json<UndoRequest>) -> Response {
    stream_of(move |report| async move { daemon.undo(request, &report).await })
}

async fn backup_now(State(daemon): App, Json(request): Json<BackupNowRequest>) -> Response {
    stream_of(move |report| async move { daemon.backup_now(&request.folder, &report).await })
}

async fn accept(State(daemon): App, Json(request): Json<BackupNowRequest>) -> Answer<FolderStatus> {
    Ok(Json(daemon.backup_accept(&request.folder).await?))
}

async fn check(State(daemon): App, Json(request): Json<CheckRequest>) -> Response {
    stream_of(move |report| async move { daemon.check(request, &report).await })
}

async fn repair(State(daemon): App, Json(request): Json<RepairRequest>) -> Response {
    stream_of(move |report| async move { daemon.repair(request, &report).await })
}

async fn key(State(daemon): App, Query(query): Query<BackupNowRequest>) -> Answer<BackupKeyView> {
    Ok(Json(daemon.backup_key(&query.folder)?))
}

async fn set(
    State(daemon): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<BackupSetRequest>,
) -> Answer<FolderStatus> {
    let by = standing::actor(peer.0, request.terminal.as_deref());
    Ok(Json(daemon.backup_set(&request, by).await?))
}

async fn pause(
    State(daemon): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<PauseRequest>,
) -> Answer<FolderStatus> {
    let by = standing::actor(peer.0, request.terminal.as_deref());
    Ok(Json(daemon.backup_pause(&request, by)?))
}

async fn resume(State(daemon): App, Json(request): Json<BackupNowRequest>) -> Answer<FolderStatus> {
    Ok(Json(daemon.backup_resume(&request.folder)?))
}

async fn pin(
    State(daemon): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<PinRequest>,
) -> Answer<SnapshotView> {
    let by = standing::actor(peer.0, request.terminal.as_deref());
    Ok(Json(daemon.set_pin(&request, by).await?))
}

async fn prune(State(daemon): App, Json(request): Json<PruneRequest>) -> Response {
    stream_of(move |report| async move { daemon.prune(request, &report).await })
}

async fn copy(State(daemon): App, Json(request): Json<BackupCopyRequest>) -> Response {
    stream_of(move |report| async move { daemon.copy_now(&request, &report).await })
}

async fn recover(State(daemon): App, Json(request): Json<RecoverRequest>) -> Response {
    stream_of(move |report| async move { daemon.recover_copy(request, &report).await })
}

async fn mount(State(daemon): App, Json(request): Json<MountRequest>) -> Answer<MountView> {
    Ok(Json(daemon.mount_snapshots(&request).await?))
}
