//! Images and recipes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{Json, Response};
use axum::routing::{delete, get, post};
use ringfence_model::api::{ImageExportRequest, ImageRequest, ImageView, RecipeView};

use super::{Answer, App, stream_of};
use crate::supervisor::Daemon;

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/images", get(list).post(build))
        .route("/v1/images/export", post(export))
        .route("/v1/images/{hash}", delete(remove))
        .route("/v1/recipes", get(recipes))
}

async fn list(State(daemon): App) -> Answer<Vec<ImageView>> {
    Ok(Json(daemon.image_views()?))
}

async fn build(State(daemon): App, Json(request): Json<ImageRequest>) -> Response {
    stream_of(move |report| async move { daemon.build_image(&request, &report).await })
}

async fn export(State(daemon): App, Json(request): Json<ImageExportRequest>) -> Response {
    stream_of(move |report| async move { daemon.export_image(&request.file, &report).await })
}

async fn remove(State(daemon): App, Path(hash): Path<String>) -> Answer<()> {
    Ok(Json(daemon.remove_image(&hash).await?))
}

async fn recipes(State(daemon): App) -> Json<Vec<RecipeView>> {
    Json(daemon.recipe_views())
}
