//! The data behind the checks: who may depend on what, who may start processes,
//! how long a file may be. Must hold no logic.

/// Directories that hold nothing of ours.
pub(super) const SKIPPED_DIRECTORIES: &[&str] =
    &[".git", "target", "node_modules", "__pycache__", "vendor"];

/// A crate whose dependencies are a closed list, because it may do no I/O.
pub(super) struct ClosedCrate {
    pub(super) name: &'static str,
    pub(super) only: &'static [&'static str],
}

/// Crates with a closed list of dependencies.
pub(super) const CLOSED_CRATES: &[ClosedCrate] = &[ClosedCrate {
    name: "ringfence-model",
    only: &["base64", "globset", "jiff", "schemars", "serde", "serde_json", "thiserror", "toml"],
}];

/// A dependency that only the named crates may have.
pub(super) struct OwnedDependency {
    pub(super) name: &'static str,
    pub(super) owners: &'static [&'static str],
}

/// Dependencies with an owner: what parses an agent's bytes, and what knows the
/// vault's format, stays where it can be replaced.
pub(super) const OWNED_DEPENDENCIES: &[OwnedDependency] = &[
    OwnedDependency { name: "rustic_core", owners: &["ringfence-vault"] },
    OwnedDependency { name: "rustic_backend", owners: &["ringfence-vault"] },
    OwnedDependency { name: "fuser", owners: &["ringfence-vault"] },
    OwnedDependency { name: "ureq", owners: &["ringfence-vault"] },
    OwnedDependency { name: "virtiofsd", owners: &["ringfence-share"] },
    OwnedDependency { name: "vhost", owners: &["ringfence-share"] },
    OwnedDependency { name: "vhost-user-backend", owners: &["ringfence-share"] },
    OwnedDependency { name: "microsandbox-network", owners: &["ringfence-gateway"] },
    OwnedDependency { name: "ringfenced", owners: &["ringfence-testkit"] },
    OwnedDependency { name: "ringfence-vault", owners: &["ringfenced", "ringfence-testkit"] },
    OwnedDependency { name: "ringfence-share", owners: &["ringfenced", "ringfence-testkit"] },
    OwnedDependency { name: "ringfence-gateway", owners: &["ringfenced", "ringfence-testkit"] },
    OwnedDependency { name: "ringfence-testkit", owners: &[] },
];

/// The only files of the product that may start a process, and which.
pub(super) const PROCESS_STARTERS: &[(&str, &str)] = &[
    (
        "crates/daemon/src/host/command.rs",
        "outside programs, on behalf of the file that knows each",
    ),
    ("crates/daemon/src/host/child.rs", "the daemon's own binary in another role"),
    ("crates/daemon/src/session/ssh.rs", "the ssh that carries a session's bytes"),
    ("crates/cli/src/client/start.rs", "the daemon"),
    ("crates/cli/src/client/systemd.rs", "systemctl and loginctl"),
    ("crates/testkit/src/project.rs", "tools that are not ours, to compare with"),
    ("crates/cli/src/output/pager.rs", "the person's pager"),
    ("crates/cli/src/editor.rs", "the person's editor"),
    ("crates/xtask/src/guards/run.rs", "cargo, tests and scenarios of a copy without its guards"),
    ("crates/share/src/confine/ids.rs", "the share itself again, in its user namespace"),
];

/// Lines of a source file, unit tests at its end not counted.
pub(super) const SOFT_LINES: usize = 400;
/// More than this fails.
pub(super) const HARD_LINES: usize = 700;

/// Marks of unfinished work. Split, so that this file does not find itself.
pub(super) const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// A directory whose files must each be named in its list.
pub(super) struct Listed {
    pub(super) directory: &'static str,
    pub(super) list: &'static str,
}

/// Lists that readers rely on, so that no file is forgotten.
pub(super) const LISTED: &[Listed] = &[
    Listed { directory: "docs/adr/", list: "docs/adr/README.md" },
    Listed { directory: "e2e/", list: "e2e/README.md" },
    Listed { directory: "bench/", list: "bench/README.md" },
    Listed { directory: "scripts/", list: "CONTRIBUTING.md" },
];
