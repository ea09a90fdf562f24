//! Ringfence as a service of the user's systemd: what its two units say.
//!
//! The socket unit listens where the daemon always listens, so that a command starts the daemon
//! by connecting; the service unit starts with the computer and is kept running. Must not: write
//! a file or talk to systemd.

use std::fmt::Write as _;
use std::path::Path;

/// The service unit.
pub const SERVICE: &str = "ringfence.service";
/// The socket unit.
pub const SOCKET: &str = "ringfence.socket";

/// How the C library's allocator is to behave in the daemon (`mallopt(3)`). With its defaults each
/// of some twenty threads keeps what its largest piece of work needed: after the first snapshots of
/// ten large folders 140 MiB stayed with a daemon that used 2.
pub const ALLOCATOR: [(&str, &str); 2] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

/// Variables by which a daemon that a command starts finds its directories, programs and the net. A
/// service manager has none of them: the unit says what they were when it was written.
pub fn carried<'a>() -> impl Iterator<Item = &'a str> {
    const OWN: [&str; 6] = [
        "RINGFENCE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
        "PATH",
        "RINGFENCE_MIRROR",
    ];
    OWN.into_iter().chain(NETWORK).chain(AUTHORITIES)
}

/// Variables that say how this host reaches the net and its package registries.
pub const NETWORK: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
];

/// Variables that name files of certificate authorities.
pub const AUTHORITIES: [&str; 4] =
    ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// What no unit can say: systemd's files are lines of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has a character that no unit of systemd can hold: {value:?}")]
pub struct Unwritable {
    what: String,
    value: String,
}

/// The service unit's text.
///
/// # Errors
/// When the program's path or a variable cannot stand in a unit.
pub fn service_unit(
    program: &Path,
    environment: &[(String, String)],
) -> Result<String, Unwritable> {
    // The program's path is taken as it is: systemd fills in variables in arguments alone.
    let program = quoted("the program's path", &text("the program's path", program)?)?;
    let mut unit = format!(
        "{HEAD}\
         [Unit]\n\
         Description=Ringfence: backups of folders, machines for coding agents\n\
         Requires={SOCKET}\n\
         After={SOCKET}\n\
         # Backups never give up; neither does this.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         NotifyAccess=main\n\
         ExecStart={program} serve\n\
         Restart=on-failure\n\
         RestartSec=1s\n\
         # What was cut in the middle, such as a restore, is finished before it is ready.\n\
         TimeoutStartSec=15min\n\
         # The daemon's own loops tell that they go round; no timer does.\n\
         WatchdogSec=2min\n\
         TimeoutAbortSec=10s\n\
         # Machines, shares and sessions are processes that outlive the daemon; the next one adopts them.\n\
         KillMode=process\n\
         # What is short of memory is most often a machine: only that ends, not all of Ringfence.\n\
         OOMPolicy=continue\n\
         LimitNOFILE=524288\n\
         TasksMax=16384\n\
         # The daemon reads secrets and keys: none of them lies about in a core dump.\n\
         LimitCORE=0\n\
         UMask=0077\n"
    );
    let fixed = ALLOCATOR.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in fixed.iter().chain(environment) {
        let assignment = quoted(&format!("the variable {name}"), &format!("{name}={value}"))?;
        // Writing into a String cannot fail.
        let _ = writeln!(unit, "Environment={assignment}");
    }
    unit.push_str("\n[Install]\nWantedBy=default.target\n");
    Ok(unit)
}

/// The socket unit's text.
///
/// # Errors
/// When the socket's path cannot stand in a unit.
pub fn socket_unit(socket: &Path) -> Result<String, Unwritable> {
    Ok(format!(
        "{HEAD}\
         [Unit]\n\
         Description=Ringfence: commands start the daemon here\n\
         \n\
         [Socket]\n\
         {}\n\
         SocketMode=0600\n\
         DirectoryMode=0711\n\
         RemoveOnStop=yes\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n",
        listen_line(socket)?
    ))
}

/// Whether a socket unit is the one for this socket: another Ringfence of the same user (such as one
/// in `RINGFENCE_HOME`) is not started by it.
#[must_use]
pub fn listens_on(unit: &str, socket: &Path) -> bool {
    listen_line(socket).is_ok_and(|wanted| unit.lines().any(|line| line.trim_end() == wanted))
}

const HEAD: &str = "# Written by `ringfence daemon install`, which writes it anew; `ringfence daemon uninstall` removes it.\n\
     # Settings of your own are kept in a file of their own: systemctl --user edit ringfence.service\n";

fn listen_line(socket: &Path) -> Result<String, Unwritable> {
    let what = "the socket's path";
    Ok(format!("ListenStream={}", plain(what, &text(what, socket)?)?.replace('%', "%%")))
}

fn text(what: &str, path: &Path) -> Result<String, Unwritable> {
    let unwritable =
        || Unwritable { what: what.into(), value: path.to_string_lossy().into_owned() };
    path.to_str().map(ToOwned::to_owned).ok_or_else(unwritable)
}

fn plain<'a>(what: &str, value: &'a str) -> Result<&'a str, Unwritable> {
    if value.chars().any(char::is_control) {
        return Err(Unwritable { what: what.into(), value: value.into() });
    }
    Ok(value)
}

/// A value in quotes; `%` would begin a specifier.
fn quoted(what: &str, value: &str) -> Result<String, Unwritable> {
    let value = plain(what, value)?.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    Ok(format!("\"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_say_all_that_matters() {
        let environment = [
            ("PATH".to_owned(), "/home/ann/.local/bin:/usr/bin".to_owned()),
            ("https_proxy".to_owned(), "http://proxy:3128/?a=\"100%\"&b=\\".to_owned()),
        ];
        let program = Path::new("/home/ann/my $dir/100%/ringfenced");
        let service = service_unit(program, &environment).expect("a unit");
        insta::assert_snapshot!("service", service);
        let socket = Path::new("/run/user/1000/ringfence/daemon.sock");
        insta::assert_snapshot!("socket", socket_unit(socket).expect("a unit"));
    }

    #[test]
    fn a_unit_is_known_by_its_socket() {
        let socket = Path::new("/home/ann/100% mine/run/daemon.sock");
        let unit = socket_unit(socket).expect("a unit");
        assert!(listens_on(&unit, socket), "{unit}");
        assert!(!listens_on(&unit, Path::new("/home/ann/run/daemon.sock")));
        assert!(!listens_on("", socket));
    }

    #[test]
    fn no_path_and_no_variable_adds_a_line() {
        let evil = "x\nExecStartPre=/bin/evil";
        service_unit(Path::new(evil), &[]).expect_err("refused");
        socket_unit(Path::new(evil)).expect_err("refused");
        let environment = [("PATH".to_owned(), evil.to_owned())];
        let error = service_unit(Path::new("/ringfenced"), &environment).expect_err("refused");
        assert!(error.to_string().contains("PATH"), "{error}");
    }
}
