//! With a terminal: questions, colours, Ctrl-C.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ringfence_model::attach::FromSession;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};

use crate::runs::{frozen, greeted, lookup, send, summary};
use crate::support::{Home, Reply, error};

/// The program in a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
        let slave =
            || Stdio::from(File::options().read(true).write(true).open(&name).expect("a terminal"));
        let mut command = home.command(arguments);
        command.stdin(slave()).stdout(slave()).stderr(slave()).envs(variables.iter().copied());
        let child = command.spawn().expect("it starts");
        drop(command);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().expect("a descriptor");
        let (send, screen) = channel();
        // It ends with an error once the program has closed its side.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, screen, seen: String::new() }
    }

    /// Waits until a text is on the screen.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.screen.recv_timeout(Duration::from_secs(20)) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("no `{text}` ({error}) in {:?}", self.seen),
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("written");
    }

    fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("small")).expect("a process");
        kill_process(pid, Signal::INT).expect("sent");
    }

    /// The exit code and all that was on the screen.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it ends");
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_secs(20)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code(), self.seen)
    }
}

fn unknown(home: &Home) -> Reply {
    let work = home.path("work");
    Reply::Json(
        200,
        json!({ "registered": null, "canonical": work, "guest_path": work, "vaults": "/v" }),
    )
}

#[test]
fn first_contact_asks() {
    let home = Home::new();
    let server = home.serve(&[
        ("GET /v1/folders/lookup", unknown(&home)),
        ("POST /v1/run", Reply::Stream(vec![json!({ "error": error("engine", "no QEMU") })])),
    ]);
    let mut no = Terminal::start(&home, &["run", "claude"], &[]);
    no.wait_for("Go on? [y/N] ");
    assert!(no.seen.contains("5. "), "{}", no.seen);
    no.write("\n");
    assert_eq!(no.end().0, Some(254));
    assert_eq!(server.bodies("POST /v1/run"), [] as [Value; 0]);

    let mut yes = Terminal::start(&home, &["run", "claude"], &[]);
    yes.wait_for("Go on? [y/N] ");
    yes.write("y\n");
    assert_eq!(yes.end().0, Some(255));
    let request = server.bodies("POST /v1/run").remove(0);
    assert_eq!(request["register"], true);
}

#[test]
fn undo_asks_and_does_what_was_agreed() {
    let plan = json!({ "done": {
        "snapshot": "0123456789abcdef", "target": "/x/shop", "create": [{ "path": "lost.txt" }],
        "replace": [], "delete": [], "metadata": [], "conflicts": [], "bytes": 1, "applied": false, "before": null,
    }});
    let home = Home::new();
    let server = home.serve(&[("POST /v1/undo", Reply::Stream(vec![plan]))]);
    let mut terminal = Terminal::start(&home, &["undo"], &[]);
    terminal.wait_for("Do it? [y/N] ");
    terminal.write("no\n");
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(server.bodies("POST /v1/undo").len(), 1);
    let mut terminal = Terminal::start(&home, &["undo"], &[]);
    terminal.wait_for("Do it? [y/N] ");
    terminal.write("yes\n");
    assert_eq!(terminal.end().0, Some(0));
    let bodies = server.bodies("POST /v1/undo");
    assert_eq!(bodies[2]["dry_run"], false);
}

#[test]
fn a_frozen_session_goes_on_in_its_terminal_when_the_person_says_so() {
    let home = Home::new();
    let socket = home.path("home/run/s.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let session = std::thread::spawn(move || {
        let welcome = b"{\"terminal\":true,\"writer\":true}";
        let (mut stream, _) = listener.accept().expect("a client");
        greeted(&mut stream);
        send(&mut stream, FromSession::Welcome, welcome);
        stream.read_to_end(&mut Vec::new()).expect("it leaves while it is asked");
        let (mut stream, _) = listener.accept().expect("it comes back");
        greeted(&mut stream);
        send(&mut stream, FromSession::Welcome, welcome);
        let ended = json!({ "exit": { "code": 7 }, "reason": null }).to_string();
        send(&mut stream, FromSession::Ended, ended.as_bytes());
    });
    let ready = json!({ "done": { "session": "s-1", "socket": socket, "machine": "m" } });
    let server = home.serve(&[
        ("GET /v1/folders/lookup", lookup(&home, true)),
        ("POST /v1/run", Reply::Stream(vec![ready])),
        ("GET /v1/sessions/s-1", frozen(&home)),
        ("POST /v1/sessions/s-1/resume", frozen(&home)),
        ("POST /v1/sessions/s-1/close", summary(&home, json!({ "state": "ended" }))),
    ]);
    let mut terminal = Terminal::start(&home, &["run", "--", "sh"], &[]);
    terminal.wait_for("[u/r/N] ");
    assert!(terminal.seen.contains("\u{7}Frozen: session s-1"), "{:?}", terminal.seen);
    terminal.write("r\n");
    assert_eq!(terminal.end().0, Some(7));
    assert_eq!(server.bodies("POST /v1/sessions/s-1/resume").len(), 1);
    session.join().expect("both clients came");

    // Whoever only presses Enter leaves it as it is.
    let listener = {
        std::fs::remove_file(home.path("home/run/s.sock")).expect("removed");
        UnixListener::bind(home.path("home/run/s.sock")).expect("a socket")
    };
    let session = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        greeted(&mut stream);
        stream.read_to_end(&mut Vec::new()).expect("it leaves");
    });
    let mut terminal = Terminal::start(&home, &["run", "--", "sh"], &[]);
    terminal.wait_for("[u/r/N] ");
    terminal.write("\n");
    assert_eq!(terminal.end().0, Some(250));
    assert_eq!(server.bodies("POST /v1/sessions/s-1/resume").len(), 1);
    session.join().expect("its client left");
}

#[test]
fn turning_a_backup_off_asks_for_the_folders_name() {
    let home = Home::new();
    let root = home.path("work");
    let lookup =
        json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" });
    let server = home.serve(&[
        ("GET /v1/folders/lookup", Reply::Json(200, lookup)),
        ("POST /v1/backup/set", Reply::Json(200, Value::Null)),
    ]);
    let mut terminal = Terminal::start(&home, &["backup", "off", "."], &[("TERM", "xterm")]);
    terminal.wait_for("type the folder's name, work: ");
    assert!(terminal.seen.contains("\x1b[1;31mWithout its backup"), "{}", terminal.seen);
    terminal.write("shop\n");
    assert_eq!(terminal.end().0, Some(0));
    let sent = server.bodies("POST /v1/backup/set").remove(0);
    assert_eq!(sent["name"], "shop", "the daemon decides whether that is its name");
    assert!(sent["terminal"].as_str().is_some_and(|name| name.starts_with("/dev/")), "{sent}");
}

#[test]
fn what_is_not_protected_is_said_in_red_before_a_run() {
    let home = Home::new();
    let root = home.path("work");
    let lookup =
        json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" });
    let lines = vec![
        json!({ "warning": "/x/shop is NOT backed up" }),
        json!({ "error": error("engine", "no QEMU") }),
    ];
    let _server = home.serve(&[
        ("GET /v1/folders/lookup", Reply::Json(200, lookup)),
        ("POST /v1/run", Reply::Stream(lines)),
    ]);
    let quiet = ["-q", "run", "claude"];
    let (_, screen) = Terminal::start(&home, &quiet, &[("TERM", "xterm")]).end();
    assert!(screen.contains("\x1b[1;31mwarning: /x/shop is NOT backed up"), "{screen:?}");
}

#[test]
fn an_interrupt_ends_a_question_and_a_preparation() {
    let home = Home::new();
    let _server = home.serve(&[
        ("GET /v1/folders/lookup", unknown(&home)),
        ("POST /v1/run", Reply::Hang(json!({ "progress": { "what": "waiting for SSH" } }))),
    ]);
    let mut question = Terminal::start(&home, &["run", "claude"], &[]);
    question.wait_for("Go on? [y/N] ");
    question.interrupt();
    assert_eq!(question.end().0, Some(130));
    let mut preparation = Terminal::start(&home, &["run", "--yes", "claude"], &[("TERM", "xterm")]);
    preparation.wait_for("waiting for SSH");
    preparation.interrupt();
    assert_eq!(preparation.end().0, Some(130));
}

#[test]
fn colours_on_a_terminal_unless_unwanted() {
    let status = json!({
        "schema": 1, "engine": { "name": "qemu", "version": null, "accelerator": null },
        "machines": [], "sessions": [], "forwards": [], "folders": [], "problems": [],
    });
    let home = Home::new();
    let _server = home.serve(&[("GET /v1/status", Reply::Json(200, status))]);
    let (code, screen) = Terminal::start(&home, &["status"], &[("TERM", "xterm")]).end();
    assert_eq!(code, Some(0));
    assert!(screen.contains("\x1b[1;31m"), "{screen:?}");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (_, screen) = Terminal::start(&home, &["status"], &[variable]).end();
        assert!(!screen.contains('\x1b'), "{screen:?}");
    }
}

/// What a terminal shows of a stored file whose content comes in these chunks.
fn shown(chunks: Vec<&'static [u8]>) -> String {
    let home = Home::new();
    let root = home.path("work");
    let lookup =
        json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" });
    let _server = home.serve(&[
        ("GET /v1/folders/lookup", Reply::Json(200, lookup)),
        ("GET /v1/entry", Reply::Json(200, crate::tables::entry())),
        ("GET /v1/show", Reply::Chunks(chunks, false)),
    ]);
    let (code, screen) =
        Terminal::start(&home, &["show", "latest", "x"], &[("TERM", "xterm")]).end();
    assert_eq!(code, Some(0));
    screen
}

#[test]
fn a_terminal_never_gets_a_files_escapes() {
    let screen = shown(vec![b"a\x1b]52;c;AAAA\x07b\n\n\xe2\x80", b"\xaec\n"]);
    assert_eq!(screen, "a\\u{1b}]52;c;AAAA\\u{7}b\r\n\r\n\\u{202e}c\r\n");
}

#[test]
fn a_terminal_is_spared_a_binary_file() {
    let screen = shown(vec![b"\x7fELF\0", b"\x1b[2Jx\n"]);
    assert!(screen.starts_with("x is binary (11B)") && !screen.contains('\x1b'), "{screen:?}");
}
