//! QMP, the control protocol of QEMU: a small client of our own.
//!
//! Owns: the greeting, replies matched by id, events for whoever listens, file
//! descriptors handed over. Must not: know what a command is for. QEMU may have
//! been taken over by its guest, so lines are bounded and nothing is believed.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, oneshot, watch};

/// The longest line taken from QEMU; its own description of itself is about half a MiB.
const LONGEST_LINE: u64 = 8 << 20;

/// How long one command may take to be answered.
const ANSWER: Duration = Duration::from_secs(30);

/// Why a command to QEMU got no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QmpError {
    /// The socket could not be reached.
    #[error("QEMU's control socket cannot be reached: {0}")]
    Connect(Arc<io::Error>),
    /// The other side does not speak QMP.
    #[error("QEMU's control socket does not answer as QEMU does: {0}")]
    Greeting(String),
    /// The connection ended: QEMU is gone.
    #[error("QEMU has ended")]
    Closed,
    /// No answer in time.
    #[error("QEMU did not answer `{command}` within {} seconds", ANSWER.as_secs())]
    Deadline {
        /// The command.
        command: String,
    },
    /// QEMU said no.
    #[error("QEMU refused `{command}`: {text}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of the error, such as `DeviceNotFound`.
        class: String,
        /// QEMU's words.
        text: String,
    },
}

impl From<io::Error> for QmpError {
    fn from(error: io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }
}

/// Something that happened in QEMU.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `SHUTDOWN`.
    pub name: String,
    /// What QEMU says about it.
    pub data: Value,
}

type Reply = oneshot::Sender<Result<Value, QmpError>>;

#[derive(Debug, Default)]
struct Waiting {
    closed: bool,
    replies: HashMap<u64, (String, Reply)>,
}

/// A connection to one QEMU. Dropping it leaves QEMU running.
#[derive(Debug)]
pub struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Arc<Mutex<Waiting>>,
    events: broadcast::Sender<Event>,
    closed: watch::Receiver<bool>,
    next: AtomicU64,
    version: (u64, u64),
    pid: Option<i32>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Qmp {
    /// Connects to the socket `name` in `directory` and negotiates.
    ///
    /// # Errors
    /// When nobody listens, or what listens is not QEMU.
    pub async fn connect(directory: &Path, name: &str) -> Result<Self, QmpError> {
        let stream = connect_short(directory, name).await?;
        tokio::time::timeout(ANSWER, Self::negotiate(stream))
            .await
            .map_err(|_| QmpError::Deadline { command: "qmp_capabilities".to_owned() })?
    }

    async fn negotiate(stream: UnixStream) -> Result<Self, QmpError> {
        let pid = stream.peer_cred()?.pid();
        let (read, writer) = stream.into_split();
        let mut lines = BufReader::new(read);
        let greeting = next_value(&mut lines).await?;
        let number = |part: &str| {
            greeting["QMP"]["version"]["qemu"][part]
                .as_u64()
                .ok_or_else(|| QmpError::Greeting("no version in its greeting".to_owned()))
        };
        let version = (number("major")?, number("minor")?);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (events, _) = broadcast::channel(256);
        let (closing, closed) = watch::channel(false);
        let reader = tokio::spawn(listen(lines, Arc::clone(&waiting), events.clone(), closing));
        let writer = tokio::sync::Mutex::new(writer);
        let next = AtomicU64::new(1);
        let client = Self { writer, waiting, events, closed, next, version, pid, reader };
        client.execute("qmp_capabilities", json!({})).await?;
        Ok(client)
    }

    /// QEMU's major and minor version.
    #[must_use]
    pub const fn version(&self) -> (u64, u64) {
        self.version
    }

    /// The process that listens on the socket, as the kernel says.
    #[must_use]
    pub const fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Events from now on. A listener that falls 256 behind misses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Returns when the connection has ended, which is when QEMU has.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the reader is gone, which is the same news.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Runs a command and returns its result.
    ///
    /// # Errors
    /// When QEMU refuses, does not answer in time, or is gone.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.send(command, arguments, None).await
    }

    /// Runs a command that takes a file descriptor (`getfd`, `add-fd`).
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn execute_with(
        &self,
        command: &str,
        arguments: Value,
        descriptor: BorrowedFd<'_>,
    ) -> Result<Value, QmpError> {
        self.send(command, arguments, Some(descriptor)).await
    }

    async fn send(
        &self,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut line =
            json!({"execute": command, "arguments": arguments, "id": id}).to_string().into_bytes();
        line.push(b'\n');
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(QmpError::Closed);
            }
            waiting.replies.insert(id, (command.to_owned(), reply));
        }
        let work = async {
            let mut writer = self.writer.lock().await;
            let written = match descriptor {
                Some(descriptor) => write_with(&mut writer, &line, descriptor).await,
                None => writer.write_all(&line).await,
            };
            drop(writer);
            written.map_err(|_| QmpError::Closed)?;
            answer.await.map_err(|_| QmpError::Closed)?
        };
        let result = tokio::time::timeout(ANSWER, work)
            .await
            .unwrap_or_else(|_| Err(QmpError::Deadline { command: command.to_owned() }));
        lock(&self.waiting).replies.remove(&id);
        result
    }
}

/// Connects to a socket whose full path may be longer than the 107 bytes that an address holds.
///
/// # Errors
/// When the directory cannot be opened or nobody listens.
pub async fn connect_short(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let place = open_directory(directory)?;
    let path = short(&place, name);
    UnixStream::connect(path).await
}

fn open_directory(directory: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}

fn short(place: &OwnedFd, name: &str) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}/{name}", place.as_raw_fd())
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line; its first byte carries the descriptor.
async fn write_with(
    writer: &mut OwnedWriteHalf,
    line: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let stream: &UnixStream = writer.as_ref();
    loop {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor];
            if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let parts = [io::IoSlice::new(&line[..1])];
            Ok(sendmsg(stream.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL)?)
        });
        match sent {
            Ok(_) => return writer.write_all(&line[1..]).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn next_value(lines: &mut BufReader<OwnedReadHalf>) -> Result<Value, QmpError> {
    let mut line = Vec::new();
    let count = lines.take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
    if count == 0 || line.last() != Some(&b'\n') {
        return Err(QmpError::Closed);
    }
    serde_json::from_slice(&line).map_err(|error| QmpError::Greeting(error.to_string()))
}

async fn listen(
    mut lines: BufReader<OwnedReadHalf>,
    waiting: Arc<Mutex<Waiting>>,
    events: broadcast::Sender<Event>,
    closing: watch::Sender<bool>,
) {
    while let Ok(message) = next_value(&mut lines).await {
        if let Some(name) = message["event"].as_str() {
            // Nobody listening is fine.
            let _ = events.send(Event { name: name.to_owned(), data: message["data"].clone() });
            continue;
        }
        let Some(id) = message["id"].as_u64() else { continue };
        let Some((command, reply)) = lock(&waiting).replies.remove(&id) else { continue };
        let _ = reply.send(outcome(command, &message));
    }
    let mut waiting = lock(&waiting);
    waiting.closed = true;
    waiting.replies.clear();
    drop(waiting);
    let _ = closing.send(true);
}

fn outcome(command: String, message: &Value) -> Result<Value, QmpError> {
    let Some(error) = message.get("error") else {
        return Ok(message.get("return").cloned().unwrap_or(Value::Null));
    };
    let text = |field: &str| {
        error[field].as_str().unwrap_or("unknown").chars().take(500).collect::<String>()
    };
    Err(QmpError::Refused { command, class: text("class"), text: text("desc") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tokio::net::UnixListener;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}}, "capabilities": []}}"#;

    struct Peer {
        lines: BufReader<OwnedReadHalf>,
        writer: OwnedWriteHalf,
    }

    impl Peer {
        async fn say(&mut self, text: &str) {
            self.writer.write_all(format!("{text}\n").as_bytes()).await.expect("written");
        }
        async fn hear(&mut self) -> Value {
            next_value(&mut self.lines).await.expect("a command")
        }
    }

    async fn pair() -> (Qmp, Peer, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("directory");
        // Deeper than an address can hold.
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("made");
        let place = open_directory(&deep).expect("opens");
        let listener = UnixListener::bind(short(&place, "qmp.sock")).expect("listens");
        let peer = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let (read, writer) = stream.into_split();
            let mut peer = Peer { lines: BufReader::new(read), writer };
            peer.say(GREETING).await;
            let hello = peer.hear().await;
            assert_eq!(hello["execute"], "qmp_capabilities");
            peer.say(&json!({"return": {}, "id": hello["id"]}).to_string()).await;
            peer
        });
        let client = Qmp::connect(&deep, "qmp.sock").await.expect("connects");
        (client, peer.await.expect("peer"), directory)
    }

    #[tokio::test]
    async fn replies_find_their_command_in_any_order() {
        let (client, mut peer, _directory) = pair().await;
        assert_eq!(client.version(), (10, 0));
        assert_eq!(client.pid(), i32::try_from(std::process::id()).ok());
        let mut events = client.events();
        let answers = async {
            let first = peer.hear().await;
            let second = peer.hear().await;
            peer.say(r#"{"event": "STOP", "data": {"x": 1}, "timestamp": {}}"#).await;
            peer.say(&json!({"return": second["execute"], "id": second["id"]}).to_string()).await;
            let error = json!({"class": "DeviceNotFound", "desc": "no such thing"});
            peer.say(&json!({"error": error, "id": first["id"]}).to_string()).await;
        };
        let (one, two, ()) = tokio::join!(
            client.execute("one", json!({})),
            client.execute("two", json!({})),
            answers
        );
        assert_eq!(two.expect("answered"), "two");
        let text = one.expect_err("refused").to_string();
        assert_eq!(text, "QEMU refused `one`: no such thing");
        let event = events.recv().await.expect("event");
        assert_eq!(event, Event { name: "STOP".to_owned(), data: json!({"x": 1}) });
    }

    #[tokio::test]
    async fn the_end_of_qemu_is_noticed_by_all_who_wait() {
        let (client, mut peer, _directory) = pair().await;
        let ends = async {
            peer.hear().await;
            peer.say("this is not JSON").await;
        };
        let (answer, ()) = tokio::join!(client.execute("one", json!({})), ends);
        assert!(matches!(answer, Err(QmpError::Closed)), "{answer:?}");
        client.closed().await;
        assert!(matches!(client.execute("two", json!({})).await, Err(QmpError::Closed)));
    }

    #[tokio::test]
    async fn a_descriptor_travels_with_its_command() {
        let (client, mut peer, _directory) = pair().await;
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"x").expect("written");
        let receives = async {
            let stream: &UnixStream = peer.lines.get_ref().as_ref();
            stream.readable().await.expect("readable");
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [0; 4096];
            let mut parts = [io::IoSliceMut::new(&mut bytes)];
            let flags = rustix::net::RecvFlags::DONTWAIT;
            let got = rustix::net::recvmsg(stream.as_fd(), &mut parts, &mut control, flags);
            got.expect("received");
            let count = control.drain().count();
            let mut rest = Vec::new();
            peer.lines.read_until(b'\n', &mut rest).await.expect("rest");
            let line = [&bytes[..1], &rest].concat();
            let command: Value = serde_json::from_slice(&line).expect("JSON");
            peer.say(&json!({"return": {}, "id": command["id"]}).to_string()).await;
            count
        };
        let (answer, count) = tokio::join!(
            client.execute_with("getfd", json!({"fdname": "a"}), file.as_fd()),
            receives
        );
        answer.expect("answered");
        assert_eq!(count, 1);
    }
}
