//! A machine's identity: its keys, and what is handed in at each start.
//!
//! Owns: the key pair that logs in, the host key that is pinned before the first boot, and
//! the one credential (`tmpfiles.extra`) from which systemd in the guest writes its files.
//! Must not: start machines. Credentials travel in files of mode 0600, never in an argument.

use std::fmt::Write as _;
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringfence_model::name::MachineName;

use crate::engine::Addresses;
use crate::guest::GuestError;
use crate::host::command::Program;

/// The largest credential that QEMU and systemd were seen to carry, with room to spare.
const LARGEST: usize = 192 << 10;

/// A machine's keys, in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    directory: PathBuf,
    machine: MachineName,
}

/// What a start hands to the machine, beside its keys.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its network.
    pub addresses: Addresses,
    /// The host's time zone, such as `Europe/Berlin`.
    pub timezone: String,
    /// The host's extra certificate authorities, in PEM.
    pub authorities: Vec<String>,
}

impl Identity {
    /// The identity kept in `directory` (`state/machines/NAME/identity`); made when there is none.
    ///
    /// # Errors
    /// When keys cannot be made or written.
    pub async fn ensure(directory: &Path, machine: &MachineName) -> Result<Self, GuestError> {
        let identity = Self { directory: directory.to_owned(), machine: machine.clone() };
        if identity.known_hosts().is_file() {
            return Ok(identity);
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(GuestError::file(directory))?;
        for path in [identity.client_key(), identity.host_key()] {
            make_key(&path).await?;
        }
        let public = read(&public(&identity.host_key()))?;
        // Written last: it stands for the whole identity.
        write_private(
            &identity.known_hosts(),
            format!("{} {public}", identity.host_alias()).as_bytes(),
        )?;
        Ok(identity)
    }

    /// The private key that logs in.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.directory.join("client")
    }

    fn host_key(&self) -> PathBuf {
        self.directory.join("host")
    }

    /// The file that pins the machine's host key.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// The name under which the host key is pinned.
    #[must_use]
    pub fn host_alias(&self) -> String {
        format!("ringfence-{}", self.machine)
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &MachineName {
        &self.machine
    }

    /// Writes what the next start hands in; returns the files for the engine.
    ///
    /// # Errors
    /// When a key cannot be read, a file not be written, or the authorities are too large.
    pub fn credentials(&self, facts: &Facts) -> Result<Vec<PathBuf>, GuestError> {
        let keys = Keys {
            authorized: read(&public(&self.client_key()))?,
            host: read(&self.host_key())?,
            host_public: read(&public(&self.host_key()))?,
        };
        let text = credential("tmpfiles.extra", &tmpfiles(&self.machine, &keys, facts));
        if text.len() > LARGEST {
            return Err(GuestError::TooLarge { size: text.len(), most: LARGEST });
        }
        let path = self.directory.join("tmpfiles.credential");
        write_private(&path, text.as_bytes())?;
        Ok(vec![path])
    }
}

struct Keys {
    authorized: String,
    host: String,
    host_public: String,
}

/// One credential as the SMBIOS string that systemd looks for.
fn credential(name: &str, content: &str) -> String {
    format!("io.systemd.credential.binary:{name}={}", STANDARD.encode(content))
}

/// The lines for systemd-tmpfiles: every file of the guest that depends on this machine or host.
fn tmpfiles(machine: &MachineName, keys: &Keys, facts: &Facts) -> String {
    let mut text = String::new();
    let mut line = |parts: std::fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{parts}");
    };
    line(format_args!("d /etc/ringfence 0755 root root -"));
    // Authorities that the host no longer has must go.
    line(format_args!("R /etc/ringfence/ca - - - -"));
    line(format_args!("r /etc/ringfence/extra-ca.pem - - - -"));
    line(format_args!("d /etc/ringfence/ca 0755 root root -"));
    line(format_args!("L+ /etc/localtime - - - - ../usr/share/zoneinfo/{}", facts.timezone));
    let mut file = |path: &str, mode: &str, content: &str| {
        line(format_args!("f+~ {path} {mode} root root - {}", STANDARD.encode(content)));
    };
    file("/etc/ringfence/authorized_keys", "0644", &keys.authorized);
    file("/etc/ssh/ssh_host_ed25519_key", "0600", &keys.host);
    file("/etc/ssh/ssh_host_ed25519_key.pub", "0644", &keys.host_public);
    file("/etc/hostname", "0644", &format!("{machine}\n"));
    file(
        "/etc/hosts",
        "0644",
        &format!("127.0.0.1 localhost\n127.0.1.1 {machine}\n::1 localhost\n"),
    );
    file("/etc/timezone", "0644", &format!("{}\n", facts.timezone));
    file("/etc/ringfence/network", "0644", &network(facts.addresses));
    file("/etc/resolv.conf", "0644", &format!("nameserver {}\n", facts.addresses.gateway));
    let environment = environment(!facts.authorities.is_empty());
    file("/etc/environment", "0644", &environment.join("\n"));
    file(
        "/etc/ssh/sshd_config.d/20-ringfence.conf",
        "0644",
        &format!("SetEnv {}\n", environment.join(" ")),
    );
    if !facts.authorities.is_empty() {
        file("/etc/ringfence/extra-ca.pem", "0644", &facts.authorities.concat());
        for (number, authority) in facts.authorities.iter().enumerate() {
            file(&format!("/etc/ringfence/ca/{number}.pem"), "0644", authority);
        }
    }
    text
}

/// Commands for `ip -batch`: one interface, one address, one way out.
fn network(addresses: Addresses) -> String {
    let Addresses { guest, prefix, gateway, mtu } = addresses;
    format!(
        "link set dev eth0 mtu {mtu} up\naddress replace {guest}/{prefix} dev eth0\nroute replace default via {gateway} dev eth0\n"
    )
}

/// The environment of everything in the machine. Programs that bring their own list of
/// authorities are told where the machine's is.
fn environment(authorities: bool) -> Vec<&'static str> {
    let mut list = vec!["LANG=C.UTF-8"];
    if authorities {
        list.extend([
            "NODE_EXTRA_CA_CERTS=/etc/ringfence/extra-ca.pem",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
            "PIP_CERT=/etc/ssl/certs/ca-certificates.crt",
        ]);
    }
    list
}

/// The host's time zone by its link `localtime`; `Etc/UTC` when it cannot be told.
#[must_use]
pub fn host_timezone(localtime: &Path) -> String {
    let target = std::fs::read_link(localtime).unwrap_or_default();
    let text = target.to_string_lossy();
    let zone = text.split_once("zoneinfo/").map_or("", |(_, zone)| zone);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    if zone.is_empty() || !zone.bytes().all(plain) { "Etc/UTC".to_owned() } else { zone.to_owned() }
}

/// A fresh ed25519 key pair at `path`, replacing a half-made one.
async fn make_key(path: &Path) -> Result<(), GuestError> {
    for old in [path.to_owned(), public(path)] {
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(GuestError::file(old)(error));
            }
            _ => {}
        }
    }
    Program::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ringfence", "-f"])
        .arg(path)
        .deadline(Duration::from_secs(20))
        .check()
        .await?;
    Ok(())
}

fn public(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

fn read(path: &Path) -> Result<String, GuestError> {
    std::fs::read_to_string(path).map_err(GuestError::file(path))
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), GuestError> {
    let mut options = OpenOptions::new();
    let write = || {
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // Also a file that was there before gets the mode, before it gets the content.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()
    };
    let mut write = write;
    write().map_err(GuestError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn facts() -> Facts {
        Facts {
            addresses: Addresses {
                guest: Ipv4Addr::new(172, 30, 0, 2),
                prefix: 30,
                gateway: Ipv4Addr::new(172, 30, 0, 1),
                mtu: 1500,
            },
            timezone: "Europe/Berlin".to_owned(),
            authorities: vec!["AUTHORITY\n".to_owned()],
        }
    }

    #[test]
    fn what_is_handed_in() {
        let keys = Keys {
            authorized: "ssh-ed25519 AUTHORIZED\n".to_owned(),
            host: "HOST\n".to_owned(),
            host_public: "ssh-ed25519 PUBLIC\n".to_owned(),
        };
        let name = MachineName::new("shop").expect("a name");
        let text = tmpfiles(&name, &keys, &facts());
        let readable: Vec<String> = text
            .lines()
            .map(|line| match line.rsplit_once(' ') {
                Some((front, content)) if line.starts_with("f+~") => {
                    let content = STANDARD.decode(content).expect("base64");
                    format!("{front} {:?}", String::from_utf8_lossy(&content))
                }
                _ => line.to_owned(),
            })
            .collect();
        insta::assert_snapshot!(readable.join("\n"));
    }

    #[tokio::test]
    async fn keys_are_made_once_and_private() {
        let home = tempfile::tempdir().expect("directory");
        let directory = home.path().join("identity");
        let name = MachineName::new("shop").expect("a name");
        let identity = Identity::ensure(&directory, &name).await.expect("made");
        let pinned = read(&identity.known_hosts()).expect("pinned");
        assert!(pinned.starts_with("ringfence-shop ssh-ed25519 "), "{pinned}");
        let files = identity.credentials(&facts()).expect("written");
        for path in files.iter().chain([&identity.client_key(), &identity.host_key()]) {
            let mode = std::fs::metadata(path).expect("facts").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        let text = read(&files[0]).expect("readable");
        assert!(text.starts_with("io.systemd.credential.binary:tmpfiles.extra="));
        let again = Identity::ensure(&directory, &name).await.expect("kept");
        assert_eq!(read(&again.known_hosts()).expect("pinned"), pinned);
        let mut large = facts();
        large.authorities = vec!["x".repeat(LARGEST)];
        assert!(matches!(again.credentials(&large), Err(GuestError::TooLarge { .. })));
    }

    #[test]
    fn a_time_zone_cannot_smuggle_a_line() {
        let directory = tempfile::tempdir().expect("directory");
        let link = |name: &str, target: &str| {
            let path = directory.path().join(name);
            std::os::unix::fs::symlink(target, &path).expect("link");
            host_timezone(&path)
        };
        assert_eq!(link("a", "/usr/share/zoneinfo/Europe/Berlin"), "Europe/Berlin");
        assert_eq!(link("b", "/usr/share/zoneinfo/UTC\nf /etc/x"), "Etc/UTC");
        assert_eq!(host_timezone(Path::new("/nonexistent")), "Etc/UTC");
    }
}
