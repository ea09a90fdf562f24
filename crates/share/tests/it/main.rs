//! A share as the real process that it is: what holds it, what it says, how it
//! is steered and how it ends. Needs user name spaces and Landlock.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod keeper;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Uids that no account has.
const RUN_AS: u32 = 3_211_001;
const OWNER: u32 = 3_211_002;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

struct Place {
    temp: TempDir,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = temp.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inside"), "x").unwrap();
        fs::write(temp.path().join("beside"), "secret").unwrap();
        Self { temp, folder }
    }

    fn owned_by(self, id: u32) -> Self {
        for path in [self.folder.join("inside"), self.folder.clone()] {
            chown(path, Some(id), Some(id)).unwrap();
        }
        self
    }

    fn spec(&self) -> Value {
        let mut spec = json!({
            "folder": self.folder,
            "vhost_socket": self.temp.path().join("vhost.sock"),
            "control_socket": self.temp.path().join("control.sock"),
            "tag": "test",
            "access": "rw",
        });
        if is_root() {
            spec["run_as"] = json!(RUN_AS);
        }
        spec
    }

    fn connect(&self) -> Line {
        Line::new(UnixStream::connect(self.temp.path().join("control.sock")).unwrap())
    }
}

struct Line(BufReader<UnixStream>);

impl Line {
    fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, command: &Value) -> Value {
        let stream = self.0.get_mut();
        stream.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

/// A running share; ended when dropped.
struct Share(Child);

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "starts the program under test")]
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("share");
    command
}

fn start_with(mut command: Command, input: &str) -> (Share, Value) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let share = Share(child);
    (share, serde_json::from_str(&line).unwrap())
}

fn start(spec: &Value) -> (Share, Value) {
    let program = Path::new(env!("CARGO_BIN_EXE_share-alone"));
    start_with(command(program), &spec.to_string())
}

fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_confined(pid: u32, ready: &Value) {
    let confinement = &ready["ready"]["confinement"];
    assert_eq!(confinement["namespaces"], true, "{ready}");
    assert_ne!(confinement["landlock"], "none", "{ready}");
    assert_eq!(confinement["seccomp"], 2, "{ready}");
    // The kernel's word counts, not the report's.
    assert_eq!(status(pid, "Seccomp"), "2");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "CapEff"), "0000000000000002"); // CAP_DAC_OVERRIDE
    assert_eq!(status(pid, "CapPrm"), "0000000000000002");
    assert_eq!(status(pid, "CapBnd"), "0000000000000000");
    assert_eq!(status(pid, "CapInh"), "0000000000000000");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.contains("core")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    if is_root() {
        for space in ["user", "mnt", "net", "ipc", "uts"] {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{space}")).unwrap();
            assert_ne!(of(&pid.to_string()), of("self"), "{space}");
        }
        // The folder is all that has a name.
        let names: Vec<_> = fs::read_dir(format!("/proc/{pid}/root"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["inside"]);
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        assert!(mounts.contains("nosuid,nodev,noexec"), "{mounts}");
    }
}

#[test]
fn started_by_root_it_has_a_uid_of_its_own_and_the_owners_files_only() {
    if !is_root() {
        return; // The next test is the one for users.
    }
    for owner in [OWNER, 0] {
        let place = Place::new().owned_by(owner);
        let (share, ready) = start(&place.spec());
        let pid = share.0.id();
        assert_confined(pid, &ready);
        assert_eq!(ready["ready"]["confinement"]["uid"], RUN_AS);
        // real, effective, saved; the last is for files.
        let ids = format!("{RUN_AS} {RUN_AS} {RUN_AS} {owner}");
        assert_eq!(status(pid, "Uid"), ids);
        assert_eq!(status(pid, "Gid"), ids);
        assert_eq!(status(pid, "Groups"), "");
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        let mapped: Vec<_> = map.split_whitespace().collect();
        let [own, other] = [RUN_AS.to_string(), owner.to_string()];
        assert_eq!(mapped, [&own, &own, "1", &other, &other, "1"]);
    }
}

#[test]
fn started_by_a_user_it_is_confined_as_well() {
    let place = Place::new();
    let (place, mut command) = if is_root() {
        let place = place.owned_by(OWNER);
        chown(place.temp.path(), Some(OWNER), Some(OWNER)).unwrap();
        // The build directory may be in a place that only root can enter.
        let program = place.temp.path().join("share-alone");
        fs::copy(env!("CARGO_BIN_EXE_share-alone"), &program).unwrap();
        let mut command = command(&program);
        command.uid(OWNER).gid(OWNER);
        (place, command)
    } else {
        (place, command(Path::new(env!("CARGO_BIN_EXE_share-alone"))))
    };
    command.current_dir("/");
    let mut spec = place.spec();
    spec["run_as"] = Value::Null;
    let (share, ready) = start_with(command, &spec.to_string());
    assert_confined(share.0.id(), &ready);
    let owner = fs::metadata(&place.folder).unwrap().uid();
    assert_eq!(ready["ready"]["confinement"]["uid"], owner);
    assert!(status(share.0.id(), "Uid").starts_with(&format!("{owner} {owner}")));
}

#[test]
fn a_read_only_folder_is_mounted_read_only_and_never_set_to_rw() {
    let place = Place::new();
    let mut spec = place.spec();
    spec["access"] = json!("ro");
    let (share, ready) = start(&spec);
    assert!(ready.get("ready").is_some(), "{ready}");
    if is_root() {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", share.0.id())).unwrap();
        assert!(mounts.contains(" ro,nosuid"), "{mounts}");
    }
    let mut line = place.connect();
    let answer = line.ask(&json!({"set": "rw"}));
    assert!(answer["error"].as_str().unwrap().contains("read-only"), "{answer}");
    assert_eq!(line.ask(&json!({"get": true}))["mode"], "closed");
    assert_eq!(line.ask(&json!({"set": "ro"}))["mode"], "ro");
    drop(line);
    drop(share);
    spec["mode"] = json!("rw");
    let (_, answer) = start(&spec);
    assert!(answer["error"]["message"].as_str().unwrap().contains("read-only"));
}

#[test]
fn the_control_socket_outlives_its_connections() {
    let place = Place::new();
    let (mut share, _) = start(&place.spec());
    let mut first = place.connect();
    assert_eq!(first.ask(&json!({"set": "rw"}))["mode"], "rw");
    let mut second = place.connect();
    assert_eq!(second.ask(&json!({"get": true}))["mode"], "rw");
    let garbage = first.ask(&json!({"set": "sideways"}));
    assert!(garbage["error"].as_str().unwrap().contains("not a command"));
    drop(first);
    // A line without end is not read for ever.
    let mut rude = UnixStream::connect(place.temp.path().join("control.sock")).unwrap();
    rude.write_all(&[b'x'; 5000]).unwrap();
    let mut rest = Vec::new();
    let _ = rude.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(place.connect().ask(&json!({"set": "held"}))["mode"], "held");
    assert_eq!(second.ask(&json!({"set": "closed"}))["mode"], "closed");
    second.0.get_mut().write_all(b"{\"exit\":true}\n").unwrap();
    assert_eq!(share.0.wait().unwrap().code(), Some(0));
}

#[test]
fn only_its_owner_can_connect() {
    let place = Place::new();
    let mut spec = place.spec();
    if is_root() {
        spec["front_end"] = json!(OWNER);
    }
    let (_share, _) = start(&spec);
    for socket in ["vhost.sock", "control.sock"] {
        let meta = fs::metadata(place.temp.path().join(socket)).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600, "{socket}");
        if is_root() {
            let want = if socket == "vhost.sock" { OWNER } else { 0 };
            assert_eq!(meta.uid(), want, "{socket}");
        }
    }
}

#[test]
fn it_ends_when_the_front_end_is_gone() {
    let place = Place::new();
    let (mut share, _) = start(&place.spec());
    drop(UnixStream::connect(place.temp.path().join("vhost.sock")).unwrap());
    assert_eq!(share.0.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_shared_is_refused_with_the_reason() {
    let place = Place::new();
    symlink(&place.folder, place.temp.path().join("link")).unwrap();
    let change = |key: &str, value: Value| {
        let mut spec = place.spec();
        spec[key] = value;
        spec.to_string()
    };
    let mut cases = vec![
        (change("folder", json!("/does/not/exist")), "No such file"),
        (change("folder", json!(place.temp.path().join("link"))), "not a directory"),
        (change("folder", json!(place.temp.path().join("beside"))), "not a directory"),
        (change("identity", json!([1, 2])), "another directory"),
        (change("tag", json!("x".repeat(37))), "36 bytes"),
        (change("vhost_socket", json!("/does/not/exist/s")), "No such file"),
        (change("typo", json!(1)), "typo"),
        ("{".to_owned(), "EOF"),
    ];
    if is_root() {
        cases.push((change("run_as", json!(0)), "run_as"));
        cases.push((change("run_as", Value::Null), "run_as"));
    }
    for (input, reason) in cases {
        let program = Path::new(env!("CARGO_BIN_EXE_share-alone"));
        let (mut share, answer) = start_with(command(program), &input);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{input}: {message}");
        assert_eq!(share.0.wait().unwrap().code(), Some(1), "{input}");
    }
}
