//! How sessions end that do not end by themselves, and what they leave behind.

use std::fs;

use ringfence_model::session::Exit;
use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Machine, Running, until};
use crate::session::record;

fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("pid");
    kill_process(pid, signal).expect("signals");
}

#[test]
fn a_lost_connection_is_lost_and_not_255() {
    let Some(mut machine) = Machine::start() else { return };
    for (id, spec) in [
        ("plain", machine.spec("plain", &["sh", "-c", "echo; exec sleep 1000"])),
        ("tty", machine.terminal_spec("tty", &["sleep", "1000"])),
    ] {
        let mut session = Running::start(spec);
        let mut client = session.attach();
        if id == "tty" {
            machine.master.0.kill().expect("kills");
        } else {
            client.wait_for("\n");
            kill(session.pid(), Signal::TERM);
        }
        let ended = client.finish();
        if id == "tty" {
            assert_eq!(ended.exit, Exit::Lost);
            assert!(ended.reason.expect("reason").contains("machine shop"));
            assert_eq!(session.exit().exit, Exit::Lost);
        } else {
            assert_eq!(ended.exit, Exit::Signal(15));
            assert_eq!(ended.reason.as_deref(), Some("the session was stopped"));
        }
        session.gone();
    }
    let session = Running::start(machine.spec("late", &["true"]));
    let error = session.said["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("machine shop"), "{error}");
    assert_eq!(session.exit().exit, Exit::Lost);
}

#[test]
fn a_stop_kills_a_command_that_does_not_listen() {
    let Some(machine) = Machine::start() else { return };
    let script = "trap '' TERM; echo up; while :; do sleep 0.1; done";
    let mut session = Running::start(machine.terminal_spec("deaf", &["sh", "-c", script]));
    let mut client = session.attach();
    client.wait_for("up");
    kill(session.pid(), Signal::TERM);
    assert_eq!(client.finish().exit, Exit::Signal(9));
    session.gone();
}

#[test]
fn the_command_dies_with_its_session_process() {
    let Some(machine) = Machine::start() else { return };
    if !machine.has_group() {
        return;
    }
    let session = Running::start(machine.spec("dead", &["sh", "-c", "echo $$; exec sleep 1000"]));
    let mut client = session.attach();
    client.wait_for("\n");
    let pid: u32 = client.text().trim().parse().expect("pid");
    kill(session.pid(), Signal::KILL);
    until("the guest kills it", || {
        (!fs::exists(format!("/proc/{pid}")).expect("proc")).then_some(())
    });
}

#[test]
fn the_record_names_the_process_and_no_secret_is_anywhere() {
    let Some(machine) = Machine::start() else { return };
    let session = Running::start(machine.terminal_spec("who", &["sleep", "1000"]));
    let process = record::process(&machine.path("record-who")).expect("reads").expect("is there");
    assert!(process.lives());
    assert_eq!(process.pid, session.pid());
    assert_eq!(session.said["ready"]["process"]["pid"], session.pid());
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", session.pid()));
    let mut pids: Vec<u32> = children
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.push(session.pid());
    for pid in pids {
        for place in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{place}")).expect("reads");
            assert!(!String::from_utf8_lossy(&text).contains("hunter2"), "{place} of {pid}");
        }
    }
    for entry in fs::read_dir(machine.path("record-who")).expect("lists") {
        let entry = entry.expect("entry");
        let text = fs::read(entry.path()).expect("reads");
        assert!(!String::from_utf8_lossy(&text).contains("hunter2"), "{:?}", entry.path());
    }
    kill(session.pid(), Signal::TERM);
    assert_eq!(session.exit().exit, Exit::Signal(15));
}
