//! The `ssh` that carries SFTP to a copy on another computer: the only place that runs it for
//! that. Owns its options and that nothing waits for ever. The other computer is the user's
//! own, reached as the user's own ssh configuration says; still it gets nothing but SFTP.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ringfence_vault::{Channel, Connect};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Handle;

use crate::host::command::Program;

/// An ssh that says or takes nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(120);
/// What a pipe takes without waiting once it is writable at all.
const ATOMIC: usize = 4096;

/// Whom to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// A private key besides those of the user's configuration.
    pub(super) identity: Option<PathBuf>,
    /// A file of known host keys instead of the user's.
    pub(super) known_hosts: Option<PathBuf>,
}

impl Login {
    fn arguments(&self) -> Vec<OsString> {
        let mut list: Vec<OsString> = Vec::new();
        let mut option = |text: &str| list.extend([OsString::from("-o"), text.into()]);
        for text in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "Tunnel=no",
            "ControlMaster=no",
            "ControlPath=none",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "LogLevel=ERROR",
        ] {
            option(text);
        }
        if let Some(file) = &self.known_hosts {
            option(&format!("UserKnownHostsFile={}", quoted(file)));
        }
        if let Some(file) = &self.identity {
            option("IdentitiesOnly=yes");
            option(&format!("IdentityFile={}", quoted(file)));
        }
        if let Some(port) = self.port {
            list.extend([OsString::from("-p"), port.to_string().into()]);
        }
        if let Some(user) = &self.user {
            list.extend([OsString::from("-l"), user.into()]);
        }
        list.extend(["-s".into(), "--".into(), OsString::from(&self.host), "sftp".into()]);
        list
    }

    /// Opens connections; to be called where the daemon's runtime is.
    pub(super) fn connect(self, agent: Option<OsString>) -> Connect {
        let runtime = Handle::current();
        Arc::new(move || {
            let _entered = runtime.enter();
            let (from, out) = io::pipe()?;
            let (input, to) = io::pipe()?;
            let (words, err) = io::pipe()?;
            let mut program = Program::new("ssh").args(self.arguments());
            if let Some(agent) = &agent {
                // The user's keys may be in an agent; it is used by ssh and not passed on.
                program = program.env("SSH_AUTH_SOCK", agent);
            }
            let child = program
                .spawn(Stdio::from(input), Stdio::from(out), Stdio::from(err))
                .map_err(io::Error::other)?;
            Ok(Channel {
                from: Box::new(Patient { pipe: from, words: Some(words) }),
                to: Box::new(Patient { pipe: to, words: None::<io::PipeReader> }),
                held: Box::new(child),
            })
        })
    }
}

/// As ssh's configuration takes a file's name.
fn quoted(file: &std::path::Path) -> String {
    format!("\"{}\"", file.display().to_string().replace('%', "%%"))
}

/// A pipe that fails when nothing moves for too long.
struct Patient<P, W> {
    pipe: P,
    /// Where ssh says why it ended.
    words: Option<W>,
}

fn wait(pipe: &impl AsFd, what: PollFlags) -> io::Result<()> {
    let patience = Timespec { tv_sec: SILENCE.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(pipe, what)], Some(&patience)) {
            Ok(0) => {
                let text = format!("nothing moved for {} s", SILENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

impl Read for Patient<io::PipeReader, io::PipeReader> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait(&self.pipe, PollFlags::IN)?;
        let count = self.pipe.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(words) = self.words.take()
        {
            let mut said = Vec::new();
            wait(&words, PollFlags::IN)?;
            words.take(4096).read_to_end(&mut said)?;
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it ended");
            let last = ringfence_model::bytes::visible(last.trim());
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("ssh: {last}")));
        }
        Ok(count)
    }
}

impl Write for Patient<io::PipeWriter, io::PipeReader> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait(&self.pipe, PollFlags::OUT)?;
        self.pipe.write(&bytes[..bytes.len().min(ATOMIC)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_told_who_where_and_nothing_that_could_be_an_option() {
        let login = Login {
            user: Some("ann".into()),
            host: "nas".into(),
            port: Some(2222),
            identity: Some("/home/ann/a key".into()),
            known_hosts: None,
        };
        let list: Vec<String> =
            login.arguments().iter().map(|a| a.to_string_lossy().into_owned()).collect();
        let line = list.join(" ");
        assert!(line.ends_with("-p 2222 -l ann -s -- nas sftp"), "{line}");
        assert!(line.contains("-o IdentityFile=\"/home/ann/a key\""), "{line}");
        assert!(line.contains("StrictHostKeyChecking=yes") && line.contains("ForwardAgent=no"));
    }

    #[tokio::test]
    async fn why_ssh_did_not_connect_is_said_in_its_own_words() {
        let login = Login {
            user: None,
            host: "127.0.0.1".into(),
            port: Some(1),
            identity: None,
            known_hosts: None,
        };
        let connect = login.connect(None);
        let said = tokio::task::spawn_blocking(move || {
            let mut channel = connect().expect("starts");
            channel.from.read(&mut [0; 10]).expect_err("refused").to_string()
        });
        let said = said.await.expect("ends");
        assert!(said.contains("Connection refused"), "{said}");
    }
}
