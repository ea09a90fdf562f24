//! The workshop: throw-away machines in which agents are installed into layers.
//!
//! Owns: the order of an installation, from a draft of a layer to the layer. It is the one
//! place beside the supervisor that puts engine, guest and image together. Must not: give a
//! machine a share, or keep one: what an agent has touched never becomes anybody's layer.

use std::path::PathBuf;
use std::time::Duration;

use ringfence_model::machine::Limits;
use ringfence_model::name::MachineName;
use ringfence_model::size::Size;

use crate::engine::qemu::EngineError;
use crate::engine::qemu::argv::Start;
use crate::engine::qemu::machine::{Running, Stopped};
use crate::engine::qemu::probe::Probe;
use crate::engine::{Ids, Link, MachineSpec};
use crate::guest::GuestError;
use crate::guest::client::Guest;
use crate::guest::identity::{Facts, Identity};
use crate::guest::protocol::Trust;
use crate::guest::recipe::Recipe;
use crate::guest::ssh::Target;
use crate::image::ImageError;
use crate::image::layer::Draft;
use crate::image::progress::{Progress, Step};
use crate::image::store::Image;

/// How long the machine may take to answer.
const BOOT: Duration = Duration::from_secs(300);
/// How long an agent's installation may take. Emulated machines are slow.
const INSTALL: Duration = Duration::from_secs(1800);
/// How long the machine may take to power off.
const POWER_OFF: Duration = Duration::from_secs(120);

/// Why a layer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorkshopError {
    /// The machine could not be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The machine did not do what it was asked.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The layer could not be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The agent's own installation failed.
    #[error("installing `{recipe}` failed: {source}")]
    Install {
        /// The recipe.
        recipe: String,
        /// What it said.
        source: GuestError,
    },
    /// The agent is there and does not work.
    #[error("`{recipe}` was installed and does not print its version: {source}")]
    Broken {
        /// The recipe.
        recipe: String,
        /// What it said.
        source: GuestError,
    },
    /// The disk may be incomplete.
    #[error("the machine in which `{recipe}` was installed did not power off by itself")]
    Unclean {
        /// The recipe.
        recipe: String,
    },
}

/// What the throw-away machine needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The machine's name; its gateway was started for it.
    pub name: MachineName,
    /// Its run directory (`run/m/NAME`), where the gateway listens on `q/net.sock`.
    pub run: PathBuf,
    /// The loopback port that the gateway publishes.
    pub port: u16,
    /// Its Ethernet address, as the gateway knows it.
    pub mac: [u8; 6],
    /// What its start hands in.
    pub facts: Facts,
    /// Who QEMU becomes when the daemon is root.
    pub ids: Option<Ids>,
}

/// Installs the recipe in a throw-away machine and makes the layer of it.
///
/// # Errors
/// When any step fails; then the machine is ended and nothing is left.
pub async fn install(
    draft: Draft,
    recipe: &Recipe,
    bench: &Bench,
    probe: &Probe,
    mut report: impl FnMut(Progress),
) -> Result<Image, WorkshopError> {
    report(Progress { step: Step::Starting, percent: 0.0 });
    let machine = draft.machine();
    let identity = Identity::ensure(&machine.join("identity"), &bench.name).await?;
    let spec = MachineSpec {
        name: bench.name.clone(),
        limits: Limits { cpus: 2, memory: Size::mib(1536), disk: draft.disk_size() },
        boot: draft.boot_files(),
        link: Link::Gateway,
        mac: bench.mac,
        machine_id: "0".repeat(31) + "1",
        credentials: identity.credentials(&bench.facts)?,
        ids: bench.ids,
        directory: machine,
        sockets: bench.run.join("q"),
    };
    let target = Target { identity, port: bench.port, run: bench.run.clone() };
    let running = Running::start(&spec, probe, Start::Cold).await?;
    let worked = work(&target, recipe, &mut report).await;
    target.close().await;
    let grace = if worked.is_ok() { POWER_OFF } else { Duration::ZERO };
    let stopped = running.stop(grace).await;
    let version = worked?;
    if stopped != Stopped::ByItself {
        return Err(WorkshopError::Unclean { recipe: recipe.name.to_string() });
    }
    let compressing = |percent: f64| {
        report(Progress { step: Step::Compressing, percent: 80.0 + percent * 0.19 });
    };
    let image = draft.finish(version, compressing).await?;
    report(Progress { step: Step::Done, percent: 100.0 });
    Ok(image)
}

/// What happens inside; returns what the agent says its version is.
async fn work(
    target: &Target,
    recipe: &Recipe,
    report: &mut impl FnMut(Progress),
) -> Result<String, WorkshopError> {
    target.open(BOOT).await?;
    report(Progress { step: Step::Agent, percent: 25.0 });
    wait_for_trust(&Guest::new(target.service())).await?;
    let name = || recipe.name.to_string();
    // The environment of the machine, which names the authorities, for root as for everybody.
    let shell = "sudo -n sh -c 'set -a; . /etc/environment; exec sh -s'";
    let script = recipe.install.clone().into_bytes();
    target
        .run(shell, script, INSTALL)
        .await
        .map_err(|source| WorkshopError::Install { recipe: name(), source })?;
    report(Progress { step: Step::Agent, percent: 70.0 });
    let line = [recipe.command.as_slice(), recipe.version_args.as_slice()].concat().join(" ");
    let version = target
        .run(&line, Vec::new(), BOOT)
        .await
        .map_err(|source| WorkshopError::Broken { recipe: name(), source })?;
    target.run("sudo -n /usr/lib/ringfence/seal.sh", Vec::new(), BOOT).await?;
    report(Progress { step: Step::Agent, percent: 75.0 });
    Ok(version
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect())
}

/// Waits until the guest trusts the host's authorities, without which npm reaches nothing.
async fn wait_for_trust(guest: &Guest) -> Result<(), GuestError> {
    let deadline = tokio::time::Instant::now() + BOOT;
    loop {
        match guest.hello().await {
            Ok(hello) if hello.trust != Trust::Pending => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
