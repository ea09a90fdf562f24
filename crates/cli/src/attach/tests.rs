//! The attached command line as a process of its own, on a real terminal or on pipes,
//! against a session that speaks the wire.

#![expect(clippy::disallowed_methods, reason = "starts this binary again as the command line")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ringfence_model::api::TerminalSize;
use ringfence_model::attach::{self, ClientSignal, Ended, FromClient, FromSession, Hello, Welcome};
use ringfence_model::session::Exit;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde::Serialize;

/// Longest wait for anything; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// Written before the attachment's own output: the test runner prints as well.
const BEGIN: &str = "<begin>";

/// Not a test: the command line of the other tests.
#[test]
#[ignore = "is run by the other tests as the command line"]
fn as_command_line() {
    let Ok(socket) = std::env::var("ATTACH_TO") else { return };
    let hello = Hello {
        watch_only: std::env::var_os("ATTACH_WATCH").is_some(),
        terminal: std::env::var_os("ATTACH_TERMINAL").and_then(|_| super::terminal::size()),
    };
    println!("{BEGIN}");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let outcome = runtime.block_on(super::run(Path::new(&socket), hello));
    runtime.shutdown_background();
    std::process::exit(match outcome {
        Ok(ended) => ended.exit.shell_code().into(),
        Err(error) => {
            eprintln!("error: {error}");
            251
        }
    });
}

/// The session's side.
struct Session {
    stream: UnixStream,
    hello: Hello,
}

impl Session {
    fn accept(listener: &UnixListener, terminal: bool) -> Self {
        let (stream, _) = listener.accept().expect("accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let hello = Hello { watch_only: false, terminal: None };
        let mut session = Self { stream, hello };
        let (kind, payload) = session.frame().expect("hello");
        assert_eq!(kind, FromClient::Hello);
        session.hello = serde_json::from_slice(&payload).expect("hello");
        let writer = !session.hello.watch_only;
        session.send_json(FromSession::Welcome, &Welcome { terminal, writer });
        session
    }

    fn send(&mut self, kind: FromSession, payload: &[u8]) {
        let frame = attach::frame(kind as u8, payload).expect("fits");
        self.stream.write_all(&frame).expect("sends");
    }

    fn send_json(&mut self, kind: FromSession, value: &impl Serialize) {
        self.send(kind, &serde_json::to_vec(value).expect("serialises"));
    }

    fn window(&mut self, bytes: u32) {
        self.send(FromSession::StdinWindow, &bytes.to_be_bytes());
    }

    fn end(&mut self, exit: Exit) {
        self.send_json(FromSession::Ended, &Ended { exit, reason: None });
    }

    fn frame(&mut self) -> Option<(FromClient, Vec<u8>)> {
        let mut header = [0; attach::HEADER];
        self.stream.read_exact(&mut header).ok()?;
        let (kind, length) = attach::parse_header(header).expect("header");
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("payload");
        Some((FromClient::from_byte(kind).expect("kind"), payload))
    }

    /// The payload of the next frame of this kind.
    fn wait_for(&mut self, wanted: FromClient) -> Vec<u8> {
        loop {
            let (kind, payload) = self.frame().expect("goes on");
            if kind == wanted {
                return payload;
            }
        }
    }

    fn wait_for_signal(&mut self, wanted: ClientSignal) {
        let payload = self.wait_for(FromClient::Signal);
        assert_eq!(serde_json::from_slice::<ClientSignal>(&payload).expect("signal"), wanted);
    }
}

fn listener() -> (tempfile::TempDir, UnixListener, std::path::PathBuf) {
    let place = tempfile::tempdir().expect("tempdir");
    let path = place.path().join("s");
    (place, UnixListener::bind(&path).expect("binds"), path)
}

fn command(socket: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args(["attach::tests::as_command_line", "--exact", "--include-ignored", "--nocapture"])
        .env("ATTACH_TO", socket);
    command
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("pid");
    kill_process(pid, signal).expect("signals");
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let status = until("it ends", || child.try_wait().expect("waits"));
    assert_eq!(status.signal(), None);
    status.code()
}

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

mod on_pipes {
    use super::*;

    fn start(socket: &Path) -> Child {
        let mut child = command(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawns");
        skip_to_begin(child.stdout.as_mut().expect("stdout"));
        child
    }

    fn skip_to_begin(from: &mut impl Read) {
        let mut seen = Vec::new();
        while !seen.ends_with(format!("{BEGIN}\n").as_bytes()) {
            let mut byte = [0];
            from.read_exact(&mut byte).expect("begins");
            seen.push(byte[0]);
        }
    }

    fn rest(mut from: impl Read) -> Vec<u8> {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("reads");
        all
    }

    #[test]
    fn bytes_pass_and_input_waits_for_the_window() {
        let (_place, listener, path) = listener();
        let mut child = start(&path);
        let mut session = Session::accept(&listener, false);
        assert_eq!(session.hello, Hello { watch_only: false, terminal: None });
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(b"\0\xff\r\n0123").expect("writes");
        drop(stdin);
        session.window(4);
        assert_eq!(session.wait_for(FromClient::Stdin), b"\0\xff\r\n");
        session.window(100);
        assert_eq!(session.wait_for(FromClient::Stdin), b"0123");
        assert_eq!(session.wait_for(FromClient::StdinEnd), b"");
        session.send(FromSession::Stdout, b"\x1b]52;c;aGk=\x07\xff\0");
        session.send(FromSession::Stderr, b"err");
        session.end(Exit::Code(7));
        assert_eq!(exit_code(&mut child), Some(7));
        assert_eq!(rest(child.stdout.take().expect("stdout")), b"\x1b]52;c;aGk=\x07\xff\0");
        assert_eq!(rest(child.stderr.take().expect("stderr")), b"err");
    }

    #[test]
    fn signals_are_passed_on_and_three_in_a_row_leave() {
        let (_place, listener, path) = listener();
        let mut child = start(&path);
        let mut session = Session::accept(&listener, false);
        // Output that nobody reads must not hold signals up.
        let full = vec![b'x'; attach::MAX_PAYLOAD];
        for _ in 0..3 {
            session.send(FromSession::Stdout, &full);
        }
        for (sent, passed) in [
            (Signal::HUP, ClientSignal::Hup),
            (Signal::USR1, ClientSignal::Usr1),
            (Signal::TERM, ClientSignal::Term),
            (Signal::USR2, ClientSignal::Usr2),
            (Signal::INT, ClientSignal::Int),
        ] {
            signal(&child, sent);
            session.wait_for_signal(passed);
        }
        drop(child.stdout.take());
        session.wait_for(FromClient::StdoutClosed);
        // TERM and INT were two.
        signal(&child, Signal::INT);
        session.wait_for_signal(ClientSignal::Int);
        assert_eq!(exit_code(&mut child), Some(251));
        let said = rest(child.stderr.take().expect("stderr"));
        assert!(String::from_utf8_lossy(&said).contains("which goes on"));
    }

    #[test]
    fn a_lost_session_is_said() {
        let (_place, listener, path) = listener();
        let mut child = start(&path);
        drop(Session::accept(&listener, false));
        assert_eq!(exit_code(&mut child), Some(251));
        drop(listener);
        let mut late = start(&path);
        assert_eq!(exit_code(&mut late), Some(251));
        let said = rest(late.stderr.take().expect("stderr"));
        assert!(String::from_utf8_lossy(&said).contains("cannot be reached"));
    }

    #[test]
    fn input_is_not_read_once_the_command_reads_no_more() {
        let (_place, listener, path) = listener();
        let mut child = start(&path);
        let mut session = Session::accept(&listener, false);
        session.send(FromSession::StdinClosed, &[]);
        session.window(1000);
        child.stdin.as_mut().expect("stdin").write_all(b"late").expect("writes");
        session.end(Exit::Signal(9));
        assert_eq!(exit_code(&mut child), Some(137));
        assert_eq!(session.frame(), None);
    }
}

mod on_a_terminal {
    use super::*;

    /// The person's window.
    struct Window {
        pty: File,
        child: Child,
        shown: Receiver<Vec<u8>>,
        text: String,
    }

    impl Window {
        fn open(socket: &Path, watch: bool) -> Self {
            Self::run(&command(socket), watch)
        }

        fn run(what: &Command, watch: bool) -> Self {
            let (pty, slave) = pty_process::blocking::open().expect("pty");
            let pty = File::from(std::os::fd::OwnedFd::from(pty));
            resize(&pty, 24, 80);
            let mut runner = pty_process::blocking::Command::new(what.get_program())
                .args(what.get_args())
                .env("ATTACH_TERMINAL", "1");
            for (name, value) in what.get_envs() {
                runner = runner.env(name, value.expect("set"));
            }
            if watch {
                runner = runner.env("ATTACH_WATCH", "1");
            }
            let child = runner.spawn(slave).expect("spawns");
            let (sender, shown) = channel();
            let mut reader = pty.try_clone().expect("clones");
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(count @ 1..) = reader.read(&mut piece) {
                    if sender.send(piece[..count].to_vec()).is_err() {
                        return;
                    }
                }
            });
            Self { pty, child, shown, text: String::new() }
        }

        fn wait_for(&mut self, text: &str) {
            while !self.text.contains(text) {
                let more = self.shown.recv_timeout(PATIENCE).expect("shows more");
                self.text.push_str(&String::from_utf8_lossy(&more));
            }
        }

        fn is_raw(&self) -> bool {
            !tcgetattr(&self.pty).expect("modes").local_modes.contains(LocalModes::ICANON)
        }

        fn wait_until_raw(&self, raw: bool) {
            until("the mode changes", || (self.is_raw() == raw).then_some(()));
        }

        fn type_in(&mut self, keys: &[u8]) {
            self.pty.write_all(keys).expect("types");
        }
    }

    impl Drop for Window {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn resize(pty: &File, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(pty, size).expect("resizes");
    }

    fn attached(watch: bool) -> (tempfile::TempDir, Window, Session) {
        let (place, listener, path) = listener();
        let mut window = Window::open(&path, watch);
        window.wait_for(BEGIN);
        let session = Session::accept(&listener, true);
        window.wait_until_raw(true);
        (place, window, session)
    }

    #[test]
    fn keys_are_bytes_sizes_are_told_and_the_terminal_comes_back() {
        let (_place, mut window, mut session) = attached(false);
        assert_eq!(session.hello.terminal, Some(TerminalSize { rows: 24, columns: 80 }));
        session.window(100);
        window.type_in(b"a\x03\x1a\x1c\r");
        let mut got = Vec::new();
        while got.len() < 5 {
            got.extend(session.wait_for(FromClient::Stdin));
        }
        assert_eq!(got, b"a\x03\x1a\x1c\r");
        resize(&window.pty, 30, 90);
        let size: TerminalSize =
            serde_json::from_slice(&session.wait_for(FromClient::Resize)).expect("size");
        assert_eq!(size, TerminalSize { rows: 30, columns: 90 });
        session.send(FromSession::Stdout, b"one\ntwo");
        window.wait_for("one\ntwo");
        session.end(Exit::Code(3));
        assert_eq!(exit_code(&mut window.child), Some(3));
        assert!(!window.is_raw());
    }

    #[test]
    fn a_stopped_command_stops_the_command_line_and_both_go_on() {
        let (_place, window, mut session) = attached(false);
        session.send(FromSession::Stopped, &[]);
        // Here its group is nobody's job, so the stop itself is ignored by the kernel, as
        // without job control; a stop from outside shows the other half.
        session.wait_for_signal(ClientSignal::Cont);
        window.wait_until_raw(true);
        signal(&window.child, Signal::STOP);
        resize(&window.pty, 40, 100);
        signal(&window.child, Signal::CONT);
        let size: TerminalSize =
            serde_json::from_slice(&session.wait_for(FromClient::Resize)).expect("size");
        assert_eq!(size, TerminalSize { rows: 40, columns: 100 });
        window.wait_until_raw(true);
    }

    #[test]
    fn a_shell_sees_a_stopped_job_and_brings_it_back() {
        let (_place, listener, path) = listener();
        let mut shell = Command::new("/bin/bash");
        shell.args(["--norc", "--noprofile", "-i"]).env("ATTACH_TO", &path).env("PS1", "ready> ");
        let mut window = Window::run(&shell, false);
        window.wait_for("ready> ");
        let line = command(&path);
        let words: Vec<_> = std::iter::once(line.get_program()).chain(line.get_args()).collect();
        let words = words.join(std::ffi::OsStr::new(" ")).into_string().expect("text");
        window.type_in(format!("{words}\n").as_bytes());
        let mut session = Session::accept(&listener, true);
        session.window(100);
        window.wait_until_raw(true);
        session.send(FromSession::Stdout, b"^Z");
        session.send(FromSession::Stopped, &[]);
        window.wait_for("Stopped");
        window.type_in(b"echo back=$((1+1))\n");
        window.wait_for("back=2");
        session.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
        assert_eq!(session.frame(), None, "nothing reaches a stopped command");
        session.stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        window.type_in(b"fg\n");
        session.wait_for(FromClient::Resize);
        session.wait_for_signal(ClientSignal::Cont);
        window.wait_until_raw(true);
        window.type_in(b"on\x03");
        let mut got = Vec::new();
        while got.len() < 3 {
            got.extend(session.wait_for(FromClient::Stdin));
        }
        assert_eq!(got, b"on\x03");
        session.end(Exit::Code(5));
        until("the shell is back", || {
            window.type_in(b"echo code=$?\n");
            window
                .text
                .push_str(&String::from_utf8_lossy(&window.shown.recv_timeout(PATIENCE).ok()?));
            window.text.contains("code=5").then_some(())
        });
    }

    #[test]
    fn being_ended_leaves_the_session_and_gives_the_terminal_back() {
        for sent in [Signal::TERM, Signal::INT, Signal::QUIT] {
            let (_place, mut window, mut session) = attached(false);
            signal(&window.child, sent);
            assert_eq!(exit_code(&mut window.child), Some(251));
            assert!(!window.is_raw());
            assert_eq!(session.frame(), None, "nothing is told to the command");
        }
    }

    #[test]
    fn a_closed_window_leaves_the_session() {
        let (_place, window, mut session) = attached(false);
        signal(&window.child, Signal::HUP);
        assert_eq!(session.frame(), None);
        let (_place, mut window, mut session) = attached(false);
        session.send(FromSession::TakenOver, &[]);
        window.wait_for("another terminal took over");
        window.wait_until_raw(false);
    }

    #[test]
    fn a_session_without_a_terminal_leaves_this_one_alone() {
        let (_place, listener, path) = listener();
        let mut window = Window::open(&path, false);
        window.wait_for(BEGIN);
        let mut session = Session::accept(&listener, false);
        session.window(100);
        assert!(!window.is_raw());
        window.type_in(b"line\n");
        assert_eq!(session.wait_for(FromClient::Stdin), b"line\n");
        window.type_in(b"\x03");
        session.wait_for_signal(ClientSignal::Int);
        window.type_in(b"\x04");
        session.wait_for(FromClient::StdinEnd);
        session.end(Exit::Code(0));
        assert_eq!(exit_code(&mut window.child), Some(0));
    }

    #[test]
    fn a_watcher_sends_nothing_and_leaves_with_ctrl_c() {
        let (_place, mut window, mut session) = attached(true);
        session.send(FromSession::Stdout, b"seen\r\n");
        window.wait_for("seen");
        window.type_in(b"typed\x03");
        assert_eq!(exit_code(&mut window.child), Some(251));
        assert_eq!(session.frame(), None);
        assert!(!window.is_raw());
    }
}
