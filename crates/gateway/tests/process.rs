//! Real gateways, started as the daemon starts them, with this test as their guest.
//!
//! A gateway confines its process, which needs a process with one thread: so this file
//! has a `main` of its own, which runs a gateway when it is told to, and otherwise
//! speaks the test runner's language.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test without the usual harness is a test all the same"
)]

#[expect(unreachable_pub, reason = "the library exports its error")]
#[path = "../src/confine.rs"]
mod confine;
mod guest;
#[path = "../src/seccomp.rs"]
mod seccomp;
/// What the included files import.
mod spec {
    pub(crate) use ringfence_gateway::{Guard, User};
}

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guest::{GATEWAY, Guest};
use ringfence_gateway::{GatewaySpec, Guard, Policy, Ready, Reply, Report, User};

/// The user a gateway becomes when the test runs as root.
const USER: User = User { uid: 993_217, gid: 993_217 };

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_gateway_is_confined", a_gateway_is_confined),
    ("a_confined_process_has_no_way_out", a_confined_process_has_no_way_out),
    ("root_is_refused", root_is_refused),
    ("a_link_survives_nonsense_and_is_replaced", a_link_survives_nonsense_and_is_replaced),
    ("the_host_is_out_of_reach", the_host_is_out_of_reach),
    ("a_named_port_of_the_host_is_reached", a_named_port_of_the_host_is_reached),
    ("ssh_comes_in_and_a_restart_keeps_the_port", ssh_comes_in_and_a_restart_keeps_the_port),
    ("a_question_without_resolver_fails_at_once", a_question_without_resolver_fails_at_once),
    ("control_answers_and_ends_it", control_answers_and_ends_it),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["gateway"] => {
            let result = ringfence_gateway::run(std::io::stdin().lock(), std::io::stdout());
            if let Err(error) = result {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        ["confined", rest @ ..] => confined(rest),
        words => run_tests(words),
    }
}

fn run_tests(words: &[&str]) {
    let ignored = words.contains(&"--ignored");
    if words.contains(&"--list") {
        for (name, _) in TESTS.iter().filter(|_| !ignored) {
            println!("{name}: test");
        }
        return;
    }
    let filters: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    for (name, test) in TESTS.iter().filter(|_| !ignored) {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(*filter)) {
            test();
            println!("test {name} ... ok");
        }
    }
}

struct Gateway {
    child: Child,
    ready: Ready,
    spec: GatewaySpec,
    _directory: Option<tempfile::TempDir>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test starts itself as a gateway")]
fn own_program(arguments: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn spec(policy: Policy, directory: &tempfile::TempDir) -> GatewaySpec {
    GatewaySpec {
        machine: "shop".to_owned(),
        link: directory.path().join("link.sock"),
        control: directory.path().join("control.sock"),
        link_owner: None,
        ssh_port: 0,
        policy,
        host_ports: Vec::new(),
        // Nobody listens there, so that tests ask nobody.
        resolvers: vec!["127.0.0.99".parse().unwrap()],
        proxy: None,
        user: is_root().then_some(USER),
        without: Vec::new(),
    }
}

fn launch(spec: GatewaySpec, directory: Option<tempfile::TempDir>) -> Gateway {
    let mut child = own_program(&["gateway"]);
    let text = serde_json::to_vec(&spec).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let ready: Ready = serde_json::from_str(&line).expect("a ready line");
    assert!(ready.ready && ready.ssh_port != 0);
    Gateway { child, ready, spec, _directory: directory }
}

fn start(policy: Policy) -> Gateway {
    let directory = tempfile::tempdir().unwrap();
    launch(spec(policy, &directory), Some(directory))
}

impl Gateway {
    fn guest(&self) -> Guest {
        Guest::connect(&self.spec.link, &self.ready.guest.mac)
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.spec.control).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    fn report(&self) -> Report {
        match serde_json::from_str(&self.ask("{\"get\":true}\n")).unwrap() {
            Reply::Counters(report) => *report,
            other => panic!("{other:?}"),
        }
    }
}

fn a_gateway_is_confined() {
    let gateway = start(Policy::Internet);
    let proc = PathBuf::from(format!("/proc/{}", gateway.child.id()));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".into(), "2".into()));
    assert_eq!(gateway.ready.missing, Vec::<Guard>::new());
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(limit("Max core file size").contains(" 0 "), "{limits}");
    assert!(limit("Max open files").contains(" 2048 "), "{limits}");
    if is_root() {
        assert_eq!(field("Uid"), ["993217"; 4].join(" "));
        assert_eq!(field("Groups"), "");
        assert_eq!(std::fs::read_dir(proc.join("root")).unwrap().count(), 0, "an empty root");
        let namespace = |name: &str| {
            let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            own == std::fs::read_link(proc.join("ns").join(name)).unwrap()
        };
        assert!(namespace("net"), "makes the host's connections");
        assert!(!namespace("user") && !namespace("mnt") && !namespace("ipc"));
    }
}

fn root_is_refused() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let spec = GatewaySpec { user: None, ..spec(Policy::Internet, &directory) };
    let mut child = own_program(&["gateway"]);
    let text = serde_json::to_vec(&spec).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// Runs in a process of its own: confines itself and tries what a gateway must not.
fn confined(words: &[&str]) {
    let [file, socket, port] = words else {
        panic!("{words:?}");
    };
    let before = UnixStream::connect(socket).is_ok() && std::fs::File::open(file).is_ok();
    assert!(before, "the test's own things are there");
    let missing = confine::confine(is_root().then_some(USER), 1, &[]).unwrap();
    assert_eq!(missing, Vec::<Guard>::new());
    let out =
        |name: &str, gone: bool| println!("{name} {}", if gone { "refused" } else { "WORKS" });
    for path in [file, "/", "/etc/passwd", "/proc/self/status", "/proc/self/exe", "/dev/null"] {
        out(path, std::fs::File::open(path).is_err());
    }
    out("create", std::fs::File::create("/file").is_err() && std::fs::File::create(file).is_err());
    out("socket", UnixStream::connect(socket).is_err());
    out("listen", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_err());
    out("ptrace", nix::sys::prctl::set_dumpable(true).is_err());
    out("uid", nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_err());
    let port: u16 = port.parse().unwrap();
    // What a gateway is for still works.
    out("connect", TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    out("datagram", UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_err());
    out("thread", std::thread::spawn(|| ()).join().is_err());
    #[expect(clippy::disallowed_methods, reason = "it has to fail")]
    let program = Command::new("/bin/true").spawn();
    out("fork", program.is_err());
}

fn a_confined_process_has_no_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "secret").unwrap();
    let socket = directory.path().join("daemon.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let (file, socket) = (file.to_str().unwrap(), socket.to_str().unwrap());
    let mut child = own_program(&["confined", file, socket, &port]);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let works: Vec<_> = said.lines().filter(|line| line.ends_with("WORKS")).collect();
    assert_eq!(works, ["connect WORKS", "datagram WORKS", "thread WORKS"], "{said}");
    assert_eq!(said.lines().count(), 15, "{said}");
}

fn a_link_survives_nonsense_and_is_replaced() {
    let gateway = start(Policy::Internet);
    let mut guest = gateway.guest();
    assert!(guest.finds_gateway());
    // Half a frame, then the rest, then two at once.
    guest.send_in_pieces();
    assert!(guest.finds_gateway());
    // A length that cannot be meant ends the link, and only the link.
    guest.stream.write_all(&[0xff; 64]).unwrap();
    assert!(guest.is_closed());
    let mut first = gateway.guest();
    assert!(first.finds_gateway());
    let mut second = gateway.guest();
    assert!(second.finds_gateway());
    assert!(first.is_closed(), "the second guest takes the place of the first");
    assert!(second.finds_gateway());
    // Noise in well-formed frames.
    for n in 0..2000_usize {
        let noise: Vec<u8> = (0..n % 300).map(|at| (at * 31 + n * 17) as u8).collect();
        second.send(&noise);
    }
    assert!(second.finds_gateway());
    assert!(gateway.report().malformed >= 2000);
}

/// Addresses of this host, as far as a test can tell without netlink.
fn own_addresses() -> Vec<Ipv4Addr> {
    let mut own = vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9), Ipv4Addr::UNSPECIFIED];
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    if probe.connect((Ipv4Addr::new(192, 0, 2, 200), 9)).is_ok()
        && let std::net::IpAddr::V4(ip) = probe.local_addr().unwrap().ip()
    {
        own.push(ip);
    }
    own
}

fn the_host_is_out_of_reach() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for policy in [Policy::Internet, Policy::Open, Policy::Offline] {
        let gateway = start(policy);
        let mut guest = gateway.guest();
        for ip in own_addresses().into_iter().chain([GATEWAY, Ipv4Addr::new(169, 254, 169, 254)]) {
            assert_eq!(guest.tcp_flags_after_syn(ip, port) & 0x04, 0x04, "{ip} is reset");
        }
        assert!(gateway.report().denied >= 5);
    }
    let nobody = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(nobody, Err(std::io::ErrorKind::WouldBlock), "nobody came");
}

fn a_named_port_of_the_host_is_reached() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let spec = GatewaySpec { host_ports: vec![port], ..spec(Policy::Internet, &directory) };
    let gateway = launch(spec, Some(directory));
    let mut guest = gateway.guest();
    assert!(guest.finds_gateway());
    assert_eq!(guest.tcp_flags_after_syn(GATEWAY, port), 0x12, "SYN, ACK");
    listener.accept().expect("the host's own program is connected");
    assert_eq!(guest.tcp_flags_after_syn(GATEWAY, port ^ 1) & 0x04, 0x04);
}

fn ssh_comes_in_and_a_restart_keeps_the_port() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = launch(spec(Policy::Offline, &directory), None);
    let port = gateway.ready.ssh_port;
    let mut guest = gateway.guest();
    assert!(guest.finds_gateway());
    let knock = |guest: &mut Guest| {
        let _host = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        guest.sees_syn_to_port(22)
    };
    assert!(knock(&mut guest));
    let spec = GatewaySpec { ssh_port: port, ..gateway.spec.clone() };
    // kill -9, as `Drop` does it; the sockets stay behind as files.
    drop(gateway);
    assert!(guest.is_closed());
    let again = launch(spec, Some(directory));
    assert_eq!(again.ready.ssh_port, port);
    let mut guest = again.guest();
    assert!(guest.finds_gateway());
    assert!(knock(&mut guest));
}

fn a_question_without_resolver_fails_at_once() {
    let gateway = start(Policy::Internet);
    let mut guest = gateway.guest();
    assert!(guest.finds_gateway());
    let begin = Instant::now();
    let reply = guest.dns_reply("example.org").expect("an answer");
    assert_eq!((reply[2] & 0x80, reply[3] & 0x0f), (0x80, 2), "SERVFAIL");
    assert!(begin.elapsed() < Duration::from_secs(4));
    let reply = start(Policy::Offline).guest().dns_reply("example.org");
    assert_eq!(reply, None, "offline answers no question");
}

fn control_answers_and_ends_it() {
    let mut gateway = start(Policy::Internet);
    assert!(!gateway.report().linked);
    let mut guest = gateway.guest();
    assert!(guest.finds_gateway());
    let report = gateway.report();
    assert!(report.linked && report.tx_bytes > 0 && report.rx_bytes > 0);
    for nonsense in ["\n", "{}\n", "[]\n", "{\"get\":1}\n", "{\"get\":false}\n", "\u{0}\n"] {
        assert!(gateway.ask(nonsense).starts_with("{\"error\":"), "{nonsense:?}");
    }
    assert!(gateway.ask(&"x".repeat(20_000)).starts_with("{\"error\":"));
    assert_eq!(gateway.ask("{\"resolvers\":[\"192.0.2.1\"]}\n"), "{\"ok\":true}\n");
    assert_eq!(gateway.ask("{\"exit\":true}\n"), "{\"ok\":true}\n");
    assert!(gateway.child.wait().unwrap().success());
}
