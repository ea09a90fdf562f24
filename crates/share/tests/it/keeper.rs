//! A keeper as the real process that it is, and a share beside it: what each of them
//! can reach, and that neither goes on without the other.

use super::*;

fn kept(place: &Place) -> PathBuf {
    let store = place.temp.path().join("kept");
    fs::create_dir_all(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    store
}

fn keeper_spec(place: &Place) -> Value {
    json!({
        "folder": place.folder,
        "store": kept(place),
        "socket": place.temp.path().join("keep.sock"),
        "control_socket": place.temp.path().join("keep.ctl"),
        "quota": 1 << 20,
    })
}

#[expect(clippy::disallowed_methods, reason = "starts the program under test")]
fn start_keeper(spec: &Value) -> (Share, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_share-alone"));
    command.arg("keeper");
    start_with(command, &spec.to_string())
}

fn start_both(place: &Place) -> (Share, Share) {
    let (keeper, ready) = start_keeper(&keeper_spec(place));
    assert_ne!(ready["ready"]["landlock"], "none", "{ready}");
    let mut spec = place.spec();
    spec["keeper"] = json!(place.temp.path().join("keep.sock"));
    let (share, ready) = start(&spec);
    assert!(ready.get("ready").is_some(), "{ready}");
    (keeper, share)
}

fn ask(place: &Place, command: &Value) -> Value {
    let stream = UnixStream::connect(place.temp.path().join("keep.ctl")).unwrap();
    Line::new(stream).ask(command)
}

#[test]
fn it_is_confined_and_what_it_keeps_has_no_name_in_the_share() {
    let place = Place::new();
    let (keeper, share) = start_both(&place);
    let pid = keeper.0.id();
    assert_eq!(status(pid, "Seccomp"), "2");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    // CAP_DAC_OVERRIDE and CAP_FOWNER for root's keeper, nothing for a user's.
    let own = if is_root() { "000000000000000a" } else { "0000000000000000" };
    assert_eq!(status(pid, "CapEff"), own);
    assert_eq!(status(pid, "CapPrm"), own);
    let answer = ask(&place, &json!({"begin": "s-1"}));
    assert_eq!(answer["sessions"], json!(["s-1"]), "{answer}");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let directory = kept(&place).join("s-1");
    assert_eq!((mode(&directory), mode(&directory.join("journal"))), (0o700, 0o600));
    for socket in ["keep.sock", "keep.ctl"] {
        assert_eq!(mode(&place.temp.path().join(socket)), 0o600, "{socket}");
    }
    if is_root() {
        // Neither by name nor by a descriptor.
        let root = format!("/proc/{}/root", share.0.id());
        let names: Vec<_> =
            fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["inside"]);
        for descriptor in fs::read_dir(format!("/proc/{}/fd", share.0.id())).unwrap() {
            let target = fs::read_link(descriptor.unwrap().path()).unwrap();
            assert!(!target.starts_with(kept(&place)), "{target:?}");
        }
    }
}

#[test]
fn the_keeper_ends_with_its_share_and_leaves_its_journal() {
    let place = Place::new();
    let (mut keeper, share) = start_both(&place);
    ask(&place, &json!({"begin": "s-1"}));
    drop(share);
    assert_eq!(keeper.0.wait().unwrap().code(), Some(0));
    let journal = ringfence_share::journal::Journal::read(&kept(&place).join("s-1/journal"));
    let journal = journal.unwrap();
    assert_eq!(journal.records.len(), 1);
    assert!(!journal.is_complete(), "nobody ended it");
}

#[test]
fn a_session_that_ends_leaves_a_complete_journal_and_two_at_once_share_one() {
    use ringfence_share::journal::{Journal, Operation};
    let place = Place::new();
    let (_keeper, _share) = start_both(&place);
    let stream = UnixStream::connect(place.temp.path().join("keep.ctl")).unwrap();
    let mut line = Line::new(stream);
    for (command, open) in [
        (json!({"begin": "a"}), json!(["a"])),
        (json!({"begin": "b"}), json!(["a", "b"])),
        (json!({"end": "a"}), json!(["b"])),
        (json!({"end": "b"}), json!([])),
    ] {
        assert_eq!(line.ask(&command)["sessions"], open, "{command}");
        let journal = Journal::read(&kept(&place).join("a/journal")).unwrap();
        assert_eq!(journal.is_complete(), open == json!([]), "{command}");
    }
    let pointer = Journal::read(&kept(&place).join("b/journal")).unwrap();
    assert_eq!(pointer.records[0].operation, Operation::With);
    assert_eq!(pointer.records[0].path, b"a");
    for bad in ["", "../x", "a/b", ".", "-x", &"x".repeat(65)] {
        let answer = line.ask(&json!({ "begin": bad }));
        assert!(answer["error"].is_string(), "{bad}: {answer}");
    }
}

#[test]
fn a_share_does_not_start_without_the_keeper_that_it_was_told_of() {
    let place = Place::new();
    let mut spec = place.spec();
    spec["keeper"] = json!(place.temp.path().join("keep.sock"));
    let (mut share, answer) = start(&spec);
    assert!(answer["error"]["message"].as_str().unwrap().contains("keep.sock"), "{answer}");
    assert_eq!(share.0.wait().unwrap().code(), Some(1));
}

#[test]
fn what_is_no_message_ends_the_connection_and_keeps_nothing() {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
    let place = Place::new();
    let (mut keeper, _) = start_keeper(&keeper_spec(&place));
    ask(&place, &json!({"begin": "s-1"}));
    let address = SocketAddrUnix::new(place.temp.path().join("keep.sock")).unwrap();
    let (domain, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let line = rustix::net::socket_with(domain, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::connect(&line, &address).unwrap();
    rustix::net::send(&line, &[7; 3000], SendFlags::NOSIGNAL).unwrap();
    // It was the only connection: the keeper has nobody to keep for.
    assert_eq!(keeper.0.wait().unwrap().code(), Some(0));
    let names: Vec<_> = fs::read_dir(kept(&place).join("s-1")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
