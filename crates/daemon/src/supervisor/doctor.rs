//! Small named checks of this host, each with what to do.

use std::path::Path;

use ringfence_model::api::{Finding, StartedBy, Verdict};
use ringfence_model::size::Size;
use ringfence_model::status::WatchMode;

use super::{Daemon, protect};
use crate::engine::qemu::accel::Accelerator;
use crate::host::facts;

/// Least free space with which a machine and its vault have room to work.
const ENOUGH_DISK: u64 = 10 * 1024 * 1024 * 1024;

impl Daemon {
    /// Every check.
    pub async fn doctor(&self) -> Vec<Finding> {
        let mut findings = vec![
            self.check_configuration(),
            check_memory(),
            self.check_disk(),
            check_descriptors(),
        ];
        findings.extend(self.check_engine().await);
        findings.push(check_user_namespaces());
        findings.push(check_landlock());
        findings.extend(PROGRAMS.iter().map(|(program, package)| check_program(program, package)));
        findings.push(check_lifetime(facts::started_by(), facts::has_systemd()));
        findings.push(self.check_watches());
        findings.extend(self.check_secrets().await);
        findings.extend(self.check_vaults());
        findings.extend(self.check_health().unwrap_or_default());
        findings
    }

    fn check_configuration(&self) -> Finding {
        match self.config.current() {
            Ok(_) => good("configuration", format!("{} is valid", self.config.path().display())),
            Err(error) => finding(
                "configuration",
                Verdict::Bad,
                error.message,
                Some("ringfence config check".into()),
            ),
        }
    }

    async fn check_engine(&self) -> Vec<Finding> {
        let probe = match self.machines.probe().await {
            Ok(probe) => probe,
            Err(error) => {
                let causes = error.causes.join(": ");
                let cure = Some("apt-get install qemu-system-x86 qemu-utils".to_owned());
                return vec![finding(
                    "qemu",
                    Verdict::Bad,
                    format!("{}: {causes}", error.message),
                    cure,
                )];
            }
        };
        let qemu = good("qemu", format!("version {}", probe.version));
        let speed = match probe.measured.accelerator {
            Accelerator::Kvm => good("kvm", "measured: guests run on the processor itself".into()),
            Accelerator::Tcg => finding(
                "kvm",
                Verdict::Weak,
                format!(
                    "machines run under software emulation, about ten times slower: {}",
                    probe.measured.warning.as_deref().unwrap_or("KVM is not usable")
                ),
                Some("on a physical host: enable virtualisation in the firmware, then: adduser $USER kvm".into()),
            ),
        };
        vec![qemu, speed]
    }

    fn check_disk(&self) -> Finding {
        match facts::free_space(&self.layout.state) {
            Ok(free) => {
                let text = format!("{} free at {}", Size::bytes(free), self.layout.state.display());
                if free >= ENOUGH_DISK {
                    good("disk", text)
                } else {
                    let cure =
                        "free some space: ringfence image list · ringfence machine list".to_owned();
                    finding("disk", Verdict::Weak, text, Some(cure))
                }
            }
            Err(error) => {
                finding("disk", Verdict::Skipped, format!("free space is unknown: {error}"), None)
            }
        }
    }

    /// Whether changes are heard of, in all folders.
    fn check_watches(&self) -> Finding {
        let name = "watching";
        let folders = self.store.folders().map(|file| file.folders).unwrap_or_default();
        let weak: Vec<String> = folders
            .iter()
            .filter_map(|folder| {
                let status = self.folder_status(folder).ok()?;
                let why = match status.watch?.mode {
                    WatchMode::Starting | WatchMode::Watching => return None,
                    WatchMode::Partly { why, .. }
                    | WatchMode::Polling { why }
                    | WatchMode::Lost { why } => why,
                };
                Some(format!("{}: {why}", folder.path.display()))
            })
            .collect();
        if weak.is_empty() {
            return good(name, "changes in folders are heard of as they happen".into());
        }
        finding(name, Verdict::Weak, weak.join("; "), Some(protect::MORE_WATCHES.into()))
    }

    fn check_vaults(&self) -> Vec<Finding> {
        let Ok(file) = self.store.folders() else { return Vec::new() };
        file.folders
            .iter()
            .map(|folder| {
                let vault = self.layout.vault(&folder.id);
                let name = "vault";
                match ringfence_vault::opens_without_password(&vault) {
                    Ok(false) => good(
                        name,
                        format!("{} is encrypted with its own key", folder.path.display()),
                    ),
                    Ok(true) => finding(
                        name,
                        Verdict::Bad,
                        format!("the vault of {} opens without a password", folder.path.display()),
                        Some(format!("restic -r {} key list", vault.display())),
                    ),
                    // Registered, and nothing was saved so far: status says so as well.
                    Err(ringfence_vault::VaultError::NotAVault { .. }) => finding(
                        name,
                        Verdict::Weak,
                        format!("{} has no snapshot yet", folder.path.display()),
                        Some(format!("ringfence backup now {}", folder.path.display())),
                    ),
                    Err(error) => finding(
                        name,
                        Verdict::Bad,
                        format!("{}: {error}", folder.path.display()),
                        Some(format!("ringfence backup now {}", folder.path.display())),
                    ),
                }
            })
            .collect()
    }
}

/// Programs that Ringfence runs, and Debian's packages that carry them.
const PROGRAMS: [(&str, &str); 5] = [
    ("qemu-img", "qemu-utils"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
];

fn check_program(program: &str, package: &str) -> Finding {
    let path = facts::variable("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin"].map(Into::into));
    match places.iter().map(|place| place.join(program)).find(|file| file.is_file()) {
        Some(file) => good(program, file.display().to_string()),
        None => finding(
            program,
            Verdict::Bad,
            format!("{program} is not installed"),
            Some(format!("apt-get install {package}")),
        ),
    }
}

/// Whether protection outlives this daemon.
fn check_lifetime(started_by: StartedBy, systemd: bool) -> Finding {
    let name = "lifetime";
    match started_by {
        StartedBy::Systemd { lingers: true } => {
            good(name, "systemd starts the daemon with the computer, and again if it fails".into())
        }
        StartedBy::Systemd { lingers: false } => finding(
            name,
            Verdict::Weak,
            "systemd keeps the daemon running while you are logged in: it, the backups and the \
             machines end when you log out"
                .into(),
            Some("ringfence daemon install --linger".into()),
        ),
        StartedBy::Command => {
            let lacks = "folders are protected while the daemon runs; after a restart of the \
                         computer only from the next ringfence command on, and nothing starts a \
                         daemon that hangs anew";
            let (lacks, cure) = if systemd {
                (lacks.to_owned(), "ringfence daemon install --linger")
            } else {
                let none = "this computer was not started by systemd, which would change that";
                (format!("{lacks}; {none}"), "ringfence status, once after each restart")
            };
            finding(name, Verdict::Weak, lacks, Some(cure.into()))
        }
    }
}

fn check_memory() -> Finding {
    let memory = facts::memory();
    if memory >= Size::gib(4) {
        good("memory", memory.to_string())
    } else {
        finding("memory", Verdict::Weak, format!("{memory}: one small machine at a time"), None)
    }
}

fn check_descriptors() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(most) if most < 4096 => finding(
            "file descriptors",
            Verdict::Weak,
            format!("at most {most} for a process; large folders need 4096"),
            Some("ulimit -Hn 4096, or LimitNOFILE= in the service".into()),
        ),
        most => good(
            "file descriptors",
            most.map_or("no limit".into(), |most| format!("at most {most}")),
        ),
    }
}

fn check_user_namespaces() -> Finding {
    let name = "user namespaces";
    let number = |file: &str| {
        std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    let denied = number("/proc/sys/user/max_user_namespaces") == Some(0)
        || number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) && !facts::is_root();
    if !Path::new("/proc/self/ns/user").exists() || denied {
        let cure =
            "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000".to_owned();
        return finding(name, Verdict::Bad, "turned off on this host".into(), Some(cure));
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1)
        && !facts::is_root()
    {
        let cure = "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for ringfenced";
        return finding(name, Verdict::Bad, "restricted by AppArmor".into(), Some(cure.into()));
    }
    good(name, "available".into())
}

fn check_landlock() -> Finding {
    let name = "landlock";
    match std::fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(list) if list.split(',').any(|module| module.trim() == "landlock") => {
            good(name, "in force".into())
        }
        Ok(list) => finding(
            name,
            Verdict::Bad,
            format!("not among the active security modules ({})", list.trim()),
            Some("boot with lsm=landlock,… or a kernel that has it".into()),
        ),
        // securityfs is often not mounted in containers; the share finds out for itself.
        Err(_) => finding(
            name,
            Verdict::Skipped,
            "securityfs is not mounted; each share checks for itself".into(),
            None,
        ),
    }
}

fn good(check: &str, message: String) -> Finding {
    finding(check, Verdict::Good, message, None)
}

fn finding(check: &str, verdict: Verdict, message: String, cure: Option<String>) -> Finding {
    Finding { check: check.to_owned(), verdict, message, cure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_for_a_daemon_that_is_always_there_is_named() {
        let check = |started_by, systemd| check_lifetime(started_by, systemd);
        assert_eq!(check(StartedBy::Systemd { lingers: true }, true).verdict, Verdict::Good);
        for (started_by, systemd, word, cure) in [
            (StartedBy::Systemd { lingers: false }, true, "log out", "install --linger"),
            (StartedBy::Command, true, "restart of the computer", "install --linger"),
            (StartedBy::Command, false, "not started by systemd", "ringfence status"),
        ] {
            let found = check(started_by, systemd);
            assert_eq!(found.verdict, Verdict::Weak);
            assert!(found.message.contains(word), "{found:?}");
            assert!(found.cure.is_some_and(|text| text.contains(cure)));
        }
    }
}
