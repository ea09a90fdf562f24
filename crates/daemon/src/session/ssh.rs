//! OpenSSH as the carrier of a session's bytes: a client of the machine's master.
//!
//! Owns the argument order, the pseudo terminal between us and ssh, and ssh's own
//! messages. It only ever speaks to the master's socket: without a living master it
//! fails, and its exit code means nothing here. Minimum: OpenSSH 8.0.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringfence_model::api::TerminalSize;
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, Winsize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use super::spec::{SessionSpec, SshFacts};

/// How much of ssh's own words is kept, in bytes.
const KEPT: usize = 1024;

/// A running ssh.
#[derive(Debug)]
pub(super) struct Ssh {
    pub(super) child: Child,
    pub(super) words: Words,
}

/// Where the command's bytes come out and go in.
pub(super) enum Pipes {
    /// A pseudo terminal: one stream each way.
    Terminal {
        /// From the command.
        output: pty_process::OwnedReadPty,
        /// To the command.
        input: pty_process::OwnedWritePty,
        /// The terminal's size.
        window: Window,
    },
    /// Three pipes.
    Plain {
        /// To the command.
        stdin: ChildStdin,
        /// From the command.
        stdout: ChildStdout,
        /// From the command, and what ssh itself has to say.
        stderr: ChildStderr,
    },
}

/// The last words of ssh itself, with a terminal; without one they are in the output.
#[derive(Debug, Clone, Default)]
pub(super) struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    /// The words, made safe to print; `None` if there are none.
    pub(super) fn get(&self) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&words);
        let text = text.trim();
        (!text.is_empty()).then(|| ringfence_model::bytes::visible(text))
    }

    async fn collect(self, mut source: impl AsyncRead + Unpin) {
        let mut piece = [0; 512];
        while let Ok(count @ 1..) = source.read(&mut piece).await {
            let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend_from_slice(&piece[..count]);
            let over = words.len().saturating_sub(KEPT);
            words.drain(..over);
        }
    }
}

/// Our side of the pseudo terminal, for everything but its bytes.
#[derive(Debug)]
pub(super) struct Window(OwnedFd);

impl Window {
    /// Tells ssh, and with it the machine, the terminal's size.
    pub(super) fn resize(&self, size: TerminalSize) {
        if let Err(error) = termios::tcsetwinsize(&self.0, winsize(size)) {
            tracing::warn!(%error, "the terminal's size cannot be set");
        }
    }

    /// Waits until ssh has put its side into raw mode: what is written earlier would be
    /// echoed and edited by the host.
    pub(super) async fn raw(&self) {
        while termios::tcgetattr(&self.0)
            .is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A second handle.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// Starts ssh for a registered session.
#[expect(clippy::disallowed_methods, reason = "this file owns the sessions' ssh")]
pub(super) fn start(spec: &SessionSpec) -> io::Result<(Ssh, Pipes)> {
    let mut command = tokio::process::Command::new(&spec.ssh.program);
    command
        .args(arguments(&spec.ssh, spec.id.as_str(), spec.terminal.is_some())?)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TERM", terminal_name(spec))
        .current_dir("/")
        .kill_on_drop(true);
    let words = Words::default();
    let Some(size) = spec.terminal else {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Pipes::Plain { stdin, stdout, stderr },
            _ => return Err(io::Error::other("ssh has no pipes")),
        };
        return Ok((Ssh { child, words }, pipes));
    };
    let (pty, slave) = pty_process::open().map_err(io::Error::other)?;
    let window = Window(pty.as_fd().try_clone_to_owned()?);
    window.resize(size);
    // ssh copies these modes to the machine's terminal.
    let mut modes = termios::tcgetattr(&slave)?;
    modes.input_modes |= InputModes::IUTF8;
    termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
    let mut child = pty_process::Command::from(command)
        .stderr(Stdio::piped())
        .spawn(slave)
        .map_err(io::Error::other)?;
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(words.clone().collect(stderr));
    }
    let (output, input) = pty.into_split();
    Ok((Ssh { child, words }, Pipes::Terminal { output, input, window }))
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The terminal's name, for the request for a PTY.
fn terminal_name(spec: &SessionSpec) -> OsString {
    let named = spec.env.iter().rev().find(|(name, _)| name.as_bytes() == b"TERM");
    named.map_or_else(
        || "xterm-256color".into(),
        |(_, value)| OsString::from_vec(value.as_bytes().to_vec()),
    )
}

fn arguments(facts: &SshFacts, id: &str, terminal: bool) -> io::Result<Vec<OsString>> {
    let mut list: Vec<OsString> = ["-F", "none", "-S"].map(Into::into).into();
    list.push(literal(&facts.control_path)?);
    for option in [
        // Without a living master there is no way to the machine, least of all another one.
        "ProxyCommand=false",
        "ControlMaster=no",
        "BatchMode=yes",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "EscapeChar=none",
        "LogLevel=ERROR",
    ] {
        list.extend(["-o".into(), option.into()]);
    }
    list.push(if terminal { "-tt" } else { "-T" }.into());
    list.extend(["-l".into(), facts.user.clone().into(), "--".into(), "machine".into()]);
    list.push(format!("{} {id}", facts.exec).into());
    Ok(list)
}

/// A path that ssh does not expand.
fn literal(path: &Path) -> io::Result<OsString> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.windows(2).any(|pair| pair == b"${") {
        return Err(io::Error::other(format!("ssh would expand `${{` in {}", path.display())));
    }
    let mut plain = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        plain.extend((byte == b'%').then_some(b'%'));
        plain.push(byte);
    }
    Ok(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_use_the_master_only() {
        let facts = SshFacts {
            program: "ssh".into(),
            control_path: "/run/50%/ssh".into(),
            user: "agent".into(),
            exec: "/usr/lib/ringfence/exec".into(),
        };
        let list = arguments(&facts, "s-1", true).expect("arguments");
        let text: Vec<_> = list.iter().map(|item| item.to_string_lossy()).collect();
        assert_eq!(
            text.join(" "),
            "-F none -S /run/50%%/ssh -o ProxyCommand=false -o ControlMaster=no -o BatchMode=yes \
             -o ClearAllForwardings=yes -o ForwardAgent=no -o ForwardX11=no -o PermitLocalCommand=no \
             -o EscapeChar=none -o LogLevel=ERROR -tt -l agent -- machine /usr/lib/ringfence/exec s-1"
        );
        assert!(arguments(&facts, "s-1", false).expect("arguments").contains(&"-T".into()));
        let odd = SshFacts { control_path: "/a${HOME}".into(), ..facts };
        assert!(arguments(&odd, "s-1", false).is_err());
    }
}
