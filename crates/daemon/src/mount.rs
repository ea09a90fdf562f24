//! `ringfenced mount`: shows a vault's snapshots as a file system, for as long as the command
//! that asked for it stays connected. A process of its own, so that a daemon that ends takes
//! no mount along, and a mount that hangs no daemon.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use ringfence_vault::{Snapshot, Vault, VaultError, VaultKey};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// Who asked must connect within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody unmounted it.
const LOOK: Duration = Duration::from_millis(300);

/// What who asked is told last. A connection that ends without it is that of a process that
/// died, and what it mounted is still there.
const UNMOUNTED: &[u8] = b"unmounted\n";

/// What to mount where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The vault.
    pub(crate) vault: PathBuf,
    /// The file with its key.
    pub(crate) key_file: PathBuf,
    /// An empty directory.
    pub(crate) at: PathBuf,
    /// Where to listen for who asked.
    pub(crate) socket: PathBuf,
}

/// It is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// A path that shows that it is the answer.
    pub(crate) mounted: PathBuf,
}

/// A snapshot's directory: when and why it was made, and the beginning of its id.
fn name(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let time = snapshot.time.to_zoned(zone.clone());
    format!(
        "{}_{}_{}",
        time.strftime("%Y-%m-%d_%H.%M.%S"),
        snapshot.labels.kind.as_str(),
        snapshot.id.short()
    )
}

/// Serves until who asked is gone, it is unmounted, or the process is asked to end.
pub(crate) fn run() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let spec: Spec = serde_json::from_str(&line).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&spec))
}

fn mount(spec: &Spec) -> Result<ringfence_vault::Mounted, VaultError> {
    let vault = Vault::open(&spec.vault, &VaultKey::load(&spec.key_file)?)?;
    let zone = TimeZone::system();
    let naming = Box::new(move |snapshot: &Snapshot| name(snapshot, &zone));
    ringfence_vault::mount(Arc::new(vault), &spec.at, naming)
}

async fn serve(spec: &Spec) -> io::Result<()> {
    let say = |value: serde_json::Value| -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{value}")?;
        out.flush()
    };
    let listener = UnixListener::bind(&spec.socket)?;
    let mounted = match mount(spec) {
        Ok(mounted) => mounted,
        Err(error) => {
            crate::host::files::remove_if_there(&spec.socket)?;
            return say(serde_json::json!({ "error": error.to_string() }));
        }
    };
    say(serde_json::json!({ "ready": Ready { mounted: spec.at.clone() } }))?;
    let mut client = None;
    let mut terminated = signal(SignalKind::terminate())?;
    let over = async {
        while !mounted.is_over() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let serving = async {
        let Ok(Ok((stream, _))) = tokio::time::timeout(PATIENCE, listener.accept()).await else {
            return;
        };
        let stream = client.insert(stream);
        let mut word = [0; 16];
        // Whatever it says means nothing; that it is gone means the end.
        while stream.read(&mut word).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        () = serving => {}
        () = over => {}
        _ = terminated.recv() => {}
    }
    let ended = mounted.unmount();
    crate::host::files::remove_if_there(&spec.socket)?;
    if let (Ok(()), Some(mut stream)) = (&ended, client) {
        // Who asked waits for it, and may be gone.
        let _ = stream.write_all(UNMOUNTED).await;
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_one_line() {
        let spec = Spec {
            vault: "/v".into(),
            key_file: "/k".into(),
            at: "/a\nb".into(),
            socket: "/s".into(),
        };
        assert_eq!(serde_json::to_string(&spec).expect("text").lines().count(), 1);
    }
}
