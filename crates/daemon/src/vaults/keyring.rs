//! The desktop's keyring, through the programs `secret-tool` and `dbus-send`: the only place
//! that runs them. A second home for vaults' keys where there is a keyring that is unlocked, and
//! one of the places where secrets of the configuration are read.
//!
//! Owns that nobody is asked to unlock anything, and that no key stands in a command line:
//! `secret-tool` reads it from standard input. A vault's key never fails for it: the key file decides.

use std::path::PathBuf;
use std::time::Duration;

use ringfence_model::name::FolderId;
use zeroize::Zeroizing;

use crate::host::command::Program;
use crate::host::facts;

/// A keyring that does not answer by then is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// The keyring that programs use unless they are told otherwise.
const DEFAULT: &str = "/org/freedesktop/secrets/aliases/default";

/// The session's bus, where there is one.
fn bus() -> Option<String> {
    let named = facts::variable("DBUS_SESSION_BUS_ADDRESS").and_then(|v| v.into_string().ok());
    named.or_else(|| {
        let socket = facts::environment().runtime_dir?.join("bus");
        let usual: Option<PathBuf> = socket.exists().then_some(socket);
        Some(format!("unix:path={}", usual?.to_str()?))
    })
}

fn program(name: &str, bus: &str) -> Program {
    Program::new(name).env("DBUS_SESSION_BUS_ADDRESS", bus).deadline(PATIENCE).keep(64 * 1024)
}

/// Whether there is a keyring that may be used without asking anybody.
async fn is_open(bus: &str) -> bool {
    let asked = program("dbus-send", bus)
        .args(["--session", "--print-reply=literal", "--dest=org.freedesktop.secrets", DEFAULT])
        .arg("org.freedesktop.DBus.Properties.Get")
        .args(["string:org.freedesktop.Secret.Collection", "string:Locked"])
        .check()
        .await;
    asked.is_ok_and(|said| said.text().split_whitespace().last() == Some("false"))
}

fn names(folder: &FolderId) -> [String; 4] {
    ["application".into(), "ringfence".into(), "vault".into(), folder.to_string()]
}

/// Why there is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// There is no keyring, or it is locked.
    Closed,
    /// The keyring does not know it.
    Unknown,
}

/// What a person stored in the keyring under these two attributes.
///
/// # Errors
/// Why there is nothing.
pub(crate) async fn entry(service: &str, account: &str) -> Result<Zeroizing<Vec<u8>>, NoEntry> {
    let bus = bus().ok_or(NoEntry::Closed)?;
    if !is_open(&bus).await {
        return Err(NoEntry::Closed);
    }
    let names = ["lookup", "service", service, "account", account];
    let said = program("secret-tool", &bus).args(names).check().await;
    let found = Zeroizing::new(said.map_err(|_| NoEntry::Unknown)?.stdout);
    if found.is_empty() { Err(NoEntry::Unknown) } else { Ok(found) }
}

/// The key of a vault, if the keyring has it.
pub(super) async fn find(folder: &FolderId) -> Option<String> {
    let bus = bus()?;
    if !is_open(&bus).await {
        return None;
    }
    let said = program("secret-tool", &bus).arg("lookup").args(names(folder)).check().await.ok()?;
    Some(said.text()).filter(|key| !key.is_empty())
}

/// Puts the key of a vault into the keyring, unless it is there.
pub(super) async fn keep(folder: FolderId, path: PathBuf, key: String) {
    let Some(bus) = bus() else { return };
    if find(&folder).await.as_deref() == Some(&key) || !is_open(&bus).await {
        return;
    }
    let label = format!("--label=Ringfence: backup of {}", path.display());
    let stored = program("secret-tool", &bus)
        .arg("store")
        .arg(label)
        .args(names(&folder))
        .input(key)
        .check()
        .await;
    match stored {
        Ok(_) => tracing::info!(%folder, "the vault's key is in the keyring, too"),
        Err(error) => tracing::debug!(%folder, %error, "the keyring did not take the vault's key"),
    }
}
