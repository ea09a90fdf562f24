//! The configuration and the profiles in it.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::{get, post};
use ringfence_model::config::{ConfigView, ConfigWrite, ProfileChange, ProfileRemoval};
use ringfence_model::status::ProfileView;

use super::{Answer, App};
use crate::supervisor::Daemon;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/profiles", get(profiles))
        .route("/v1/profiles/set", post(set_profile))
        .route("/v1/profiles/remove", post(remove_profile))
        .route("/v1/config", get(show))
        .route("/v1/config/write", post(write))
        .route("/v1/config/migrate", post(migrate))
}

async fn profiles(State(daemon): App) -> Answer<Vec<ProfileView>> {
    Ok(Json(daemon.profile_views()?))
}

async fn set_profile(State(daemon): App, Json(request): Json<ProfileChange>) -> Answer<()> {
    Ok(Json(daemon.set_profile(&request)?))
}

async fn remove_profile(State(daemon): App, Json(request): Json<ProfileRemoval>) -> Answer<()> {
    Ok(Json(daemon.remove_profile(&request)?))
}

async fn show(State(daemon): App) -> Answer<ConfigView> {
    Ok(Json(daemon.config_view()?))
}

async fn write(State(daemon): App, Json(request): Json<ConfigWrite>) -> Answer<()> {
    Ok(Json(daemon.write_config(request)?))
}

async fn migrate(State(daemon): App) -> Answer<Vec<PathBuf>> {
    Ok(Json(daemon.config.migrate()?))
}
