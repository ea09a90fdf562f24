//! `run`, `exec` and `shell`: first contact, the request, the end and its exit code.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ringfence_model::attach::{FromSession, header, parse_header};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Home, Ran, Reply, Server, error};

/// Reads a client's first frame, which is `Hello`.
pub(crate) fn greeted(stream: &mut UnixStream) -> Value {
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("a header");
    let (kind, length) = parse_header(head).expect("a header");
    assert_eq!(kind, 5, "the first frame is Hello");
    let mut hello = vec![0; length];
    stream.read_exact(&mut hello).expect("a payload");
    serde_json::from_slice(&hello).expect("JSON")
}

/// Sends a client one frame.
pub(crate) fn send(stream: &mut UnixStream, kind: FromSession, payload: &[u8]) {
    let head = header(kind as u8, payload.len()).expect("short");
    stream.write_all(&head).and_then(|()| stream.write_all(payload)).expect("sent");
}

/// A session's process that greets on standard output, warns on standard error, and ends.
struct Session {
    socket: PathBuf,
    thread: std::thread::JoinHandle<Value>,
}

impl Session {
    /// `last`: the JSON of the frame `Ended`; `None`: the process dies.
    fn start(home: &Home, last: Option<Value>) -> Self {
        Self::ending(home, last, false)
    }

    /// One that says nothing more until its client leaves.
    fn standing(home: &Home) -> Self {
        Self::ending(home, None, true)
    }

    fn ending(home: &Home, last: Option<Value>, stands: bool) -> Self {
        let socket = home.path("home/run/s.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let hello = greeted(&mut stream);
            let mut send = |kind, payload: &[u8]| send(&mut stream, kind, payload);
            send(FromSession::Welcome, b"{\"terminal\":false,\"writer\":true}");
            send(FromSession::Stdout, b"out\x00put\n");
            send(FromSession::Stderr, b"warning\n");
            if let Some(last) = last {
                send(FromSession::Ended, last.to_string().as_bytes());
            }
            if stands {
                stream.read_to_end(&mut Vec::new()).expect("it leaves");
            }
            hello
        });
        Self { socket, thread }
    }
}

pub(crate) fn lookup(home: &Home, registered: bool) -> Reply {
    let work = home.path("work");
    let registered = registered.then_some(&work);
    Reply::Json(
        200,
        json!({ "registered": registered, "canonical": work, "guest_path": work, "vaults": "/v" }),
    )
}

/// A session that ended with 7.
pub(crate) fn summary(home: &Home, state: Value) -> Reply {
    let mut session = json!({
        "id": "s-1", "profile": "shell", "machine": "m", "folder": "f1", "folder_path": home.path("work"),
        "command": ["sh"], "started": "2026-11-23T13:00:00Z", "ended": "2026-11-23T13:00:40Z",
        "exit": { "code": 7 }, "opening_snapshot": null, "closing_snapshot": null,
    });
    for (key, value) in state.as_object().expect("an object") {
        session[key] = value.clone();
    }
    Reply::Stream(vec![
        json!({ "progress": { "what": "closing snapshot" } }),
        json!({ "done": { "session": session,
            "changes": { "added": 1, "changed": 3, "deleted": 1204, "metadata": 0 },
            "exit_check": { "hazards": [{ "path": ".git/hooks/pre-commit", "kind": "git-hook",
                "danger": "runs-by-itself", "why": "git runs it by itself; new", "state": "held" }] } } }),
    ])
}

/// A daemon that makes everything ready for a session that listens there.
fn daemon(home: &Home, session: &Session, closed: Value) -> Server {
    closing(home, session, summary(home, closed))
}

/// The same, with any answer to the request to close.
fn closing(home: &Home, session: &Session, closed: Reply) -> Server {
    home.serve(&[
        ("GET /v1/folders/lookup", lookup(home, true)),
        ("GET /v1/machines", Reply::Json(200, json!([]))),
        (
            "POST /v1/run",
            Reply::Stream(vec![
                json!({ "progress": { "what": "opening snapshot", "fraction": 0.5 } }),
                json!({ "note": "machines run in software emulation" }),
                json!({ "done": { "session": "s-1", "socket": session.socket, "machine": "m" } }),
            ]),
        ),
        ("POST /v1/sessions/s-1/close", closed),
    ])
}

#[test]
fn an_unknown_folder_is_refused_where_nobody_can_be_asked() {
    let home = Home::new();
    let server = home.serve(&[("GET /v1/folders/lookup", lookup(&home, false))]);
    let ran = home.run(&["run", "--exit-file", "exit", "--", "true"]).expect(254);
    assert!(ran.stderr.contains("is not under protection yet"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: ringfence run --yes"), "{}", ran.stderr);
    assert_eq!(server.bodies("POST /v1/run"), [] as [Value; 0]);
    let written = std::fs::read_to_string(home.path("work/exit")).expect("written");
    assert_eq!(written, "{\"kind\":\"ringfence\",\"code\":254,\"exit\":null}\n");
}

#[test]
fn a_kind_becomes_its_exit_code_around_a_command() {
    for (kind, code) in [
        ("frozen", 250),
        ("failed", 251),
        ("usage", 252),
        ("config", 253),
        ("refused", 254),
        ("engine", 255),
        ("vault", 255),
        ("daemon", 255),
    ] {
        let home = Home::new();
        let _server = home.serve(&[
            ("GET /v1/folders/lookup", lookup(&home, true)),
            ("POST /v1/run", Reply::Stream(vec![json!({ "error": error(kind, "no") })])),
        ]);
        home.run(&["run", "--", "true"]).expect(code);
    }
}

#[test]
fn a_machine_that_does_not_exist_is_not_made_for_exec() {
    let home = Home::new();
    let _server = home.serve(&[("GET /v1/machines", Reply::Json(200, json!([])))]);
    let ran = home.run(&["exec", "nowhere", "--", "true"]).expect(252);
    assert!(ran.stderr.contains("next: ringfence machine list"), "{}", ran.stderr);
}

#[test]
fn the_inner_exit_code_and_the_output_come_through() {
    let home = Home::new();
    let session = Session::start(&home, Some(json!({ "exit": { "code": 7 }, "reason": null })));
    let server = daemon(&home, &session, json!({ "state": "ended" }));
    let arguments = [
        "run",
        "--network",
        "offline",
        "--guard",
        "warn",
        "--exit-file",
        "exit",
        "--",
        "/bin/sh",
        "-c",
        "x",
    ];
    let output = home.command(&arguments).env("TERM", "xterm").env("SECRET", "x").output();
    let output = output.expect("it starts");
    assert_eq!(output.stdout, b"out\x00put\n");
    let stderr = String::from_utf8_lossy(&output.stderr)
        .replace(home.path("work").to_str().expect("text"), "/x/work");
    insta::assert_snapshot!("run_stderr", stderr);
    assert_eq!(output.status.code(), Some(7));
    let request = server.bodies("POST /v1/run").remove(0);
    assert_eq!(
        request,
        json!({
            "directory": home.path("work"), "working": null, "profile": null, "machine": null,
            "network": "offline", "guard": "warn",
            "arguments": [{ "path": "/bin/sh" }, { "path": "-c" }, { "path": "x" }], "command": true,
            "terminal": null, "environment": [["TERM", "xterm"]], "register": false, "unprotected": null,
        })
    );
    let written = std::fs::read_to_string(home.path("work/exit")).expect("written");
    assert_eq!(written, "{\"kind\":\"inner\",\"code\":7,\"exit\":{\"code\":7}}\n");
    let hello = session.thread.join().expect("a session");
    assert_eq!(hello, json!({ "watch_only": false, "terminal": null }));
}

/// A session that the guard against mass loss stopped.
pub(crate) fn frozen(home: &Home) -> Reply {
    let session = json!({
        "id": "s-1", "profile": "shell", "machine": "m", "folder": "f1", "folder_path": home.path("work"),
        "command": ["sh"], "started": "2026-11-23T13:00:00Z", "ended": null, "exit": null, "state": "frozen",
        "guard": "freeze", "mass_loss": { "files": 500, "at": "2026-11-23T13:00:40Z" },
        "opening_snapshot": null, "closing_snapshot": null,
    });
    Reply::Json(200, session)
}

#[test]
fn a_frozen_session_is_left_as_it_is_where_nobody_can_be_asked() {
    let home = Home::new();
    let session = Session::standing(&home);
    let ready = json!({ "done": { "session": "s-1", "socket": session.socket, "machine": "m" } });
    let server = home.serve(&[
        ("GET /v1/folders/lookup", lookup(&home, true)),
        ("POST /v1/run", Reply::Stream(vec![ready])),
        ("GET /v1/sessions/s-1", frozen(&home)),
    ]);
    let ran = home.run(&["run", "--exit-file", "exit", "--", "sh"]).expect(250);
    for said in ["500 files", "ringfence session undo s-1", "ringfence session resume s-1"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let written = std::fs::read_to_string(home.path("work/exit")).expect("written");
    assert_eq!(written, "{\"kind\":\"ringfence\",\"code\":250,\"exit\":null}\n");
    assert_eq!(server.bodies("POST /v1/sessions/s-1/close"), [] as [Value; 0]);
    session.thread.join().expect("its client left");
}

#[test]
fn quiet_is_quiet() {
    let home = Home::new();
    let session = Session::start(&home, Some(json!({ "exit": { "code": 0 }, "reason": null })));
    let server = daemon(&home, &session, json!({ "state": "ended" }));
    let ran = home.run(&["--quiet", "run", "claude", "--yes", "--", "--version"]).expect(0);
    assert_eq!(ran.stderr, "warning\n");
    let request = server.bodies("POST /v1/run").remove(0);
    assert_eq!((&request["profile"], &request["command"]), (&json!("claude"), &json!(false)));
    assert_eq!(request["register"], true);
}

#[test]
fn a_lost_session_is_never_an_inner_code() {
    for last in [None, Some(json!({ "exit": "lost", "reason": "ssh ended" }))] {
        let home = Home::new();
        let session = Session::start(&home, last);
        let _server = daemon(&home, &session, json!({ "state": "ended", "exit": "lost" }));
        let ran = home.run(&["run", "--exit-file", "exit", "--", "sh"]).expect(255);
        assert!(ran.stderr.contains("error: lost"), "{}", ran.stderr);
        let written = std::fs::read_to_string(home.path("work/exit")).expect("written");
        assert!(written.starts_with("{\"kind\":\"ringfence\",\"code\":255"), "{written}");
    }
}

#[test]
fn a_closing_that_failed_is_told() {
    let home = Home::new();
    let session = Session::start(&home, Some(json!({ "exit": { "code": 0 }, "reason": null })));
    let _server = daemon(&home, &session, json!({ "state": "failed", "reason": "disk full" }));
    let ran = home.run(&["run", "--", "sh"]).expect(255);
    assert!(ran.stderr.contains("session s-1 could not be closed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("because: disk full"), "{}", ran.stderr);
}

#[test]
fn an_interrupted_closing_is_left_to_the_daemon() {
    let home = Home::new();
    let session = Session::start(&home, Some(json!({ "exit": { "code": 7 }, "reason": null })));
    let progress = json!({ "progress": { "what": "closing snapshot" } });
    let server = closing(&home, &session, Reply::Hang(progress));
    let mut command = home.command(&["run", "--", "sh"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let started = Instant::now();
    while server.bodies("POST /v1/sessions/s-1/close").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", server.seen());
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("a process");
    kill_process(pid, Signal::INT).expect("sent");
    let ran = Ran::from(child.wait_with_output().expect("it ends")).expect(7);
    assert!(ran.stderr.contains("The closing snapshot goes on without you"), "{}", ran.stderr);
}

#[test]
fn a_daemon_that_dies_while_closing_is_asked_again() {
    let home = Home::new();
    let session = Session::start(&home, Some(json!({ "exit": { "code": 0 }, "reason": null })));
    let server = closing(&home, &session, Reply::Chunks(vec![b"{\"note\":\"x\"}\n"], true));
    home.run(&["run", "--", "sh"]).expect(255);
    assert_eq!(server.bodies("POST /v1/sessions/s-1/close").len(), 3);
}
