//! The session's own connection to the guest service: the command goes there, and the
//! truth about its end comes from there. When the connection closes, the guest kills
//! every process of the session.
//!
//! The guest is hostile: lines are bounded, and nonsense is the same as silence.

use std::path::Path;
use std::time::Duration;

use ringfence_model::attach::ClientSignal;
use ringfence_model::bytes;
use ringfence_model::name::SessionId;
use ringfence_model::session::Exit;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::spec::{SecretVariable, SessionSpec};

/// Longest line of the guest's that is read, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// Why the guest service does not run the session.
#[derive(Debug, thiserror::Error)]
pub enum LifelineError {
    /// Its socket does not answer.
    #[error("the guest service of machine {machine} cannot be reached: {source}")]
    Unreachable {
        /// The machine.
        machine: String,
        /// Why.
        source: std::io::Error,
    },
    /// It said no.
    #[error("the guest service of machine {machine} refused: {message}")]
    Refused {
        /// The machine.
        machine: String,
        /// Its words, escaped.
        message: String,
    },
    /// It answered nothing, or nonsense.
    #[error("the guest service of machine {machine} did not answer within {seconds} s")]
    Silent {
        /// The machine.
        machine: String,
        /// How long was waited.
        seconds: u64,
    },
}

/// What the guest reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Started,
    Stopped,
    Continued,
    /// The command could not be started; its exit follows.
    Failed(String),
    Exited(Exit),
    /// The guest lost the command without knowing how it ended.
    Lost,
}

/// The side that asks. Dropping it ends every process of the session.
#[derive(Debug)]
pub(super) struct Lifeline(OwnedWriteHalf);

impl Lifeline {
    /// Sends a signal to the command's foreground. A broken connection shows elsewhere.
    pub(super) async fn signal(&mut self, signal: &str) {
        self.say(&json!({"op": "signal", "name": signal})).await;
    }

    /// Continues a stopped command in the foreground.
    pub(super) async fn proceed(&mut self) {
        self.say(&json!({"op": "continue"})).await;
    }

    async fn say(&mut self, request: &serde_json::Value) {
        let mut line = request.to_string();
        line.push('\n');
        // The guest may not read: what does not go out at once is not worth waiting for.
        let sent = tokio::time::timeout(Duration::from_secs(2), self.0.write_all(line.as_bytes()));
        if !matches!(sent.await, Ok(Ok(()))) {
            tracing::debug!("the guest service takes no request");
        }
    }
}

/// Registers the session's command; events follow until the connection ends.
pub(super) async fn register(
    spec: &SessionSpec,
    secrets: &[SecretVariable],
) -> Result<(Lifeline, mpsc::Receiver<Event>), LifelineError> {
    let machine = || spec.machine.to_string();
    let patience = spec.limits.register();
    let talk = async {
        let mut stream = connect(&spec.guest_socket).await?;
        stream.write_all(&request(spec, secrets)?).await?;
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let answer = line(&mut reader).await;
        std::io::Result::Ok((reader, writer, answer))
    };
    let (reader, writer, answer) = match tokio::time::timeout(patience, talk).await {
        Err(_) => {
            return Err(LifelineError::Silent { machine: machine(), seconds: patience.as_secs() });
        }
        Ok(Err(source)) => return Err(LifelineError::Unreachable { machine: machine(), source }),
        Ok(Ok(all)) => all,
    };
    let answer: Option<Line> = answer.and_then(|line| serde_json::from_slice(&line).ok());
    match answer {
        Some(Line { ok: true, event: Some(event), .. }) if event == "registered" => {}
        Some(Line { message: Some(message), .. }) => {
            let message = bytes::visible(&message).chars().take(500).collect();
            return Err(LifelineError::Refused { machine: machine(), message });
        }
        _ => {
            let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            return Err(LifelineError::Unreachable { machine: machine(), source });
        }
    }
    let (events, receiver) = mpsc::channel(16);
    tokio::spawn(listen(reader, events));
    Ok((Lifeline(writer), receiver))
}

async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// The request that registers a session. `Vec<u8>` and not a JSON value: a value would leave
/// copies of the secrets behind.
fn request(spec: &SessionSpec, secrets: &[SecretVariable]) -> std::io::Result<Zeroizing<Vec<u8>>> {
    #[derive(Serialize)]
    struct Register<'a> {
        op: &'static str,
        id: &'a SessionId,
        argv_b64: Vec<String>,
        env_b64: Vec<[&'a str; 2]>,
        cwd_b64: String,
        terminal: bool,
    }
    let text = |value: &[u8]| Zeroizing::new(bytes::encode(value));
    let plain = spec.env.iter().map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let secret = secrets.iter().map(|one| [one.variable.as_bytes(), one.value.expose()]);
    // Of two that are the same variable the guest takes the later one.
    let environment: Vec<_> = plain.chain(secret).map(|pair| pair.map(text)).collect();
    let register = Register {
        op: "session",
        id: &spec.id,
        argv_b64: spec.argv.iter().map(|word| bytes::encode(word.as_bytes())).collect(),
        env_b64: environment.iter().map(|[name, value]| [name.as_str(), value.as_str()]).collect(),
        cwd_b64: bytes::encode(spec.cwd.as_bytes()),
        terminal: spec.terminal.is_some(),
    };
    let mut line = Zeroizing::new(serde_json::to_vec(&register)?);
    line.push(b'\n');
    Ok(line)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    ok: bool,
    event: Option<String>,
    message: Option<String>,
    code: Option<u8>,
    signal: Option<u8>,
    stage: Option<String>,
    errno: Option<i32>,
}

/// One line without its end; `None` at the connection's end or when it is too long.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let count = reader.take(MAX_LINE).read_until(b'\n', &mut line).await.ok()?;
    (count > 0 && line.pop() == Some(b'\n')).then_some(line)
}

async fn listen(mut reader: BufReader<OwnedReadHalf>, events: mpsc::Sender<Event>) {
    while let Some(line) = line(&mut reader).await {
        if let Some(event) = event(&line)
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

/// The event of a line; `None` for anything else.
fn event(line: &[u8]) -> Option<Event> {
    let line: Line = serde_json::from_slice(line).ok()?;
    Some(match line.event?.as_str() {
        "started" => Event::Started,
        "stopped" => Event::Stopped,
        "continued" => Event::Continued,
        "exited" => match (line.code, line.signal) {
            (Some(code), None) => Event::Exited(Exit::Code(code)),
            (None, Some(signal)) => Event::Exited(Exit::Signal(signal)),
            _ => return None,
        },
        "killed" => Event::Exited(Exit::Signal(line.signal?)),
        "failed" => {
            let what = match line.stage.as_deref() {
                Some("directory") => "its directory cannot be entered",
                _ => "it cannot be started",
            };
            let cause = std::io::Error::from_raw_os_error(line.errno.unwrap_or(0));
            Event::Failed(format!("{what}: {cause}"))
        }
        "lost" => Event::Lost,
        _ => return None,
    })
}

/// The guest's word for a client's signal.
pub(super) const fn name(signal: ClientSignal) -> &'static str {
    match signal {
        ClientSignal::Int => "INT",
        ClientSignal::Term => "TERM",
        ClientSignal::Hup => "HUP",
        ClientSignal::Quit => "QUIT",
        ClientSignal::Cont => "CONT",
        ClientSignal::Usr1 => "USR1",
        ClientSignal::Usr2 => "USR2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_guest_says_is_understood_or_ignored() {
        let exit = |text: &str| event(text.as_bytes());
        assert_eq!(
            exit(r#"{"ok":true,"event":"exited","code":7}"#),
            Some(Event::Exited(Exit::Code(7)))
        );
        assert_eq!(exit(r#"{"event":"killed","signal":9}"#), Some(Event::Exited(Exit::Signal(9))));
        assert_eq!(
            exit(r#"{"event":"exited","signal":15}"#),
            Some(Event::Exited(Exit::Signal(15)))
        );
        assert_eq!(exit(r#"{"event":"stopped","signal":20}"#), Some(Event::Stopped));
        assert!(matches!(
            exit(r#"{"event":"failed","stage":"directory","errno":2}"#),
            Some(Event::Failed(reason)) if reason.contains("No such file")
        ));
        for nonsense in [
            "",
            "{}",
            "[1]",
            r#"{"event":"exited","code":256}"#,
            r#"{"event":"exited"}"#,
            r#"{"event":5}"#,
        ] {
            assert_eq!(exit(nonsense), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = event(&line);
        }
    }
}
