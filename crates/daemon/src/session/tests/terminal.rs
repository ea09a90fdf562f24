//! Sessions with a terminal.

use ringfence_model::api::TerminalSize;
use ringfence_model::attach::{ClientSignal, FromClient, FromSession};
use ringfence_model::session::Exit;

use super::harness::{Machine, Running};

#[test]
fn size_keys_and_exit_come_through() {
    let Some(machine) = Machine::start() else { return };
    let spec = machine.terminal_spec("t", &["bash", "--norc", "--noprofile"]);
    let mut session = Running::start(spec);
    let mut client = session.attach();
    assert!(client.welcome.terminal && client.welcome.writer);
    client.type_in("stty size; tty; echo $TERM\n");
    client.wait_for("24 80");
    client.wait_for("/dev/pts/");
    client.wait_for("xterm\r\n");
    client.send_json(FromClient::Resize, &TerminalSize { rows: 31, columns: 101 });
    client.type_in("while ! stty size | grep 31.101; do sleep 0.1; done\n");
    client.wait_for("31 101\r\n");
    client.type_in("sh -c 'echo a''sleep; exec sleep 1000'\n");
    client.wait_for("asleep");
    client.type_in("\u{3}");
    client.type_in("echo code=$?\n");
    client.wait_for("code=130");
    client.type_in("exit 7\n");
    assert_eq!(client.finish().exit, Exit::Code(7));
    session.gone();
    let record = String::from_utf8(session.recorded()).expect("text");
    assert!(record.contains("code=130") && record.contains("31 101"), "{record}");
}

#[test]
fn a_stopped_command_is_told_and_continued() {
    let Some(machine) = Machine::start() else { return };
    let script = "echo up; while read x; do echo got $x; done; exit 4";
    let session = Running::start(machine.terminal_spec("z", &["sh", "-c", script]));
    let mut client = session.attach();
    client.wait_for("up");
    client.type_in("\u{1a}");
    client.wait_for_kind(FromSession::Stopped);
    client.signal(ClientSignal::Cont);
    client.type_in("one\n");
    client.wait_for("got one");
    // Stopped, and the person goes away: whoever comes next finds it at work.
    client.type_in("\u{1a}");
    client.wait_for_kind(FromSession::Stopped);
    drop(client);
    let mut client = session.attach();
    client.type_in("two\n");
    client.wait_for("got two");
    client.type_in("\u{4}");
    assert_eq!(client.finish().exit, Exit::Code(4));
}

#[test]
fn a_lost_terminal_leaves_the_session_and_another_one_takes_it_up() {
    let Some(machine) = Machine::start() else { return };
    let script =
        r"printf '\033[?2004h\033[6n'; echo up; while read x; do echo got $x; done; exit 9";
    let session = Running::start(machine.terminal_spec("k", &["sh", "-c", script]));
    let mut client = session.attach();
    client.wait_for("up");
    assert!(client.text().contains("\u{1b}[6n"), "a live question passes");
    client.type_in("one\n");
    client.wait_for("got one");
    drop(client);
    let mut second = session.attach();
    second.wait_for("got one");
    assert!(second.text().starts_with("\u{1b}[?2004h"), "{:?}", second.text());
    assert!(!second.text().contains("[6n"), "nobody is asked twice");
    second.type_in("two\n");
    second.wait_for("got two");
    let mut watcher = session.attach_as(true, None);
    assert!(!watcher.welcome.writer);
    watcher.wait_for("got two");
    let mut third = session.attach();
    second.wait_for_kind(FromSession::TakenOver);
    third.type_in("three\n");
    third.wait_for("got three");
    watcher.wait_for("got three");
    third.type_in("\u{4}");
    assert_eq!(third.finish().exit, Exit::Code(9));
    assert_eq!(watcher.finish().exit, Exit::Code(9));
    assert!(third.text().contains("\u{1b}[?2004l"), "modes are undone: {:?}", third.text());
}

#[test]
fn the_terminal_is_not_written_for_the_person() {
    let Some(machine) = Machine::start() else { return };
    let script = r"printf 'a\033]52;c;aGk=\007b\033]0;title\033\\c\033[21td\005e\033P$qm\033\\f\n'";
    let session = Running::start(machine.terminal_spec("f", &["sh", "-c", script]));
    let mut client = session.attach();
    assert_eq!(client.finish().exit, Exit::Code(0));
    assert_eq!(client.text(), "abcdef\r\n");
    assert_eq!(session.recorded(), b"abcdef\r\n");
}
