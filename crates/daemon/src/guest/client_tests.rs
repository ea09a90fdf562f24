//! The client against the real guest service, run on the host in a directory of its own,
//! and against peers that do not behave.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use super::*;
use crate::guest::protocol::{Room, Trust};
use crate::host::command::Program;

struct Service {
    directory: tempfile::TempDir,
    child: tokio::process::Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
    }
}

/// The service itself. Its control groups are plain directories here, so nothing is killed by them.
async fn service() -> (Service, Guest) {
    let directory = tempfile::tempdir().expect("directory");
    let groups = directory.path().join("groups");
    std::fs::create_dir(&groups).expect("made");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guest/ringfence-guest");
    let uid = rustix::process::getuid().as_raw().to_string();
    let child = Program::new("python3")
        .arg(script)
        .env("RINGFENCE_GUEST_DIR", directory.path())
        .env("RINGFENCE_GUEST_CGROUP", &groups)
        .env("RINGFENCE_GUEST_UID", uid)
        .detach(&directory.path().join("log"))
        .expect("starts")
        .child;
    let socket = directory.path().join("guest.sock");
    let guest = Guest::new(&socket);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while guest.hello().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the service does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (Service { directory, child }, guest)
}

fn command(id: &str) -> Command {
    Command {
        id: id.to_owned(),
        argv_b64: vec![Bytes64::new("true")],
        env_b64: vec![(Bytes64::new("BYTES"), Bytes64::new([0xff, 0xfe]))],
        cwd_b64: Bytes64::new("/"),
    }
}

#[tokio::test]
async fn the_service_answers() {
    let (service, guest) = service().await;
    let hello = guest.hello().await.expect("hello");
    assert_eq!((hello.version, hello.trust), (crate::guest::protocol::VERSION, Trust::None));
    let usage = guest.usage().await.expect("usage");
    assert!(usage.memory.available <= usage.memory.total && usage.cpu_ticks.busy > 0, "{usage:?}");
    assert_ne!(usage.disk, Room { total: 0, available: 0 });
    assert!(guest.sync(service.directory.path(), Duration::from_secs(30)).await.expect("synced"));
    assert!(guest.processes().await.expect("processes").sessions.is_empty());
}

#[tokio::test]
async fn only_free_places_below_the_roots_are_mounted_on() {
    let (service, guest) = service().await;
    let kind = async |path: &Path| match guest.mount("s0", path, false).await {
        Err(GuestError::Refused { kind, .. }) => Some(kind),
        _ => None,
    };
    assert_eq!(kind(Path::new("/etc/x")).await, Some(Kind::Refused));
    assert_eq!(kind(Path::new("/tmp/../etc/x")).await, Some(Kind::Invalid));
    std::fs::write(service.directory.path().join("file"), "x").expect("written");
    assert_eq!(kind(service.directory.path()).await, Some(Kind::Occupied));
    let link = service.directory.path().join("link");
    std::os::unix::fs::symlink("/etc", &link).expect("link");
    assert_eq!(kind(&link.join("ringfence-test")).await, Some(Kind::Occupied));
    assert!(!Path::new("/etc/ringfence-test").exists());
    let unmounted = guest.unmount(service.directory.path()).await.expect("nothing to do");
    assert!(!unmounted.mounted);
}

/// Plays the runner by hand: what it is given, and what its words become.
#[tokio::test]
async fn a_session_is_fetched_once_and_reported() {
    let (service, guest) = service().await;
    let mut line = guest.session(command("s1")).await.expect("registered");
    let again = guest.session(command("s1")).await;
    assert!(matches!(again, Err(GuestError::Refused { kind: Kind::Occupied, .. })));
    let fetch = async || {
        let mut stream = connect_short(service.directory.path(), "exec.sock").await.expect("there");
        stream.write_all(b"s1\n").await.expect("asked");
        stream
    };
    let mut runner = fetch().await;
    let length = runner.read_u32_le().await.expect("length");
    let mut payload = vec![0; usize::try_from(length).expect("small")];
    runner.read_exact(&mut payload).await.expect("payload");
    let parts: Vec<&[u8]> = payload.split(|byte| *byte == 0).collect();
    assert_eq!(parts[..3], [b"/".as_slice(), b"1", b"true"]);
    assert!(parts.contains(&b"BYTES=\xff\xfe".as_slice()));
    let mut second = fetch().await;
    assert!(second.read_u32_le().await.is_err(), "a command is handed out once");
    runner.write_all(b"started 4242\nstopped 20\ncontinued 0\nexited 7\n").await.expect("told");
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(line.next().await.expect("event"));
    }
    let wanted = [
        Event::Started { pid: 4242 },
        Event::Stopped { signal: 20 },
        Event::Continued,
        Event::Exited { code: 7 },
    ];
    assert_eq!(seen, wanted);
    assert_eq!(guest.hello().await.expect("hello").sessions, ["s1"]);
    drop(line);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !guest.hello().await.expect("hello").sessions.is_empty() {
        assert!(std::time::Instant::now() < deadline, "the session outlives its life line");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a hostile guest may send instead of an answer.
#[tokio::test]
async fn nonsense_is_an_error_and_nothing_worse() {
    let long = [vec![b'['; 5 << 20], b"\n".to_vec()].concat();
    for answer in [
        b"null\n".to_vec(),
        b"{\"ok\": true}\n".to_vec(),
        b"\xff\xfe\n".to_vec(),
        b"{".to_vec(),
        long,
    ] {
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join("guest.sock");
        let listener = UnixListener::bind(&socket).expect("listens");
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            // The client may hang up in the middle of a long line.
            let _ = stream.write_all(&answer).await;
        });
        let error = Guest::new(&socket).hello().await.expect_err("nonsense");
        assert!(matches!(error, GuestError::Service(_)), "{error}");
        peer.await.expect("peer");
    }
}

#[tokio::test]
async fn a_guests_words_are_cleaned() {
    let line =
        b"{\"ok\": false, \"kind\": \"made-up\", \"message\": \"\\u001b]52;c;evil\\u0007 text\"}\n";
    let error = understand::<Hello>("hello", line).expect_err("refused");
    assert_eq!(error.to_string(), "the machine refused `hello`: ]52;c;evil text");
}
