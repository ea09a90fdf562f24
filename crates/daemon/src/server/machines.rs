//! Machines.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{Json, Response};
use axum::routing::{delete, get, post};
use ringfence_model::api::{MachineAct, MachineRequest};
use ringfence_model::name::MachineName;
use ringfence_model::status::MachineStatus;

use super::{Answer, App, Failure, stream_of};
use crate::supervisor::Daemon;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/machines", get(list).post(create))
        .route("/v1/machines/{name}", delete(remove))
        .route("/v1/machines/{name}/logs", get(logs))
        .route("/v1/machines/{name}/{act}", post(act))
}

async fn list(State(daemon): App) -> Answer<Vec<MachineStatus>> {
    Ok(Json(daemon.status().await?.machines))
}

async fn create(State(daemon): App, Json(request): Json<MachineRequest>) -> Response {
    stream_of(move |report| async move { daemon.create_machine(&request, &report).await })
}

async fn act(State(daemon): App, Path((name, act)): Path<(MachineName, MachineAct)>) -> Response {
    stream_of(move |report| async move { daemon.machine_act(&name, act, &report).await })
}

async fn remove(State(daemon): App, Path(name): Path<MachineName>) -> Response {
    stream_of(move |report| async move { daemon.delete_machine(&name, &report).await })
}

async fn logs(State(daemon): App, Path(name): Path<MachineName>) -> Result<Vec<u8>, Failure> {
    Ok(daemon.machine_log(&name).await?)
}
