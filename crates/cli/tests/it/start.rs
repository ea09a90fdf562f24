//! The daemon on demand. Beside the copied program lies a script in the daemon's place:
//! it becomes the ignored test at the end of this file, which holds the lock and serves.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Home, Ran, Reply};

/// A home whose `ringfenced` is the test at the end of this file.
fn home_with_daemon() -> Home {
    let home = Home::new();
    let tests = std::env::current_exe().expect("the tests");
    home.script(
        "ringfenced",
        &format!(
            "#!/bin/sh\n[ \"$*\" = serve ] || exit 9\nexec '{}' --ignored --exact start::the_daemon_of_these_tests\n",
            tests.display()
        ),
    );
    home
}

#[test]
fn it_starts_by_itself_in_a_session_of_its_own() {
    let home = home_with_daemon();
    home.run(&["status", "--json"]).expect(0);
    let record = std::fs::read_to_string(home.path("home/served")).expect("it served");
    let (pid, session) = record.trim().split_once(' ').expect("two numbers");
    assert_eq!(pid, session, "it leads its own session");
    let ran = home.run(&["daemon", "status"]).expect(0);
    assert!(ran.stdout.contains(&format!("process {pid}.")), "{}", ran.stdout);
    home.run(&["daemon", "stop"]).expect(0);
    home.run(&["daemon", "status"]).expect(7);
}

#[test]
fn a_crowd_starts_one() {
    let home = home_with_daemon();
    let children: Vec<_> = (0..6)
        .map(|_| {
            let mut command = home.command(&["status", "--json"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("it starts")
        })
        .collect();
    for child in children {
        Ran::from(child.wait_with_output().expect("it ends")).expect(0);
    }
    let served = std::fs::read_to_string(home.path("home/served")).expect("it served");
    assert_eq!(served.lines().count(), 1, "{served}");
    home.run(&["daemon", "stop"]).expect(0);
}

#[test]
fn a_restart_is_another_process() {
    let home = home_with_daemon();
    home.run(&["daemon", "start"]).expect(0);
    home.run(&["daemon", "restart"]).expect(0);
    let served = std::fs::read_to_string(home.path("home/served")).expect("it served");
    assert_eq!(served.lines().count(), 2, "{served}");
    home.run(&["daemon", "stop"]).expect(0);
}

#[test]
fn why_it_does_not_start_is_told() {
    let home = Home::new();
    let started = Instant::now();
    let ran = home.run(&["status"]).expect(7);
    assert!(ran.stderr.contains("ringfenced was not found"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: "), "{}", ran.stderr);
    home.run(&["run", "--yes", "--", "true"]).expect(255);

    home.script("ringfenced", "#!/bin/sh\necho 'config.toml:3:1: unknown key' >&2\nexit 3\n");
    let ran = home.run(&["status"]).expect(3);
    assert!(ran.stderr.contains("because: config.toml:3:1: unknown key"), "{}", ran.stderr);
    home.run(&["run", "--yes", "--", "true"]).expect(253);
    // A failure that cannot mean that another daemon is on its way is not waited for.
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
#[ignore = "not a test but the daemon that the others start"]
fn the_daemon_of_these_tests() {
    let home = PathBuf::from(
        std::env::vars_os()
            .find(|(name, _)| name == "RINGFENCE_HOME")
            .map(|(_, value)| value)
            .expect("started by a test of this file"),
    );
    let lock = std::fs::File::create(home.join("lock")).expect("a lock");
    if lock.try_lock().is_err() {
        std::process::exit(7);
    }
    serve_until_stopped(&home);
}

fn serve_until_stopped(home: &Path) {
    let pid = rustix::process::getpid().as_raw_nonzero();
    let session = rustix::process::getsid(None).expect("a session").as_raw_nonzero();
    let mut record = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("served"))
        .expect("a record");
    writeln!(record, "{pid} {session}").expect("written");
    let socket = home.join("run/daemon.sock");
    let _ = std::fs::remove_file(&socket);
    let version =
        json!({ "api": ringfence_model::api::API_VERSION, "package": "test", "pid": pid });
    let server = crate::support::Server::start(
        &socket,
        &[
            ("GET /v1/version", Reply::Json(200, version)),
            ("GET /v1/status", Reply::Json(200, json!({}))),
            ("POST /v1/shutdown", Reply::Json(200, json!(null))),
        ],
    );
    let started = Instant::now();
    // It ends when it is told to, or when its test was killed long ago.
    while !server.seen().iter().any(|seen| seen.what == "POST /v1/shutdown")
        && started.elapsed() < Duration::from_secs(60)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The answer to the shutdown is on its way; the socket goes before the process.
    std::fs::remove_file(&socket).expect("removed");
}
