//! The API: HTTP/JSON over a Unix socket, one file a noun, the same in every caller.
//!
//! Owns: routes, the caller's identity, turning results into answers. Must not: decide or
//! do anything itself.

mod config;
mod folders;
mod history;
mod images;
mod machines;
mod runs;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::{Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures_util::{Stream, StreamExt, stream};
use ringfence_model::api::{API_VERSION, Finding, Item, Version};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::status::Status;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::net::unix::UCred;

use crate::supervisor::Daemon;
use crate::supervisor::report::{Report, Told};

type App = State<Arc<Daemon>>;

/// An error as an answer: its kind is in the body, the status only says whose fault it is.
pub(crate) struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ErrorKind::Usage | ErrorKind::Config => StatusCode::BAD_REQUEST,
            ErrorKind::Refused => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Failure>;

#[derive(Clone, Copy)]
struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().as_ref().map(UCred::uid).ok())
    }
}

/// Serves the API until `shutdown` resolves.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    daemon: Arc<Daemon>,
    listener: UnixListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    let routes = Router::new()
        .route("/v1/version", get(version))
        .route("/v1/status", get(status))
        .route("/v1/doctor", get(doctor))
        .route("/v1/shutdown", post(stop))
        .merge(runs::routes())
        .merge(config::routes())
        .merge(folders::routes())
        .merge(machines::routes())
        .merge(images::routes())
        .merge(history::routes())
        .fallback(unknown)
        .with_state(daemon);
    axum::serve(listener, belonging_to(owner, routes).into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(shutdown)
        .await
}

fn belonging_to(owner: u32, routes: Router) -> Router {
    routes.layer(middleware::from_fn(move |request, next| only(owner, request, next)))
}

/// Lets only the daemon's own user in (and root, who could do anything anyway).
async fn only(owner: u32, request: Request<Body>, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().and_then(|info| info.0.0);
    if peer.is_some_and(|uid| uid == owner || uid == 0) {
        next.run(request).await
    } else {
        let error = ApiError::new(ErrorKind::Refused, "this daemon belongs to another user");
        Failure(error).into_response()
    }
}

async fn unknown() -> Failure {
    Failure(
        ApiError::new(ErrorKind::Daemon, "the daemon does not know this request")
            .hint("command line and daemon differ in version: ringfence daemon restart"),
    )
}

async fn version() -> Json<Version> {
    Json(Version {
        api: API_VERSION,
        package: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_by: crate::host::facts::started_by(),
    })
}

async fn status(State(daemon): App) -> Answer<Status> {
    Ok(Json(daemon.status().await?))
}

async fn doctor(State(daemon): App) -> Json<Vec<Finding>> {
    Json(daemon.doctor().await)
}

async fn stop(State(daemon): App) -> Json<()> {
    daemon.request_shutdown();
    Json(())
}

/// Runs a long act in a task of its own and streams what it tells, then its outcome.
/// The act goes on when the caller hangs up.
fn stream_of<T, F>(act: impl FnOnce(Report) -> F) -> Response
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    let (report, told) = Report::channel();
    let outcome = tokio::spawn(act(report));
    let told =
        stream::unfold(told, |mut told| async { told.recv().await.map(|item| (item, told)) })
            .map(|item: Told| line(&Item::<T>::from(item)));
    let last = stream::once(async {
        line(&match outcome.await {
            Ok(Ok(value)) => Item::Done(value),
            Ok(Err(error)) => Item::Error(error),
            Err(panic) => {
                Item::Error(ApiError::new(ErrorKind::Failed, format!("internal error: {panic}")))
            }
        })
    });
    let body: std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>> = Box::pin(told.chain(last));
    let body = Body::from_stream(body.map(Ok::<_, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn line<T: Serialize>(item: &Item<T>) -> Bytes {
    let mut text = serde_json::to_vec(item).unwrap_or_else(|error| {
        // Only a bug of ours gets here; the caller must see an end all the same.
        format!("{{\"error\":{{\"kind\":\"failed\",\"message\":\"{error}\"}}}}").into_bytes()
    });
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    use super::*;

    /// Asks as whoever it is run as, and prints the answer's first line.
    const ASK: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(100).split(b'\\r\\n')[0].decode())";

    #[tokio::test(flavor = "multi_thread")]
    async fn another_user_is_not_answered() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can ask as somebody else.
        }
        let directory = tempfile::tempdir().expect("directory");
        let open = |path: &std::path::Path| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("mode");
        };
        open(directory.path());
        // Even where the socket itself would let anybody in.
        let path = directory.path().join("daemon.sock");
        let listener = UnixListener::bind(&path).expect("listens");
        open(&path);
        let (owner, other) = (65_533, 65_534);
        let routes = belonging_to(owner, Router::new().route("/", get(|| async { "hello" })));
        let served = routes.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(listener, served).await });
        for (uid, answer) in [(owner, "200"), (0, "200"), (other, "403")] {
            #[expect(clippy::disallowed_methods, reason = "somebody else has to ask")]
            let mut python = std::process::Command::new("python3");
            let said = python.args(["-c", ASK]).arg(&path).uid(uid).output().expect("python");
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(said.contains(answer), "{uid}: {said}");
        }
    }
}
