//! Gateway processes as the daemon sees them: a machine's whole network.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_gateway::{GatewaySpec, Policy, Ready, User};
use ringfence_model::name::MachineName;
use ringfence_model::profile::Network;

use crate::host::child::{self, ChildError};
use crate::host::control;
use crate::host::process::ProcessId;

/// How long a gateway may take to come up.
const START: Duration = Duration::from_secs(20);

/// Who a gateway runs as when the daemon is root.
#[derive(Debug, Clone, Copy)]
pub struct GatewayUids {
    /// The gateway itself.
    pub gateway: u32,
    /// QEMU, which connects to it.
    pub qemu: u32,
}

/// What a gateway enforces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    /// What kind of network.
    pub network: Network,
    /// Names and addresses for `allowlist`.
    pub allow: Vec<String>,
}

/// Where QEMU connects to a machine's gateway.
#[must_use]
pub fn link_socket(machine_run: &Path) -> PathBuf {
    machine_run.join("net.sock")
}

/// Starts a machine's gateway. `ssh_port` 0 lets it choose a loopback port.
///
/// # Errors
/// When it does not come up.
pub async fn start(
    machine: &MachineName,
    machine_run: &Path,
    rule: &NetworkRule,
    ssh_port: u16,
    uids: Option<GatewayUids>,
    log: &Path,
) -> Result<(ProcessId, Ready), ChildError> {
    let spec = GatewaySpec {
        machine: machine.to_string(),
        link: link_socket(machine_run),
        control: machine_run.join("net.ctl"),
        link_owner: uids.map(|uids| uids.qemu),
        ssh_port,
        policy: policy(rule),
        host_ports: Vec::new(),
        resolvers: Vec::new(),
        proxy: None,
        user: uids.map(|uids| User { uid: uids.gateway, gid: uids.gateway }),
        without: Vec::new(),
    };
    child::start("gateway", &spec, log, START).await
}

/// Tells a gateway which resolvers to ask from now on.
///
/// # Errors
/// When it does not answer.
pub async fn announce(control: &Path, resolvers: &[IpAddr]) -> io::Result<()> {
    let question = serde_json::json!({ "resolvers": resolvers });
    control::ask::<serde_json::Value>(control, &question, Duration::from_secs(5)).await.map(drop)
}

fn policy(rule: &NetworkRule) -> Policy {
    match rule.network {
        Network::Internet => Policy::Internet,
        Network::Offline => Policy::Offline,
        Network::Open => Policy::Open,
        Network::Allowlist => {
            let mut names = Vec::new();
            let mut addresses = Vec::new();
            for entry in &rule.allow {
                let address = entry
                    .parse()
                    .or_else(|_| entry.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
                match address {
                    Ok(network) => addresses.push(network),
                    Err(_) => names.push(entry.clone()),
                }
            }
            Policy::Allowlist { names, addresses }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowlist_holds_names_and_addresses() {
        let allow =
            ["example.org", "*.example.net", "192.0.2.7", "2001:db8::/48"].map(String::from);
        let rule = NetworkRule { network: Network::Allowlist, allow: allow.to_vec() };
        let Policy::Allowlist { names, addresses } = policy(&rule) else { panic!("not a list") };
        assert_eq!(names, ["example.org", "*.example.net"]);
        assert_eq!(addresses.len(), 2);
    }
}
