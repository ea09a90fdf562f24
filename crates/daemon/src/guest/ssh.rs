//! SSH into machines: the only place that runs `ssh`.
//!
//! Owns: the hardened options, the one master connection of a machine, and the arguments
//! by which a session runs its command over it. Must not: read a user's SSH configuration,
//! agent or keys; believe the server, which is the guest's: no forwarding on its request,
//! no change of pinned keys, no local command, no escape character.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use crate::guest::GuestError;
use crate::guest::identity::Identity;
use crate::host::command::{Detached, Program, tail};

/// Where the guest service listens inside.
const SERVICE: &str = "/run/ringfence/guest.sock";

/// What runs a session's command inside.
const RUNNER: &str = "/usr/lib/ringfence/exec";

/// ssh appends 17 bytes to the name of a control socket while it makes it.
const LONGEST_CONTROL: usize = 107 - 17;

/// How to reach one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its keys.
    pub identity: Identity,
    /// The loopback port that its gateway publishes.
    pub port: u16,
    /// The machine's run directory (`run/m/NAME`), for the two sockets and the log.
    pub run: PathBuf,
}

/// Whether the far side of a command is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Plain pipes: any bytes pass.
    No,
    /// A terminal in the guest.
    Yes,
}

impl Target {
    /// The master connection's socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.run.join("ssh")
    }

    /// The guest service's socket on the host, while the master lives.
    #[must_use]
    pub fn service(&self) -> PathBuf {
        self.run.join("guest.sock")
    }

    fn log(&self) -> PathBuf {
        self.run.join("ssh.log")
    }

    fn options(&self) -> Vec<OsString> {
        let mut list = Options::default();
        list.plain(&[
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PreferredAuthentications=publickey",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "HostKeyAlgorithms=ssh-ed25519",
            "CheckHostIP=no",
            "VerifyHostKeyDNS=no",
            "UpdateHostKeys=no",
            // The way is the host's own loopback: nobody records it for the day of quantum computers, and the
            // hybrid exchange costs a quarter of a second under emulation.
            "KexAlgorithms=curve25519-sha256",
            "Compression=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "Tunnel=no",
            "PermitLocalCommand=no",
            "PermitRemoteOpen=none",
            "EscapeChar=none",
            "ClearAllForwardings=no",
            "ExitOnForwardFailure=yes",
            "StreamLocalBindUnlink=yes",
            "StreamLocalBindMask=0177",
            "ConnectTimeout=15",
            "ServerAliveInterval=10",
            "ServerAliveCountMax=6",
            "LogLevel=ERROR",
        ]);
        list.plain(&[&format!("HostKeyAlias={}", self.identity.host_alias())]);
        list.path("UserKnownHostsFile", &self.identity.known_hosts());
        list.path("IdentityFile", &self.identity.client_key());
        list.path("ControlPath", &self.control());
        list.0
    }

    fn destination(&self) -> [OsString; 3] {
        ["-p".into(), self.port.to_string().into(), "agent@127.0.0.1".into()]
    }

    /// Arguments of `ssh` for the master connection, which also carries the guest service.
    fn master(&self) -> Vec<OsString> {
        let mut list = vec!["-F".into(), "none".into(), "-N".into(), "-T".into()];
        list.extend(self.options());
        let mut forward = Options::default();
        forward.plain(&["ControlMaster=yes", "ControlPersist=no"]);
        forward.path("LocalForward", &self.service());
        if let Some(last) = forward.0.last_mut() {
            last.push(format!(" {SERVICE}"));
        }
        list.extend(forward.0);
        list.extend(self.destination());
        list
    }

    /// Arguments of `ssh` that run a session's command, announced before to the guest service.
    /// `ssh` exits as the command did, but how the session ended is said by the life line alone.
    #[must_use]
    pub fn session(&self, id: &str, terminal: Terminal) -> Vec<OsString> {
        self.command(&format!("{RUNNER} {id}"), terminal)
    }

    /// Arguments of `ssh` that run a fixed command line of ours. Never pass it a user's words:
    /// they would be parsed by the guest's shell.
    #[must_use]
    pub fn command(&self, line: &str, terminal: Terminal) -> Vec<OsString> {
        let mut list: Vec<OsString> = vec!["-F".into(), "none".into()];
        list.push(if terminal == Terminal::Yes { "-tt" } else { "-T" }.into());
        list.extend(self.options());
        // Without the master there is no session: a new connection would be a slow surprise.
        let mut plain = Options::default();
        plain.plain(&["ControlMaster=no", "ClearAllForwardings=yes"]);
        list.splice(3..3, plain.0);
        list.extend(self.destination());
        list.push("--".into());
        list.push(line.into());
        list
    }

    /// Arguments of `ssh` for an order to the master: `check`, `exit`, `forward`, `cancel`.
    #[must_use]
    pub fn order(&self, order: &str, forward: &[OsString]) -> Vec<OsString> {
        let mut list: Vec<OsString> = vec!["-F".into(), "none".into(), "-O".into(), order.into()];
        list.extend(self.options());
        list.extend(forward.iter().cloned());
        list.extend(self.destination());
        list
    }

    /// Whether the master connection lives.
    pub async fn is_open(&self) -> bool {
        self.control().exists() && self.give(&self.order("check", &[])).await.is_ok()
    }

    /// Ends the master connection and all that runs over it.
    pub async fn close(&self) {
        // It may have ended already, which is what is wanted.
        let _ = self.give(&self.order("exit", &[])).await;
    }

    /// Runs an order of [`Target::order`].
    ///
    /// # Errors
    /// When the master is gone or refuses.
    pub async fn give(&self, arguments: &[OsString]) -> Result<(), GuestError> {
        Program::new("ssh")
            .args(arguments.to_vec())
            .deadline(Duration::from_secs(15))
            .check()
            .await?;
        Ok(())
    }

    /// Runs a fixed command line of ours as `agent`, feeding it `input`.
    ///
    /// # Errors
    /// When it fails or takes longer than `patience`.
    pub async fn run(
        &self,
        line: &str,
        input: Vec<u8>,
        patience: Duration,
    ) -> Result<String, GuestError> {
        let program = Program::new("ssh").args(self.command(line, Terminal::No));
        Ok(program.input(input).deadline(patience).check().await?.text())
    }

    /// Opens the master connection, waiting up to `patience` for a machine that still boots.
    /// It is a process of its own and survives the daemon.
    ///
    /// # Errors
    /// When the machine does not answer in time, or somebody else does.
    pub async fn open(&self, patience: Duration) -> Result<(), GuestError> {
        for path in [self.control(), self.service()] {
            if path.as_os_str().len() > LONGEST_CONTROL {
                return Err(GuestError::LongPath(path));
            }
        }
        let deadline = tokio::time::Instant::now() + patience;
        let mut last = "nothing listens yet".to_owned();
        loop {
            if tokio::time::Instant::now() >= deadline {
                let machine = self.identity.machine().to_string();
                return Err(GuestError::Silent { machine, seconds: patience.as_secs(), last });
            }
            if !self.greets().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            match self.try_open().await? {
                None => return Ok(()),
                Some(words) => last = words,
            }
        }
    }

    /// Whether an SSH server says hello. Asked before `ssh` is started, because a connection that was begun too early
    /// waits for seconds between its attempts.
    async fn greets(&self) -> bool {
        let work = async {
            let mut stream =
                tokio::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, self.port)).await?;
            let mut hello = [0; 4];
            stream.read_exact(&mut hello).await?;
            Ok::<_, std::io::Error>(&hello == b"SSH-")
        };
        matches!(tokio::time::timeout(Duration::from_millis(1500), work).await, Ok(Ok(true)))
    }

    /// Ends an earlier master and removes its sockets. One whose machine vanished lives on
    /// for a while, and would take its successor's sockets along when it ends.
    async fn dismiss(&self) {
        if self.control().exists() {
            self.close().await;
            let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
            while self.control().exists() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        for path in [self.control(), self.service()] {
            // Left over by a master that was killed.
            let _ = std::fs::remove_file(path);
        }
    }

    /// One attempt; `Some` is why it failed.
    async fn try_open(&self) -> Result<Option<String>, GuestError> {
        self.dismiss().await;
        let log = self.log();
        let Detached { mut child, .. } = Program::new("ssh").args(self.master()).detach(&log)?;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                let words = tail(&std::fs::read(&log).unwrap_or_default(), 400);
                if words.contains("Host key verification failed") {
                    let machine = self.identity.machine().to_string();
                    return Err(GuestError::WrongKey { machine });
                }
                return Ok(Some(if words.is_empty() { status.to_string() } else { words }));
            }
            // ssh makes both sockets before it takes an order, the forward last.
            if self.control().exists() && self.service().exists() {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[derive(Default)]
struct Options(Vec<OsString>);

impl Options {
    fn plain(&mut self, options: &[&str]) {
        for option in options {
            self.0.push("-o".into());
            self.0.push(option.into());
        }
    }

    /// `name="path"` with what ssh would expand or split made plain.
    fn path(&mut self, name: &str, path: &Path) {
        let mut value = format!("{name}=\"").into_bytes();
        for byte in path.as_os_str().as_bytes() {
            match byte {
                b'"' | b'\\' => value.push(b'\\'),
                b'%' => value.push(b'%'),
                _ => {}
            }
            value.push(*byte);
        }
        value.push(b'"');
        self.0.push("-o".into());
        self.0.push(OsString::from_vec(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::name::MachineName;

    async fn target(directory: &Path) -> Target {
        let name = MachineName::new("shop").expect("a name");
        let identity = Identity::ensure(&directory.join("i"), &name).await.expect("identity");
        Target { identity, port: 2222, run: directory.to_owned() }
    }

    /// ssh itself says how it understood the arguments.
    #[tokio::test]
    async fn ssh_understands_the_options_as_meant() {
        let directory = tempfile::Builder::new().prefix("100% \"odd\" ").tempdir().expect("made");
        let target = target(directory.path()).await;
        for arguments in [target.master(), target.session("s1", Terminal::No)] {
            let program = Program::new("ssh").arg("-G").args(arguments);
            let text = program.check().await.expect("understood").text();
            for line in [
                "user agent",
                "hostname 127.0.0.1",
                "port 2222",
                "hostkeyalias ringfence-shop",
                "stricthostkeychecking true",
                "identityagent none",
                "forwardagent no",
                "forwardx11 no",
                "permitlocalcommand no",
                "updatehostkeys false",
                "escapechar none",
                "passwordauthentication yes",
                "preferredauthentications publickey",
            ] {
                assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
            }
            let keys = directory.path().join("i/client").display().to_string();
            // Shown as ssh will expand it, in which %% stands for %.
            assert!(text.contains(&format!("identityfile {}", keys.replace('%', "%%"))), "{text}");
            assert!(
                text.contains(&format!("controlpath {}", target.control().display())),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_machine_that_never_answers_is_given_up() {
        let directory = tempfile::tempdir().expect("directory");
        let mut target = target(directory.path()).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        target.port = listener.local_addr().expect("address").port();
        let error = target.open(Duration::from_millis(300)).await.expect_err("silent");
        assert!(matches!(error, GuestError::Silent { .. }), "{error}");
        target.run = directory.path().join("r".repeat(100));
        let error = target.open(Duration::from_secs(1)).await.expect_err("too long");
        assert!(matches!(error, GuestError::LongPath(_)), "{error}");
    }
}
