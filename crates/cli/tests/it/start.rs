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

/// Puts the units for this home where its user's systemd would look, and a `systemctl` that does
/// what `script` says.
fn install_units(home: &Home, script: &str) {
    let units = home.path("work/.config/systemd/user");
    std::fs::create_dir_all(&units).expect("a directory");
    let text = ringfence_model::service::socket_unit(&home.socket()).expect("a unit");
    std::fs::write(units.join("ringfence.socket"), text).expect("written");
    home.script(
        "systemctl",
        &format!("#!/bin/sh\necho \"$*\" >>'{}'\n{script}\n", home.path("told").display()),
    );
}

fn run_with_units(home: &Home, arguments: &[&str]) -> Ran {
    let path = format!("{}:/usr/bin:/bin", home.path("bin").display());
    let mut command = home.command(arguments);
    Ran::from(command.env("HOME", home.path("work")).env("PATH", path).output().expect("it starts"))
}

#[test]
fn where_systemd_keeps_it_systemd_starts_it() {
    let home = home_with_daemon();
    // As systemd does, it waits until somebody listens.
    let become_it = format!(
        "case \"$*\" in *'start ringfence.service')\n\
         setsid '{}' serve >/dev/null 2>&1 &\n\
         until [ -S '{}' ]; do sleep 0.05; done;; esac",
        home.path("bin/ringfenced").display(),
        home.socket().display()
    );
    install_units(&home, &become_it);
    run_with_units(&home, &["status", "--json"]).expect(0);
    let told = std::fs::read_to_string(home.path("told")).expect("it was told");
    assert!(told.contains("--user --quiet start ringfence.socket\n"), "{told}");
    assert!(told.contains("--user --quiet start ringfence.service\n"), "{told}");
    home.run(&["daemon", "stop"]).expect(0);
}

#[test]
fn units_of_another_home_and_a_systemd_that_is_away_change_nothing() {
    let home = home_with_daemon();
    install_units(&home, "echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    run_with_units(&home, &["status", "--json"]).expect(0);
    run_with_units(&home, &["daemon", "stop"]).expect(0);
    let told = std::fs::read_to_string(home.path("told")).expect("it was asked");
    assert!(told.contains("start ringfence.socket"), "{told}");

    let other = Home::new();
    install_units(&home, "exit 0");
    let unit = home.path("work/.config/systemd/user/ringfence.socket");
    let text = ringfence_model::service::socket_unit(&other.socket()).expect("a unit");
    std::fs::write(unit, text).expect("written");
    std::fs::remove_file(home.path("told")).expect("forgotten");
    run_with_units(&home, &["status", "--json"]).expect(0);
    assert!(!home.path("told").exists(), "it is another Ringfence's");
    home.run(&["daemon", "stop"]).expect(0);
}

#[test]
fn a_service_that_does_not_come_up_says_why() {
    let home = home_with_daemon();
    install_units(&home, "echo 'Job for ringfence.service failed.' >&2; exit 1");
    let ran = run_with_units(&home, &["status"]).expect(7);
    assert!(ran.stderr.contains("because: Job for ringfence.service failed."), "{}", ran.stderr);
    assert!(ran.stderr.contains("journalctl --user -u ringfence.service"), "{}", ran.stderr);
}

#[test]
fn a_stopped_service_is_not_started_by_the_question() {
    let home = home_with_daemon();
    install_units(&home, "case \"$*\" in *is-active*) echo inactive; exit 3;; esac");
    let ran = run_with_units(&home, &["daemon", "status"]).expect(7);
    assert!(ran.stderr.contains("it was stopped"), "{}", ran.stderr);
    assert!(!home.path("home/served").exists());
}

#[test]
fn without_systemd_nothing_is_installed() {
    if Path::new("/run/systemd/system").exists() {
        return; // There is one.
    }
    let home = Home::new();
    let ran = run_with_units(&home, &["daemon", "install", "--linger"]).expect(1);
    assert!(ran.stderr.contains("not started by systemd"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: "), "{}", ran.stderr);
    assert!(!home.path("work/.config").exists(), "nothing was written");
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
