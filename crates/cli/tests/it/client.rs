//! The client against a server on a real socket.

use hyper::Method;
use ringfence_cli::client::{Client, Event, Route};
use ringfence_model::error::{ApiError, ErrorKind};
use serde_json::json;

use crate::support::{Home, Reply, error};

fn client(home: &Home) -> Client {
    Client::new(home.socket(), None)
}

/// Asks for a stream of `Item<u32>`.
fn stream(client: &Client) -> (Result<u32, ApiError>, Vec<Event>) {
    let mut events = Vec::new();
    let route = Route::new("/v1/long");
    let result = block_on(client.stream(Method::POST, &route, &(), |event| events.push(event)));
    (result, events)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

#[test]
fn a_stream_is_events_and_then_a_result_however_it_is_cut() {
    let home = Home::new();
    let _server = home.serve(&[(
        "POST /v1/long",
        Reply::Chunks(
            vec![
                b"{\"progress\":{\"what\":\"opening ",
                b"snapshot\",\"fraction\":0.5}}\n\n{\"note\":\"look\"}\n{\"do",
                b"ne\":7}\n",
            ],
            false,
        ),
    )]);
    let (result, events) = stream(&client(&home));
    assert_eq!(result, Ok(7));
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(matches!(&events[0], Event::Progress(p) if p.what == "opening snapshot"));
    assert_eq!(events[1], Event::Note("look".into()));
}

#[test]
fn an_error_in_a_stream_keeps_its_kind() {
    let home = Home::new();
    let _server = home.serve(&[(
        "POST /v1/long",
        Reply::Stream(vec![json!({ "error": error("vault", "disk full") })]),
    )]);
    let failed = stream(&client(&home)).0.expect_err("failed");
    assert_eq!((failed.kind, failed.message.as_str()), (ErrorKind::Vault, "disk full"));
}

#[test]
fn a_stream_without_an_end_is_a_dead_daemon() {
    for breaks in [false, true] {
        let home = Home::new();
        let _server = home
            .serve(&[("POST /v1/long", Reply::Chunks(vec![b"{\"note\":\"x\"}\n{\"do"], breaks))]);
        let failed = stream(&client(&home)).0.expect_err("failed");
        assert_eq!(failed.kind, ErrorKind::Daemon, "{failed:?}");
        assert!(!failed.hints.is_empty());
    }
}

#[test]
fn what_is_no_item_is_said_aloud() {
    let home = Home::new();
    let _server = home.serve(&[("POST /v1/long", Reply::Stream(vec![json!({ "surprise": 1 })]))]);
    let failed = stream(&client(&home)).0.expect_err("failed");
    assert!(failed.message.contains("cannot be understood"), "{failed:?}");
}

#[test]
fn errors_of_short_calls() {
    let home = Home::new();
    let _server = home.serve(&[
        ("GET /v1/refused", Reply::Json(403, error("refused", "a rule says no"))),
        ("GET /v1/broken", Reply::Json(500, json!("panic"))),
    ]);
    let client = client(&home);
    let ask = |path: &str| block_on(client.get::<u32>(&Route::new(path))).expect_err("failed");
    assert_eq!(ask("/v1/refused").kind, ErrorKind::Refused);
    let broken = ask("/v1/broken");
    assert_eq!(broken.kind, ErrorKind::Daemon);
    assert!(broken.message.contains("500"), "{broken:?}");
}

#[test]
fn another_version_is_not_talked_to() {
    let home = Home::new();
    let server = home.serve(&[(
        "GET /v1/version",
        Reply::Json(200, json!({ "api": 99, "package": "9.9.9", "pid": 1 })),
    )]);
    let failed = block_on(client(&home).get::<u32>(&Route::new("/v1/status"))).expect_err("failed");
    assert_eq!(failed.kind, ErrorKind::Daemon);
    assert_eq!(failed.hints, ["ringfence daemon restart"]);
    assert_eq!(server.seen(), []);
}

#[test]
fn no_socket_and_a_dead_socket_are_no_daemon() {
    let home = Home::new();
    let ask = || block_on(client(&home).get::<u32>(&Route::new("/v1/status"))).expect_err("failed");
    assert_eq!(ask().kind, ErrorKind::Daemon);
    // Bound once, and nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(home.socket()).expect("bound"));
    assert_eq!(ask().kind, ErrorKind::Daemon);
}
