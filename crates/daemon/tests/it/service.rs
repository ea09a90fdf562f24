//! The daemon as systemd starts it: with a socket, a place for notices and a watchdog. A few lines
//! of python stand for systemd, because a test has none.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Becomes the daemon, with the variables and the descriptor that systemd gives.
const SYSTEMD: &str = "import os, socket, sys\n\
    program, path, notify = sys.argv[1:]\n\
    s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(8)\n\
    os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
    pid = str(os.getpid())\n\
    os.environ.update(LISTEN_PID=pid, LISTEN_FDS='1', SYSTEMD_EXEC_PID=pid, WATCHDOG_PID=pid,\n\
                      WATCHDOG_USEC='1500000', NOTIFY_SOCKET=notify)\n\
    os.execv(program, [program, 'serve'])";

/// Long enough for a busy computer.
const PATIENCE: Duration = Duration::from_secs(60);

struct Lab {
    directory: tempfile::TempDir,
    notices: UnixDatagram,
}

/// A daemon that ends with its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(directory.path().join("home/run")).expect("a directory");
        let notices = UnixDatagram::bind(directory.path().join("notify")).expect("binds");
        notices.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { directory, notices }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("home/run/daemon.sock")
    }

    #[expect(clippy::disallowed_methods, reason = "the daemon is what is tested")]
    fn begin(&self, program: &str, arguments: &[&Path]) -> Daemon {
        let mut command = Command::new(program);
        command.args(arguments).env("RINGFENCE_HOME", self.path("home")).stderr(Stdio::piped());
        Daemon(command.spawn().expect("starts"))
    }

    fn by_systemd(&self, socket: &Path) -> Daemon {
        let program = Path::new(env!("CARGO_BIN_EXE_ringfenced"));
        let notify = self.path("notify");
        self.begin("python3", &[Path::new("-c"), Path::new(SYSTEMD), program, socket, &notify])
    }

    fn by_a_command(&self) -> Daemon {
        self.begin(env!("CARGO_BIN_EXE_ringfenced"), &[Path::new("serve")])
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 256];
        let count = self.notices.recv(&mut buffer).expect("systemd is told something");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    /// What the daemon answers to who it is.
    fn version(&self) -> serde_json::Value {
        let started = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(self.socket()) {
                Ok(stream) => break stream,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"GET /v1/version HTTP/1.0\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).expect("JSON")
    }
}

/// Ends a daemon as systemd does; its exit code.
fn end(daemon: &mut Daemon) -> Option<i32> {
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("asked");
    gone(daemon)
}

fn gone(daemon: &mut Daemon) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = daemon.0.try_wait().expect("a status") {
            return status.code();
        }
        assert!(started.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sockets of a process that programs which it starts would have.
fn inherited(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("descriptors") {
        let entry = entry.expect("an entry");
        let number = entry.file_name().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
        let flags = u32::from_str_radix(flags.trim(), 8).expect("octal");
        let stays = flags & rustix::fs::OFlags::CLOEXEC.bits() == 0;
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
        if stays && target.to_string_lossy().starts_with("socket:") {
            found.push(number);
        }
    }
    found
}

#[test]
fn systemd_hears_of_it_and_keeps_its_socket() {
    let lab = Lab::new();
    let mut daemon = lab.by_systemd(&lab.socket());
    assert_eq!(lab.heard(), "READY=1");
    let version = lab.version();
    assert_eq!(version["pid"], daemon.0.id());
    assert!(version["started_by"]["systemd"].is_object(), "{version}");
    assert_eq!(inherited(daemon.0.id()), [] as [String; 0]);
    // Fed by the loops, which rest no longer than the watchdog allows.
    for _ in 0..3 {
        assert_eq!(lab.heard(), "WATCHDOG=1");
    }
    assert_eq!(end(&mut daemon), Some(0));
    while lab.heard() != "STOPPING=1" {}
    assert!(lab.socket().exists(), "the socket is systemd's");
}

#[test]
fn the_one_that_is_there_to_stay_takes_over() {
    let lab = Lab::new();
    let mut first = lab.by_a_command();
    assert_eq!(lab.version()["started_by"], "command");
    // As systemd does where the name is taken.
    std::fs::remove_file(lab.socket()).expect("removed");
    let second = lab.by_systemd(&lab.socket());
    assert_eq!(gone(&mut first), Some(0));
    assert_eq!(lab.heard(), "READY=1");
    assert_eq!(lab.version()["pid"], second.0.id(), "its socket was not removed by the first");
}

#[test]
fn of_two_that_commands_start_the_first_stays() {
    let lab = Lab::new();
    let first = lab.by_a_command();
    assert_eq!(lab.version()["pid"], first.0.id());
    assert_eq!(gone(&mut lab.by_a_command()), Some(0));
    assert_eq!(lab.version()["pid"], first.0.id());
}

#[test]
fn a_socket_at_which_no_command_looks_is_refused() {
    let lab = Lab::new();
    let other = lab.path("other.sock");
    let mut daemon = lab.by_systemd(&other);
    assert_eq!(gone(&mut daemon), Some(1));
    let mut said = String::new();
    daemon.0.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    assert!(said.contains("other.sock") && said.contains("daemon install"), "{said}");
    drop(UnixListener::bind(lab.socket()).expect("nobody listens there"));
}
