//! What a host needs so that images can be built on it.
//!
//! Owns: finding out what is missing before anything is started, and saying what to type.
//! Must not: change the host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::command::Program;
use crate::image::ImageError;

/// Programs of a build and the packages that have them.
const PROGRAMS: [(&str, &str); 4] = [
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-img", "qemu-utils"),
    ("mke2fs", "e2fsprogs"),
    ("apt-get", "apt"),
];

/// The key that the packages are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Who builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// Root needs no namespace.
    pub root: bool,
    /// The user's name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
}

/// Checks that everything is there.
///
/// # Errors
/// With the first thing that is missing and its cure.
pub async fn check(builder: &Builder) -> Result<(), ImageError> {
    for (program, package) in PROGRAMS {
        if find(program).await.is_none() {
            return Err(ImageError::Missing { program, package });
        }
    }
    if !Path::new(KEYRING).is_file() {
        let package = "debian-archive-keyring";
        return Err(ImageError::Missing { program: package, package });
    }
    if builder.root { Ok(()) } else { namespaces(builder).await }
}

async fn find(program: &str) -> Option<PathBuf> {
    // Administration tools are not in every user's PATH.
    for directory in ["/usr/sbin", "/sbin", "/usr/bin", "/bin"] {
        let path = Path::new(directory).join(program);
        if path.is_file() {
            return Some(path);
        }
    }
    let asked = Program::new("which").arg(program).deadline(Duration::from_secs(10)).check().await;
    asked.ok().map(|found| PathBuf::from(found.text().trim()))
}

async fn namespaces(builder: &Builder) -> Result<(), ImageError> {
    if find("newuidmap").await.is_none() {
        return Err(ImageError::Missing { program: "newuidmap", package: "uidmap" });
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !has_range(&text, builder) {
            let user = &builder.user;
            return Err(ImageError::NoNamespace {
                what: format!("{file} gives `{user}` no range of 65536 ids"),
                cure: format!(
                    "type: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
                ),
            });
        }
    }
    let tried = Program::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .deadline(Duration::from_secs(10))
        .check()
        .await;
    match tried {
        Ok(_) => Ok(()),
        Err(error) => Err(ImageError::NoNamespace {
            what: format!("this host does not allow them ({error})"),
            cure: "allow them (kernel.unprivileged_userns_clone=1, or \
                   kernel.apparmor_restrict_unprivileged_userns=0), or build once as root: sudo ringfence image build"
                .to_owned(),
        }),
    }
}

/// Whether a line of /etc/subuid gives the user enough ids.
fn has_range(text: &str, builder: &Builder) -> bool {
    text.lines().any(|line| {
        let mut parts = line.split(':');
        let who = parts.next().unwrap_or_default();
        let count = parts.nth(1).and_then(|count| count.trim().parse::<u64>().ok());
        (who == builder.user || who == builder.uid.to_string()) && count >= Some(65_536)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_belongs_to_its_user_and_is_large_enough() {
        let ann = Builder { root: false, user: "ann".to_owned(), uid: 1000 };
        assert!(has_range("bob:100000:65536\nann:165536:65536\n", &ann));
        assert!(has_range("1000:165536:65536", &ann));
        for text in ["", "bob:100000:65536", "ann:100000:1000", "ann:100000", "ann"] {
            assert!(!has_range(text, &ann), "{text}");
        }
    }
}
