//! A machine that is this host: sshd on a loopback port, the guest service on a socket
//! in a temporary directory, an ssh master between them. And a client of a session.

#![expect(clippy::disallowed_methods, reason = "starts the real programs that the tests need")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_model::api::TerminalSize;
use ringfence_model::attach::{self, ClientSignal, Ended, FromClient, FromSession, Hello, Welcome};
use serde::Serialize;

use crate::secrets::SecretValue;
use crate::session::record::{self, ExitRecord};
use crate::session::{Limits, SecretVariable, SessionSpec, SpecBytes, SshFacts};

/// Longest wait for anything; a loaded machine is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` gives something.
pub(super) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A child that is killed at the test's end.
#[derive(Debug)]
pub(super) struct Killed(pub(super) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    place: tempfile::TempDir,
    user: String,
    group: Option<PathBuf>,
    pub(super) master: Killed,
    _guest: Killed,
    _sshd: Killed,
}

impl Machine {
    /// The machine, or `None` with the reason said aloud.
    pub(super) fn start() -> Option<Self> {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest");
        let sshd = Path::new("/usr/sbin/sshd");
        for (needed, package) in [
            (sshd, "openssh-server"),
            (Path::new("/usr/bin/python3"), "python3"),
            (Path::new("/usr/bin/cc"), "gcc"),
            (&guest.join("ringfence-guest"), "this repository"),
            (&guest.join("exec.c"), "this repository"),
        ] {
            if !needed.exists() {
                eprintln!("SKIPPED: {} is missing (from {package})", needed.display());
                return None;
            }
        }
        let place = tempfile::Builder::new().prefix("rf").tempdir().expect("tempdir");
        let at = |name: &str| place.path().join(name);
        let uid = rustix::process::getuid().as_raw();
        let user = String::from_utf8(output(Command::new("id").arg("-un"))).expect("name");
        let user = user.trim().to_owned();
        for key in ["hostkey", "key"] {
            output(
                Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(at(key)),
            );
        }
        let source = fs::read_to_string(guest.join("exec.c")).expect("exec.c");
        let own = at("exec.sock").display().to_string();
        fs::write(at("exec.c"), source.replace("/run/ringfence/exec.sock", &own)).expect("writes");
        output(Command::new("cc").arg("-o").arg(at("exec")).arg(at("exec.c")));

        let port =
            TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("port").port();
        let conf = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {hostkey}\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {key}.pub\nStrictModes no\nPermitRootLogin yes\nMaxSessions 1000\n",
            hostkey = at("hostkey").display(),
            key = at("key").display(),
        );
        fs::write(at("sshd.conf"), conf).expect("writes");
        if uid == 0 {
            fs::create_dir_all("/run/sshd").expect("privilege separation directory");
        }
        let sshd = spawn(
            Command::new(sshd)
                .arg("-D")
                .arg("-f")
                .arg(at("sshd.conf"))
                .arg("-E")
                .arg(at("sshd.log")),
        );

        let group = group(place.path());
        fs::create_dir_all(group.as_deref().unwrap_or(&at("group"))).expect("group");
        let service = spawn(
            Command::new("/usr/bin/python3")
                .arg(guest.join("ringfence-guest"))
                .env("RINGFENCE_GUEST_DIR", place.path())
                .env("RINGFENCE_GUEST_UID", uid.to_string())
                .env("RINGFENCE_GUEST_CGROUP", group.as_deref().unwrap_or(&at("group"))),
        );
        until("the guest service and sshd listen", || {
            let log = fs::read_to_string(at("sshd.log")).unwrap_or_default();
            (at("exec.sock").exists() && at("guest.sock").exists() && log.contains("listening"))
                .then_some(())
        });
        let master = spawn(
            Command::new("ssh")
                .args([
                    "-F",
                    "none",
                    "-N",
                    "-M",
                    "-o",
                    "StrictHostKeyChecking=no",
                    "-o",
                    "IdentitiesOnly=yes",
                ])
                .args(["-o", "LogLevel=ERROR", "-o"])
                .arg(format!("UserKnownHostsFile={}", at("known").display()))
                .arg("-i")
                .arg(at("key"))
                .arg("-S")
                .arg(at("ctl"))
                .arg("-L")
                .arg(format!("{}:{}", at("g").display(), at("guest.sock").display()))
                .args(["-p", &port.to_string(), &format!("{user}@127.0.0.1")]),
        );
        until("the master is there", || (at("ctl").exists() && at("g").exists()).then_some(()));
        Some(Self { user, group, master, _guest: service, _sshd: sshd, place })
    }

    /// Whether left-over processes can be killed as in a machine.
    pub(super) fn has_group(&self) -> bool {
        if self.group.is_none() {
            eprintln!("SKIPPED: no control group can be made here (needs root and cgroup 2)");
        }
        self.group.is_some()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(super) fn spec(&self, id: &str, argv: &[&str]) -> SessionSpec {
        let bytes = |text: &str| SpecBytes::new(text.as_bytes());
        SessionSpec {
            id: id.parse().expect("id"),
            machine: "shop".parse().expect("machine"),
            ssh: SshFacts {
                program: "ssh".into(),
                control_path: self.path("ctl"),
                user: self.user.clone(),
                exec: self.path("exec").display().to_string(),
            },
            guest_socket: self.path("g"),
            argv: argv.iter().map(|word| bytes(word)).collect(),
            env: vec![(bytes("TERM"), bytes("xterm"))],
            secrets: vec![SecretVariable {
                variable: bytes("SECRET"),
                value: SecretValue::new(b"hunter2".to_vec().into()).expect("a value"),
            }],
            cwd: bytes("/tmp"),
            terminal: None,
            socket: self.path(&format!("{id}.s")),
            record: self.path(&format!("record-{id}")),
            limits: Limits { grace_ms: 1500, first_client_ms: 30_000, ..Limits::default() },
        }
    }

    pub(super) fn terminal_spec(&self, id: &str, argv: &[&str]) -> SessionSpec {
        SessionSpec {
            terminal: Some(TerminalSize { rows: 24, columns: 80 }),
            ..self.spec(id, argv)
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let _ = fs::write(group.join("cgroup.kill"), "1");
            for entry in fs::read_dir(group).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            let _ = fs::remove_dir(group);
        }
    }
}

/// A control group of our own, where one can be made.
fn group(place: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let group = Path::new(line.split(' ').nth(1)?).join(place.file_name()?);
    fs::create_dir(&group).ok()?;
    group.join("cgroup.kill").exists().then_some(group)
}

fn spawn(command: &mut Command) -> Killed {
    Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("spawns"))
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().expect("runs");
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// A session process that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Killed,
    pub(super) said: serde_json::Value,
    spec: SessionSpec,
}

impl Running {
    pub(super) fn start(spec: SessionSpec) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .args(["session::tests::as_session", "--exact", "--include-ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawns");
        let text = serde_json::to_vec(&spec).expect("serialises");
        child.stdin.take().expect("stdin").write_all(&text).expect("writes");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let said = lines
            .map_while(Result::ok)
            .find_map(|line| serde_json::from_str(line.get(line.find('{')?..)?).ok())
            .expect("it says whether it is ready");
        Self { process: Killed(child), said, spec }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub(super) fn attach(&self) -> Client {
        self.attach_as(false, self.spec.terminal)
    }

    pub(super) fn attach_as(&self, watch_only: bool, terminal: Option<TerminalSize>) -> Client {
        Client::new(&self.spec.socket, &Hello { watch_only, terminal })
    }

    /// The record of its end, once there is one.
    pub(super) fn exit(&self) -> ExitRecord {
        until("the end is on disk", || record::exit(&self.spec.record).expect("reads"))
    }

    pub(super) fn recorded(&self) -> Vec<u8> {
        record::output(&self.spec.record).expect("reads")
    }

    /// Waits for the process's own end.
    pub(super) fn gone(&mut self) {
        let child = &mut self.process.0;
        until("the process ends", || child.try_wait().expect("waits"));
        assert!(!self.spec.socket.exists(), "the socket is removed");
    }
}

/// A client that speaks the wire by itself.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    pub(super) welcome: Welcome,
    pub(super) window: usize,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Client {
    fn new(socket: &Path, hello: &Hello) -> Self {
        let stream = UnixStream::connect(socket).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let welcome = Welcome { terminal: false, writer: false };
        let mut client =
            Self { stream, welcome, window: 0, stdout: Vec::new(), stderr: Vec::new() };
        client.send_json(FromClient::Hello, hello);
        let (kind, payload) = client.frame().expect("a frame");
        assert_eq!(kind, FromSession::Welcome);
        client.welcome = serde_json::from_slice(&payload).expect("welcome");
        client
    }

    pub(super) fn send(&mut self, kind: FromClient, payload: &[u8]) {
        let frame = attach::frame(kind as u8, payload).expect("fits");
        self.stream.write_all(&frame).expect("sends");
    }

    pub(super) fn send_json(&mut self, kind: FromClient, value: &impl Serialize) {
        self.send(kind, &serde_json::to_vec(value).expect("serialises"));
    }

    pub(super) fn signal(&mut self, signal: ClientSignal) {
        self.send_json(FromClient::Signal, &signal);
    }

    /// Types on a terminal.
    pub(super) fn type_in(&mut self, text: &str) {
        while self.window < text.len() {
            self.take();
        }
        self.window -= text.len();
        self.send(FromClient::Stdin, text.as_bytes());
    }

    /// A second handle for sending.
    pub(super) fn sender(&self) -> UnixStream {
        self.stream.try_clone().expect("clones")
    }

    /// The next frame; `None` at the end.
    pub(super) fn frame(&mut self) -> Option<(FromSession, Vec<u8>)> {
        let mut header = [0; attach::HEADER];
        self.stream.read_exact(&mut header).ok()?;
        let (kind, length) = attach::parse_header(header).expect("header");
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("payload");
        Some((FromSession::from_byte(kind).expect("kind"), payload))
    }

    /// Takes one frame in; with the end if it is one.
    pub(super) fn take(&mut self) -> Option<(FromSession, Vec<u8>)> {
        let (kind, payload) = self.frame()?;
        match kind {
            FromSession::Stdout => self.stdout.extend_from_slice(&payload),
            FromSession::Stderr | FromSession::Notice => self.stderr.extend_from_slice(&payload),
            FromSession::StdinWindow => self.window += attach::window(&payload).expect("window"),
            _ => {}
        }
        Some((kind, payload))
    }

    /// Takes frames until this text is among the output.
    pub(super) fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            assert!(self.take().is_some(), "ended before {text:?}: {:?}", self.text());
        }
    }

    pub(super) fn wait_for_kind(&mut self, wanted: FromSession) {
        while self.take().expect("goes on").0 != wanted {}
    }

    /// Takes everything until the end.
    pub(super) fn finish(&mut self) -> Ended {
        loop {
            let (kind, payload) = self.take().expect("the end is told");
            if kind == FromSession::Ended {
                return serde_json::from_slice(&payload).expect("ended");
            }
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}
