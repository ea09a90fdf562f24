//! Engines: what runs machines.
//!
//! Owns: the vocabulary that every engine shares. Each engine is one module and no `if`
//! elsewhere: what an engine can do is data ([`Capabilities`]). Must not: know folders,
//! sessions or profiles.

pub mod qemu;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ringfence_model::machine::Limits;
use ringfence_model::name::MachineName;

/// What an engine can do; the supervisor decides by these and never by an engine's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Shares can be plugged in and out while a machine runs.
    pub hot_plug: bool,
    /// A running machine can be saved with its memory and continued.
    pub suspend: bool,
    /// The engine boots our own image and takes identity as credentials.
    pub own_image: bool,
}

/// What a machine boots from. The files are read-only for the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// A qcow2 file; the machine's own disk is a thin layer on it.
    pub disk: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initial file system.
    pub initrd: PathBuf,
}

/// A user and group id that only one machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// How a machine reaches anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Frames go over the socket `net.sock` in the machine's socket directory, where a gateway listens.
    Gateway,
    /// No network at all.
    None,
}

/// Everything an engine needs to know to run one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Its name, which is also its host name.
    pub name: MachineName,
    /// Hard limits.
    pub limits: Limits,
    /// What it boots from.
    pub boot: BootFiles,
    /// Its network.
    pub link: Link,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// 32 hexadecimal digits that identify the machine to its own programs.
    pub machine_id: String,
    /// Files of mode 0600, each with one credential as an SMBIOS string.
    pub credentials: Vec<PathBuf>,
    /// Who the engine's process becomes; `None` when the daemon is not root.
    pub ids: Option<Ids>,
    /// Disk, logs and saved memory: `state/machines/NAME`.
    pub directory: PathBuf,
    /// Sockets: `run/m/NAME/q`.
    pub sockets: PathBuf,
}

/// The addresses of a machine's network, as its gateway wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The machine's own address.
    pub guest: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The gateway, which also answers DNS.
    pub gateway: Ipv4Addr,
    /// Largest packet, in bytes.
    pub mtu: u16,
}
