//! Share processes as the daemon sees them: started, switched, ended.
//!
//! Must not: parse anything a guest wrote; know about machines or QEMU.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_model::admit::{Granted, ShownNames};
use ringfence_model::folder::{Access, Folder};
use ringfence_model::status::ShareMode;
use ringfence_share::{
    Access as ShareAccess, Alarm, Command, Mode, ShareSpec, SnapshotStart, Watch,
};
use serde::Deserialize;
use serde_json::json;

use crate::host::child::{self, ChildError};
use crate::host::control;
use crate::host::process::ProcessId;
use crate::keepers::KeeperSockets;

/// How long a share may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end what is in flight.
const SWITCH: Duration = Duration::from_secs(30);

/// The sockets of one share below a machine's run directory.
#[derive(Debug, Clone)]
pub struct ShareSockets {
    /// QEMU connects here.
    pub vhost: PathBuf,
    /// The daemon connects here.
    pub control: PathBuf,
    /// A share that may write connects here, to its keeper.
    pub keeper: PathBuf,
}

impl ShareSockets {
    /// The sockets of the share on one device of a machine.
    #[must_use]
    pub fn of(machine_run: &Path, device: &str) -> Self {
        Self {
            vhost: machine_run.join(format!("{device}.sock")),
            control: machine_run.join(format!("{device}.ctl")),
            keeper: KeeperSockets::of(machine_run, device).share,
        }
    }
}

/// Who a share runs as when the daemon is root.
#[derive(Debug, Clone, Copy)]
pub struct ShareUids {
    /// The share itself.
    pub share: u32,
    /// QEMU, which connects to it.
    pub qemu: u32,
}

/// What a share says about itself.
#[derive(Debug, Clone, Deserialize)]
pub struct ShareReport {
    /// How it answers.
    pub mode: Mode,
    /// What its guard against mass loss has found and nobody has decided about.
    pub alarm: Option<Alarm>,
}

/// What of a folder a share shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    access: Access,
    names: ShownNames,
}

impl Shown {
    /// What an admitted session was given: there is no other way to one.
    #[must_use]
    pub fn of(granted: &Granted) -> Self {
        Self { access: granted.access, names: granted.names.clone() }
    }

    /// What it allows at most.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// What it hides and protects.
    #[must_use]
    pub const fn names(&self) -> &ShownNames {
        &self.names
    }
}

/// Starts the share of a folder, closed: it answers nothing yet.
///
/// # Errors
/// When it does not come up, for example because a protection is missing on this host.
pub async fn start(
    folder: &Folder,
    shown: &Shown,
    tag: &str,
    sockets: &ShareSockets,
    uids: Option<ShareUids>,
    log: &Path,
) -> Result<ProcessId, ChildError> {
    let spec = ShareSpec {
        folder: folder.path.clone(),
        vhost_socket: sockets.vhost.clone(),
        control_socket: sockets.control.clone(),
        tag: tag.to_owned(),
        access: match shown.access {
            Access::Ro => ShareAccess::Ro,
            Access::Rw => ShareAccess::Rw,
        },
        mode: Mode::Closed,
        guest_uid: 1000,
        guest_gid: 1000,
        chown: ringfence_share::Chown::Pretend,
        run_as: uids.map(|uids| uids.share),
        front_end: uids.map(|uids| uids.qemu),
        identity: Some((folder.device, folder.inode)),
        names: shown.names.clone(),
        keeper: (shown.access == Access::Rw).then(|| sockets.keeper.clone()),
        threads: 0,
        without: Vec::new(),
    };
    let (process, _ready) =
        child::start::<_, serde_json::Value>("share", &spec, log, START).await?;
    Ok(process)
}

/// Switches how a share answers; returns when nothing of the earlier mode is in flight.
///
/// # Errors
/// When the share does not answer or refuses.
pub async fn set(control: &Path, mode: ShareMode) -> io::Result<()> {
    let mode = match mode {
        ShareMode::Closed => "closed",
        ShareMode::ReadOnly => "ro",
        ShareMode::ReadWrite => "rw",
        ShareMode::Held => "held",
    };
    control::ask::<serde_json::Value>(control, &json!({ "set": mode }), SWITCH).await.map(drop)
}

/// Tells a share what a snapshot has, so that it need not be kept.
///
/// # Errors
/// When the share does not answer.
pub async fn stored(control: &Path, snapshot: Option<SnapshotStart>) -> io::Result<()> {
    control::ask::<serde_json::Value>(control, &Command::Stored(snapshot), SWITCH).await.map(drop)
}

/// Tells a share what counts as mass loss from now on; `None`: nothing does. An alarm that
/// stands is taken back.
///
/// # Errors
/// When the share does not answer.
pub async fn guard(control: &Path, watch: Option<Watch>) -> io::Result<()> {
    control::ask::<serde_json::Value>(control, &Command::Guard(watch), SWITCH).await.map(drop)
}

/// Lets a share go on that its guard against mass loss stopped.
///
/// # Errors
/// When the share does not answer.
pub async fn resume(control: &Path) -> io::Result<()> {
    control::ask::<serde_json::Value>(control, &Command::Resume(true), SWITCH).await.map(drop)
}

/// What the guard against mass loss of a share has found and nobody has decided about.
///
/// # Errors
/// When the share does not answer.
pub async fn alarm(control: &Path) -> io::Result<Option<Alarm>> {
    Ok(report(control).await?.alarm)
}

async fn report(control: &Path) -> io::Result<ShareReport> {
    control::ask(control, &json!({ "get": true }), Duration::from_secs(2)).await
}

/// Asks a share how it answers.
///
/// # Errors
/// When the share does not answer.
pub async fn get(control: &Path) -> io::Result<ShareMode> {
    Ok(match report(control).await?.mode {
        Mode::Closed => ShareMode::Closed,
        Mode::Ro => ShareMode::ReadOnly,
        Mode::Rw => ShareMode::ReadWrite,
        Mode::Held => ShareMode::Held,
    })
}
