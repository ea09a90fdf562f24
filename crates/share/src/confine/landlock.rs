//! The kernel's second look at every path, independent of name spaces: only
//! what lies beneath the folder, only what a share does, no TCP, no signals and no
//! abstract sockets to outside.

use std::io;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::ConfineError;
use crate::spec::{Landlock, Protection};

/// The first one that lets a file be moved to another directory.
const LEAST: ABI = ABI::V2;
/// The newest one whose rights are known to this program.
const MOST: ABI = ABI::V6;

pub(super) fn restrict(root: &OwnedFd, read_only: bool) -> Result<Landlock, ConfineError> {
    enforce(&[root], rights(read_only))
}

/// A keeper's: the same rights in folder and store, since a file may only be linked
/// to where it can be used no further. It uses them in the store.
pub(super) fn restrict_keeper(folder: &OwnedFd, store: &OwnedFd) -> Result<Landlock, ConfineError> {
    let rights = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::Refer;
    enforce(&[folder, store], rights)
}

fn enforce(places: &[&OwnedFd], rights: BitFlags<AccessFs>) -> Result<Landlock, ConfineError> {
    let rules = places.iter().map(|place| Ok::<_, RulesetError>(PathBeneath::new(*place, rights)));
    let status = (|| {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LEAST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(MOST))?
            .handle_access(AccessNet::from_all(MOST))?
            .scope(Scope::from_all(MOST))?
            .create()?
            .add_rules(rules)?
            .restrict_self()
    })()
    .map_err(|error| missing(io::Error::other(error)))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(Landlock::Fully),
        RulesetStatus::PartiallyEnforced => Ok(Landlock::Partly),
        RulesetStatus::NotEnforced => Err(missing(io::Error::other("it is not enforced"))),
    }
}

fn missing(source: io::Error) -> ConfineError {
    ConfineError::Missing {
        protection: Protection::Landlock,
        what: "Landlock (Linux 5.19 or newer)",
        source,
        cure: "start the kernel with `landlock` in its `lsm=` list (see \
               /sys/kernel/security/lsm), or use a newer kernel",
    }
}

/// What a share does; never running programs, devices, or their controls.
fn rights(read_only: bool) -> BitFlags<AccessFs> {
    if read_only {
        AccessFs::ReadFile | AccessFs::ReadDir
    } else {
        AccessFs::from_all(MOST)
            & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;

    /// In a thread of its own: the restriction lasts as long as the thread.
    fn restricted(read_only: bool, check: impl FnOnce(&std::path::Path) + Send) {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("f"), "x").unwrap();
        fs::create_dir(temp.path().join("d")).unwrap();
        symlink("/etc/passwd", temp.path().join("out")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let root = fs::File::open(temp.path()).unwrap().into();
                restrict(&root, read_only).unwrap();
                check(temp.path());
            });
        });
    }

    fn denied<T>(result: io::Result<T>) {
        assert_eq!(result.err().unwrap().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn only_the_folder_can_be_opened() {
        restricted(false, |folder| {
            fs::write(folder.join("f"), "y").unwrap();
            fs::rename(folder.join("f"), folder.join("d/f")).unwrap();
            denied(fs::read("/etc/passwd"));
            denied(fs::read(folder.join("out")));
            denied(fs::read_dir("/"));
            denied(fs::write(folder.with_extension("beside"), ""));
            denied(std::net::TcpListener::bind("127.0.0.1:0"));
        });
    }

    #[test]
    fn a_keeper_links_from_the_folder_to_its_store_and_reaches_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let place = |name: &str| temp.path().join(name);
        for name in ["folder", "store", "beside"] {
            fs::create_dir(place(name)).unwrap();
            fs::write(place(name).join("f"), "x").unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let open = |name| fs::File::open(place(name)).unwrap().into();
                restrict_keeper(&open("folder"), &open("store")).unwrap();
                fs::hard_link(place("folder/f"), place("store/1")).unwrap();
                fs::write(place("store/2"), "y").unwrap();
                fs::rename(place("store/2"), place("store/3")).unwrap();
                fs::create_dir(place("store/session")).unwrap();
                denied(fs::read(place("beside/f")));
                denied(fs::hard_link(place("store/1"), place("beside/1")));
                denied(fs::write(place("beside/new"), ""));
                denied(fs::read("/etc/passwd"));
                denied(std::net::TcpListener::bind("127.0.0.1:0"));
            });
        });
    }

    #[test]
    fn a_read_only_folder_cannot_be_written() {
        restricted(true, |folder| {
            assert_eq!(fs::read(folder.join("f")).unwrap(), b"x");
            denied(fs::write(folder.join("f"), "y"));
            denied(fs::write(folder.join("new"), "y"));
            denied(fs::remove_file(folder.join("f")));
            denied(fs::create_dir(folder.join("e")));
        });
    }
}
