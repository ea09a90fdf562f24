//! The base image's recipe: everything that decides what is in it.
//!
//! Owns: the embedded files of `guest/` and the hash that names the image. Must not: hold
//! anything of the host that builds it; a mirror is a way to the packages, not a part of them.

use std::fmt::Write as _;

use crate::image::archive::{Entry, tar};
use crate::image::identifier;

/// Raised when an image must be built anew although no file changed.
const SCHEMA: &str = "1";

/// The distribution's release.
pub const SUITE: &str = "trixie";

/// The processor.
pub const ARCHITECTURE: &str = "amd64";

/// Size of the file system as built; a machine's disk is larger and grows it at its first start.
pub const ROOT_SIZE: u64 = 8 << 30;

macro_rules! guest {
    ($name:literal) => {
        include_bytes!(concat!("../../../../guest/", $name))
    };
}

const PACKAGES: &[u8] = guest!("packages.txt");

/// Files that must be there before the kernel is installed.
const EARLY: [Entry<'static>; 2] = [
    Entry {
        path: "etc/initramfs-tools/conf.d/ringfence",
        mode: 0o644,
        content: guest!("units/initramfs.conf"),
    },
    Entry {
        path: "etc/initramfs-tools/modules",
        mode: 0o644,
        content: guest!("units/initramfs.modules"),
    },
];

const LATE: [Entry<'static>; 13] = [
    Entry { path: "usr/lib/ringfence/exec.c", mode: 0o644, content: guest!("exec.c") },
    Entry { path: "usr/lib/ringfence/node.txt", mode: 0o644, content: guest!("node.txt") },
    Entry { path: "usr/lib/ringfence/provision.sh", mode: 0o755, content: guest!("provision.sh") },
    Entry { path: "usr/lib/ringfence/trust.sh", mode: 0o755, content: guest!("trust.sh") },
    Entry { path: "usr/lib/ringfence/seal.sh", mode: 0o755, content: guest!("seal.sh") },
    Entry {
        path: "usr/lib/ringfence/ringfence-guest",
        mode: 0o755,
        content: guest!("ringfence-guest"),
    },
    Entry {
        path: "etc/ssh/sshd_config.d/10-ringfence.conf",
        mode: 0o644,
        content: guest!("sshd.conf"),
    },
    Entry {
        path: "etc/systemd/system/ssh.service.d/ringfence.conf",
        mode: 0o644,
        content: guest!("units/ssh.conf"),
    },
    Entry {
        path: "etc/systemd/system/ringfence-guest.service",
        mode: 0o644,
        content: guest!("units/ringfence-guest.service"),
    },
    Entry {
        path: "etc/systemd/system/ringfence-guest.socket",
        mode: 0o644,
        content: guest!("units/ringfence-guest.socket"),
    },
    Entry {
        path: "etc/systemd/system/ringfence-grow.service",
        mode: 0o644,
        content: guest!("units/ringfence-grow.service"),
    },
    Entry {
        path: "etc/systemd/system/ringfence-network.service",
        mode: 0o644,
        content: guest!("units/ringfence-network.service"),
    },
    Entry {
        path: "etc/systemd/system/ringfence-trust.service",
        mode: 0o644,
        content: guest!("units/ringfence-trust.service"),
    },
];

/// The image's name: a hash of all that decides its content.
#[must_use]
pub fn id() -> String {
    let root_size = ROOT_SIZE.to_string();
    let fixed = [
        ("schema", SCHEMA.as_bytes()),
        ("suite", SUITE.as_bytes()),
        ("architecture", ARCHITECTURE.as_bytes()),
        ("root size", root_size.as_bytes()),
        ("packages", PACKAGES),
    ];
    let files = EARLY.iter().chain(&LATE).map(|entry| (entry.path, entry.content));
    identifier(fixed.into_iter().chain(files))
}

/// The packages, separated by commas.
#[must_use]
pub fn packages() -> String {
    let text = String::from_utf8_lossy(PACKAGES);
    let mut list = String::new();
    for name in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        // Writing into a String cannot fail.
        let _ = write!(list, "{}{name}", if list.is_empty() { "" } else { "," });
    }
    list
}

/// The archive unpacked before packages are configured.
#[must_use]
pub fn early_files() -> Vec<u8> {
    tar(&EARLY)
}

/// The archive unpacked when all packages are there.
#[must_use]
pub fn late_files() -> Vec<u8> {
    tar(&LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_depends_on_the_content_alone() {
        assert_eq!(id(), id());
        assert_eq!(id().len(), 32);
        let one = identifier([("a", b"bc".as_slice())]);
        assert_ne!(one, identifier([("ab", b"c".as_slice())]));
        assert_ne!(one, identifier([("a", b"bd".as_slice())]));
    }

    #[test]
    fn packages_are_names() {
        let list = packages();
        assert!(list.split(',').any(|name| name == "docker-cli"), "{list}");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-+.,".contains(&byte);
        assert!(list.bytes().all(plain), "{list}");
    }

    #[test]
    fn every_path_fits_the_archive() {
        assert!(EARLY.iter().chain(&LATE).all(|entry| entry.path.len() <= 100));
    }
}
