//! The command line of a machine's QEMU, as a pure function.
//!
//! Owns: which devices a machine has and how QEMU is confined. Must not: touch the host.
//! QEMU runs in the machine's socket directory and names its sockets relative to it: a
//! process that became another user can then still reach them, whatever lies above, and
//! no path is too long for a socket address.

use std::ffi::OsString;
use std::path::Path;

use crate::engine::qemu::accel::Accelerator;
use crate::engine::{Link, MachineSpec};

/// How many shares can be plugged in at once: spare PCI Express ports.
pub const SLOTS: u8 = 6;

/// The control socket's name in the machine's socket directory.
pub const CONTROL: &str = "qmp.sock";

/// The gateway's socket's name in the machine's socket directory.
pub const NETWORK: &str = "net.sock";

/// The machine's disk in its directory.
pub const DISK: &str = "disk.qcow2";

/// How much of the guest's console QEMU itself holds, in bytes (a power of two).
pub const CONSOLE_RING: u32 = 256 << 10;

/// Whether a machine starts from its disk or from its saved memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Boots.
    Cold,
    /// Waits for saved memory.
    Resume,
}

/// The kernel's command line.
#[must_use]
pub fn kernel_arguments(spec: &MachineSpec) -> String {
    format!(
        "root=/dev/vda rw rootfstype=ext4 rootflags=noatime,discard,noinit_itable console=ttyS0 quiet loglevel=4 systemd.show_status=false \
         net.ifnames=0 panic=5 systemd.hostname={} systemd.machine_id={}",
        spec.name, spec.machine_id
    )
}

/// QEMU's arguments for a machine.
#[must_use]
pub fn argv(spec: &MachineSpec, accelerator: Accelerator, start: Start) -> Vec<OsString> {
    let mut list = List::default();
    basics(&mut list, spec, accelerator);
    storage(&mut list, spec);
    devices(&mut list, spec);
    confinement(&mut list, spec);
    if start == Start::Resume {
        list.pair("-incoming", "defer");
    }
    list.0
}

#[derive(Default)]
struct List(Vec<OsString>);

impl List {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }
    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.0.push(flag.into());
        self.0.push(value.into());
    }
    /// `flag PREFIXpath`; a comma in the path is doubled, as QEMU's option syntax wants.
    fn path(&mut self, flag: &str, prefix: &str, path: &Path) {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        let mut value = prefix.as_bytes().to_vec();
        for byte in path.as_os_str().as_bytes() {
            value.push(*byte);
            if *byte == b',' {
                value.push(b',');
            }
        }
        self.pair(flag, OsString::from_vec(value));
    }
}

fn basics(list: &mut List, spec: &MachineSpec, accelerator: Accelerator) {
    let memory = spec.limits.memory.as_mib();
    list.pair("-name", format!("guest={},debug-threads=on", spec.name));
    list.flag("-nodefaults");
    list.flag("-no-user-config");
    list.pair("-display", "none");
    list.pair("-machine", "q35,memory-backend=ram,vmport=off,hpet=off,usb=off,dump-guest-core=off");
    match accelerator {
        Accelerator::Kvm => {
            list.pair("-accel", "kvm");
            list.pair("-cpu", "host");
        }
        Accelerator::Tcg => {
            list.pair("-accel", "tcg,thread=multi");
            list.pair("-cpu", "max");
        }
    }
    list.pair("-smp", spec.limits.cpus.to_string());
    list.pair("-m", format!("{memory}M"));
    // Shared, because a share's process reads and writes the guest's memory.
    list.pair("-object", format!("memory-backend-memfd,id=ram,size={memory}M,share=on"));
    list.pair("-kernel", spec.boot.kernel.as_os_str());
    list.pair("-initrd", spec.boot.initrd.as_os_str());
    list.pair("-append", kernel_arguments(spec));
    for file in &spec.credentials {
        list.path("-smbios", "type=11,path=", file);
    }
}

fn storage(list: &mut List, spec: &MachineSpec) {
    let prefix = "driver=file,node-name=disk-file,discard=unmap,filename=";
    list.path("-blockdev", prefix, &spec.directory.join(DISK));
    list.pair(
        "-blockdev",
        "driver=qcow2,node-name=disk,file=disk-file,discard=unmap,detect-zeroes=unmap",
    );
    list.pair("-device", "virtio-blk-pci,drive=disk");
}

fn devices(list: &mut List, spec: &MachineSpec) {
    list.pair("-object", "rng-random,id=rng,filename=/dev/urandom");
    list.pair("-device", "virtio-rng-pci,rng=rng");
    if spec.link == Link::Gateway {
        list.pair(
            "-netdev",
            format!("stream,id=net,server=off,addr.type=unix,addr.path={NETWORK},reconnect-ms=200"),
        );
        let mac = spec.mac.map(|byte| format!("{byte:02x}")).join(":");
        list.pair("-device", format!("virtio-net-pci,netdev=net,mac={mac},romfile="));
    }
    // A ring and not a file: a guest that prints for ever must not fill the host's disk, also while no daemon runs.
    list.pair("-chardev", format!("ringbuf,id=console,size={CONSOLE_RING}"));
    list.pair("-serial", "chardev:console");
    for slot in 0..SLOTS {
        list.pair(
            "-device",
            format!("pcie-root-port,id=slot{slot},chassis={0},slot={0}", slot + 1),
        );
    }
    list.pair("-device", "vmgenid,guid=auto");
}

fn confinement(list: &mut List, spec: &MachineSpec) {
    // `elevateprivileges=deny` forbids the very calls by which QEMU becomes another user. Without it QEMU still sets
    // no_new_privs and, having become that user, holds no capability, so that those calls give it nothing.
    let elevate = if spec.ids.is_some() { "" } else { "elevateprivileges=deny," };
    list.pair("-sandbox", format!("on,obsolete=deny,{elevate}spawn=deny,resourcecontrol=deny"));
    if let Some(ids) = spec.ids {
        list.pair("-run-with", format!("user={}:{}", ids.uid, ids.gid));
    }
    list.pair("-qmp", format!("unix:{CONTROL},server=on,wait=off"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BootFiles, Ids};
    use ringfence_model::machine::Limits;
    use ringfence_model::name::MachineName;
    use ringfence_model::size::Size;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: MachineName::new("shop").expect("a name"),
            limits: Limits { cpus: 2, memory: Size::gib(2), disk: Size::gib(40) },
            boot: BootFiles {
                disk: "/cache/images/ab/disk.qcow2".into(),
                kernel: "/cache/images/ab/vmlinuz".into(),
                initrd: "/cache/images/ab/initrd".into(),
            },
            link: Link::Gateway,
            mac: [0x52, 0x54, 0, 1, 2, 3],
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            credentials: vec!["/state/machines/shop/credentials/tmpfiles".into()],
            ids: None,
            directory: "/state/machines/shop".into(),
            sockets: "/run/m/shop/q".into(),
        }
    }

    fn lines(spec: &MachineSpec, accelerator: Accelerator, start: Start) -> String {
        let list = argv(spec, accelerator, start);
        let mut text = String::new();
        for word in list {
            let word = word.to_string_lossy().into_owned();
            text.push_str(if word.starts_with('-') { "\n" } else { " " });
            text.push_str(&word);
        }
        text
    }

    #[test]
    fn a_user_with_kvm() {
        insta::assert_snapshot!(lines(&spec(), Accelerator::Kvm, Start::Cold));
    }

    #[test]
    fn root_with_emulation_resuming() {
        let mut spec = spec();
        spec.ids = Some(Ids { uid: 61001, gid: 61001 });
        insta::assert_snapshot!(lines(&spec, Accelerator::Tcg, Start::Resume));
    }

    #[test]
    fn a_comma_in_a_path_is_no_new_option() {
        let mut spec = spec();
        spec.directory = "/state/a,readonly=on".into();
        let text = lines(&spec, Accelerator::Tcg, Start::Cold);
        assert!(text.contains("filename=/state/a,,readonly=on/disk.qcow2"), "{text}");
    }
}
