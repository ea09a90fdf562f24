//! A home of its own, the real program in it, and a server that answers what a test says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::StreamExt as _;

/// What the server answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A status and a body.
    Json(u16, Value),
    /// One line each.
    Stream(Vec<Value>),
    /// These chunks, as they are, and then the connection breaks where `bool` says so.
    Chunks(Vec<&'static [u8]>, bool),
    /// This line, and then nothing for ever.
    Hang(Value),
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) what: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// A directory with the program in it, and whatever a test puts beside it.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["home/run", "bin", "work/src"] {
            std::fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        // A copy, because beside the original lies the daemon of the workspace.
        let program = directory.path().join("bin/ringfence");
        std::fs::copy(env!("CARGO_BIN_EXE_ringfence"), program).expect("a copy");
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().expect("exists").join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("home/run/daemon.sock")
    }

    /// The program, not yet started, in the directory `work`.
    #[expect(clippy::disallowed_methods, reason = "this file owns how tests start the program")]
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/ringfence"));
        command
            .args(arguments)
            .current_dir(self.path("work"))
            .env_clear()
            .env("RINGFENCE_HOME", self.path("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().expect("it starts"))
    }

    /// Puts a script beside the program.
    pub(crate) fn script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("bin").join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("executable");
    }

    /// Serves these answers until the server is dropped.
    pub(crate) fn serve(&self, replies: &[(&str, Reply)]) -> Server {
        Server::start(&self.socket(), replies)
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// A daemon's place taken by a server that answers what a test says.
pub(crate) struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start(socket: &Path, replies: &[(&str, Reply)]) -> Self {
        let mut table: BTreeMap<String, Reply> =
            replies.iter().map(|(what, reply)| ((*what).to_owned(), reply.clone())).collect();
        table.entry("GET /v1/version".into()).or_insert(Reply::Json(
            200,
            json!({ "api": ringfence_model::api::API_VERSION, "package": "test", "pid": 1 }),
        ));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = {
            let _context = runtime.enter();
            UnixListener::bind(socket).expect("a socket")
        };
        let (table, record) = (Arc::new(table), Arc::clone(&seen));
        let router = Router::new().fallback(move |request: Request| {
            let (table, record) = (Arc::clone(&table), Arc::clone(&record));
            async move { answer(&table, &record, request).await }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { seen, _runtime: runtime }
    }

    /// What was asked, without the handshakes.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().expect("no panic").clone();
        seen.into_iter().filter(|seen| seen.what != "GET /v1/version").collect()
    }

    /// The bodies of the requests to one route.
    pub(crate) fn bodies(&self, what: &str) -> Vec<Value> {
        self.seen().into_iter().filter(|seen| seen.what == what).map(|seen| seen.body).collect()
    }
}

async fn answer(
    table: &BTreeMap<String, Reply>,
    record: &Mutex<Vec<Seen>>,
    request: Request,
) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    record.lock().expect("no panic").push(Seen { what: what.clone(), query, body });
    let reply = table.get(&what).cloned().unwrap_or_else(|| {
        Reply::Json(404, json!({ "kind": "failed", "message": format!("no answer to {what}") }))
    });
    let (status, body) = match reply {
        Reply::Hang(line) => {
            let first = Ok::<_, std::io::Error>(Bytes::from(format!("{line}\n")));
            let parts = tokio_stream::once(first).chain(tokio_stream::pending());
            (200, Body::from_stream(parts))
        }
        Reply::Json(status, value) => (status, Body::from(value.to_string())),
        Reply::Stream(lines) => {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            (200, Body::from(text))
        }
        Reply::Chunks(chunks, breaks) => {
            let mut parts: Vec<Result<Bytes, std::io::Error>> =
                chunks.into_iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
            if breaks {
                parts.push(Err(std::io::Error::other("killed")));
            }
            (200, Body::from_stream(tokio_stream::iter(parts)))
        }
    };
    Response::builder().status(status).body(body).expect("a response")
}

/// An error as the daemon sends it.
pub(crate) fn error(kind: &str, message: &str) -> Value {
    json!({ "kind": kind, "message": message, "causes": ["because"], "hints": ["type this"] })
}
