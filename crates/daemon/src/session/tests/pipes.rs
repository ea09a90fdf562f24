//! Sessions without a terminal.

use std::io::Write;
use std::time::{Duration, Instant};

use ringfence_model::attach::{self, ClientSignal, FromClient, FromSession};
use ringfence_model::session::Exit;
use sha2::{Digest, Sha256};

use super::harness::{Machine, Running, until};

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

#[test]
fn exit_codes_and_both_outputs_come_through() {
    let Some(machine) = Machine::start() else { return };
    for (id, script, exit) in [
        ("e0", "exit 0", Exit::Code(0)),
        ("e7", "echo out; echo err >&2; exit 7", Exit::Code(7)),
        ("e255", "exit 255", Exit::Code(255)),
        ("s9", "kill -9 $$", Exit::Signal(9)),
        ("env", "test \"$SECRET\" = hunter2 && test \"$PWD\" = /tmp", Exit::Code(0)),
    ] {
        let mut session = Running::start(machine.spec(id, &sh(script)));
        assert!(session.said.get("ready").is_some(), "{}", session.said);
        let mut client = session.attach();
        assert!(client.welcome.writer && !client.welcome.terminal);
        let ended = client.finish();
        assert_eq!((ended.exit, &ended.reason), (exit, &None), "{id}: {:?}", client.text());
        assert_eq!(session.exit().exit, exit);
        session.gone();
        if id == "e7" {
            assert_eq!((&client.stdout[..], &client.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
            assert_eq!(session.recorded(), b"", "a pipe that is read is not recorded");
        }
    }
    let session = Running::start(machine.spec("none", &["/no/such/program"]));
    let ended = session.attach().finish();
    assert_eq!(ended.exit, Exit::Code(127));
    assert!(ended.reason.expect("a reason").contains("cannot be started"));
}

/// Bytes that depend on their place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn many_bytes_pass_both_ways_unchanged() {
    let Some(machine) = Machine::start() else { return };
    let mut session = Running::start(machine.spec("cat", &["cat"]));
    let mut client = session.attach();
    let sent = noise(64 << 20);
    let (more, windows) = std::sync::mpsc::channel::<usize>();
    let mut stream = client.sender();
    let writer = std::thread::spawn(move || {
        let (mut window, mut rest) = (0usize, &sent[..]);
        while !rest.is_empty() {
            while window == 0 {
                window += windows.recv().expect("more window");
            }
            let (piece, after) = rest.split_at(rest.len().min(window).min(32 * 1024));
            let frame = attach::frame(FromClient::Stdin as u8, piece).expect("fits");
            stream.write_all(&frame).expect("sends");
            window -= piece.len();
            rest = after;
        }
        stream
            .write_all(&attach::frame(FromClient::StdinEnd as u8, &[]).expect("fits"))
            .expect("sends");
        Sha256::digest(&sent)
    });
    let mut got = Sha256::new();
    let mut count = 0u64;
    let ended = loop {
        let (kind, payload) = client.frame().expect("goes on");
        match kind {
            FromSession::Stdout => {
                got.update(&payload);
                count += payload.len() as u64;
            }
            FromSession::StdinWindow => {
                let _ = more.send(attach::window(&payload).expect("window"));
            }
            FromSession::Ended => break payload,
            _ => {}
        }
    };
    assert_eq!(count, 64 << 20);
    assert_eq!(got.finalize(), writer.join().expect("joins"));
    assert!(String::from_utf8_lossy(&ended).contains(r#"{"code":0}"#));
    session.gone();
}

#[test]
fn a_reader_that_does_not_read_stalls_the_command_and_costs_little_memory() {
    let Some(machine) = Machine::start() else { return };
    let script = "head -c 134217728 /dev/zero; echo done >&2";
    let session = Running::start(machine.spec("slow", &sh(script)));
    let mut client = session.attach();
    let (kind, first) = loop {
        let (kind, payload) = client.frame().expect("output");
        if kind == FromSession::Stdout {
            break (kind, payload);
        }
    };
    assert_eq!(kind, FromSession::Stdout);
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", session.pid())).expect("runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("memory");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("number");
        assert!(kib < 32 * 1024, "{kib} KiB");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut count = first.len();
    loop {
        let (kind, payload) = client.frame().expect("goes on");
        match kind {
            FromSession::Stdout => count += payload.len(),
            FromSession::Stderr => assert!(count > 1 << 20, "it waited for the reader"),
            FromSession::Ended => break,
            _ => {}
        }
    }
    assert_eq!(count, 134_217_728);
}

#[test]
fn input_that_nobody_reads_does_not_hold_signals_up() {
    let Some(machine) = Machine::start() else { return };
    let script = "trap 'echo got; exit 5' INT; echo up; while :; do sleep 0.1; done";
    let session = Running::start(machine.spec("int", &sh(script)));
    let mut client = session.attach();
    client.wait_for("up");
    // ssh and the pipes swallow some; then the window stays shut.
    let piece = vec![b'x'; 32 * 1024];
    let deadline = Instant::now() + Duration::from_secs(3);
    while client.window >= piece.len() && Instant::now() < deadline {
        client.window -= piece.len();
        client.send(FromClient::Stdin, &piece);
    }
    client.signal(ClientSignal::Int);
    assert_eq!(client.finish().exit, Exit::Code(5));
    assert!(client.text().ends_with("got\n"));
}

#[test]
fn more_input_than_was_asked_for_ends_the_client_not_the_session() {
    let Some(machine) = Machine::start() else { return };
    let session = Running::start(machine.spec("flood", &sh("sleep 4; cat > /dev/null; exit 3")));
    let mut client = session.attach();
    // Far more than ssh and the pipes on the way take in while nobody reads.
    for _ in 0..1024 {
        let frame = attach::frame(FromClient::Stdin as u8, &[0; 32 * 1024]).expect("fits");
        if client.sender().write_all(&frame).is_err() {
            break;
        }
    }
    while client.take().is_some() {}
    assert_eq!(session.exit().exit, Exit::Code(3), "its input ended, as a broken pipe does");
}

#[test]
fn a_closed_output_reaches_the_command_as_in_a_pipeline() {
    let Some(machine) = Machine::start() else { return };
    let session = Running::start(machine.spec("yes", &["yes"]));
    let mut client = session.attach();
    client.wait_for("y\ny\n");
    client.send(FromClient::StdoutClosed, &[]);
    assert_eq!(client.finish().exit, Exit::Signal(13));
}

#[test]
fn what_is_left_over_neither_holds_the_end_up_nor_survives_it() {
    let Some(machine) = Machine::start() else { return };
    if !machine.has_group() {
        return;
    }
    let script = "sleep 1000 & echo $!; exit 3";
    let mut session = Running::start(machine.spec("left", &sh(script)));
    let mut client = session.attach();
    assert_eq!(client.finish().exit, Exit::Code(3));
    let pid: u32 = client.text().trim().parse().expect("pid");
    until("it is killed", || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    session.gone();
    // One that writes without end: cut off, and said.
    let session = Running::start(machine.spec("loud", &sh("yes & echo first; exit 4")));
    let mut client = session.attach();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(session.exit().exit, Exit::Code(4), "the record does not wait for the client");
    assert_eq!(client.finish().exit, Exit::Code(4));
}

#[test]
fn without_a_reader_the_command_goes_on_and_its_output_is_recorded() {
    let Some(machine) = Machine::start() else { return };
    let script = "echo one; read x; echo two; cat; sleep 0.3; echo three; exit 6";
    let mut session = Running::start(machine.spec("away", &sh(script)));
    let mut client = session.attach();
    client.wait_for("one");
    drop(client);
    assert_eq!(session.exit().exit, Exit::Code(6));
    assert_eq!(session.recorded(), b"two\nthree\n");
    session.gone();
}

#[test]
fn a_second_command_line_only_watches() {
    let Some(machine) = Machine::start() else { return };
    let session = Running::start(machine.spec("two", &sh("read x; echo got $x; exit 2")));
    let mut first = session.attach();
    let mut second = session.attach();
    assert!(!second.welcome.writer);
    second.send(FromClient::Stdin, b"wrong\n");
    second.signal(ClientSignal::Term);
    first.type_in("right\n");
    assert_eq!(first.finish().exit, Exit::Code(2));
    assert_eq!(second.finish().exit, Exit::Code(2));
    assert_eq!((first.text(), second.text()), ("got right\n".into(), "got right\n".into()));
}
