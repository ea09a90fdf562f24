//! Real servers on loopback to copy to: an sshd, and rclone as S3 store and as restic REST
//! server. Each is a process of the test's own, ended by its id. A server whose program is not
//! there is said aloud and its test does nothing; `scripts/setup-host --tests` installs all.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_vault::{Channel, Connect, Login, S3Bucket, Target, Web};

use crate::lab::run;

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that a test could not be run, and why; `None` for the caller to return by.
fn skipped<T>(what: &str) -> Option<T> {
    eprintln!("SKIPPED: {what} is not installed (scripts/setup-host --tests)");
    None
}

fn rclone() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("test-tools/bin/rclone");
    if tools.is_file() { Some(tools) } else { skipped("rclone") }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn start(mut command: Command, port: u16, dir: tempfile::TempDir) -> Server {
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let child =
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let mut server = Server { child, port, dir };
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = server.child.try_wait().unwrap();
        let log = || fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < deadline, "no server: {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn login() -> Login {
    Login { name: "ringfence-test".into(), secret: "not-a-secret".into() }
}

fn serve(kind: &str, more: &[&str]) -> Option<Server> {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let port = free_port();
    let mut command = Command::new(rclone()?);
    command
        .args(["serve", kind, "--addr", &format!("127.0.0.1:{port}"), "--config", "/dev/null"])
        .args(more)
        .arg(&data);
    Some(start(command, port, dir))
}

/// A restic REST server that lets nothing be changed or deleted.
pub(crate) fn rest() -> Option<(Server, Target)> {
    let login = login();
    let server =
        serve("restic", &["--append-only", "--user", &login.name, "--pass", &login.secret])?;
    let url = format!("http://127.0.0.1:{}/ann", server.port);
    let target = Target::rest("rest", &url, Some(login), &Web::default()).unwrap();
    Some((server, target))
}

/// An S3 store with one bucket.
pub(crate) fn s3() -> Option<(Server, Target)> {
    let login = login();
    let server = serve("s3", &["--auth-key", &format!("{},{}", login.name, login.secret)])?;
    fs::create_dir(server.dir.path().join("data/bucket")).unwrap();
    let target = s3_target(&server, login);
    Some((server, target))
}

/// The store as somebody with this login reaches it.
pub(crate) fn s3_target(server: &Server, login: Login) -> Target {
    let bucket = S3Bucket {
        endpoint: format!("http://127.0.0.1:{}", server.port),
        bucket: "bucket".into(),
        prefix: "some/where".into(),
        region: "us-east-1".into(),
    };
    let clock: ringfence_vault::Clock = Arc::new(jiff::Timestamp::now);
    Target::s3("s3", bucket, Some(login), &Web::default(), clock).unwrap()
}

/// An sshd with keys of its own, and how to reach it.
pub(crate) struct Sshd {
    pub(crate) server: Server,
}

pub(crate) fn sshd() -> Option<Sshd> {
    let program = Path::new("/usr/sbin/sshd");
    if !program.is_file() {
        return skipped("sshd");
    }
    if rustix::process::geteuid().is_root() {
        // Where sshd keeps nothing; its package makes it at boot.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for key in ["host", "user"] {
        run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
    }
    fs::create_dir(dir.path().join("data")).unwrap();
    let port = free_port();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
         UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n",
        path("host"),
        path("user.pub"),
    );
    fs::write(path("sshd.conf"), config).unwrap();
    let host = fs::read_to_string(path("host.pub")).unwrap();
    fs::write(path("known"), format!("[127.0.0.1]:{port} {host}")).unwrap();
    let mut command = Command::new(program);
    command.args(["-D", "-e", "-f", &path("sshd.conf")]);
    Some(Sshd { server: start(command, port, dir) })
}

impl Sshd {
    pub(crate) fn data(&self) -> PathBuf {
        self.server.dir.path().join("data")
    }

    pub(crate) fn target(&self, dir: &str) -> Target {
        let (port, base) = (self.server.port, self.server.dir.path().to_owned());
        let connect: Connect = Arc::new(move || {
            let mut child = Command::new("ssh")
                .args(["-F", "none", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-s"])
                .arg(format!("-oUserKnownHostsFile={}", base.join("known").display()))
                .args(["-p", &port.to_string(), "-i"])
                .arg(base.join("user"))
                .args(["127.0.0.1", "sftp"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
            let from = Box::new(child.stdout.take().ok_or_else(gone)?);
            let to = Box::new(child.stdin.take().ok_or_else(gone)?);
            Ok(Channel { from, to, held: Box::new(Killed(child)) })
        });
        let dir = self.data().join(dir);
        Target::sftp("sftp", dir.to_str().unwrap(), connect)
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
