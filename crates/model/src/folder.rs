//! Folders: a directory of the user's under protection, its identity and rules.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::copy::CopyTarget;
use crate::exit_check::ExitAction;
use crate::machine::LimitWords;
use crate::mass_loss::GuardWords;
use crate::name::{FolderId, SecretName};
use crate::pattern::Pattern;
use crate::profile::{Network, Profile, Selector};
use crate::retention::Keep;
use crate::size::Size;

/// How a folder is visible inside a machine.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Readable only; enforced on the host.
    Ro,
    /// Readable and writable.
    #[default]
    Rw,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ro => "ro",
            Self::Rw => "rw",
        })
    }
}

/// Names of a folder that a machine does not see, or cannot change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRules {
    /// They do not exist inside, and cannot be made there.
    pub hide: Vec<Pattern>,
    /// They can be read inside, and not be written, made, removed or replaced.
    pub protect: Vec<Pattern>,
}

/// The rules of one folder, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRules {
    /// Canonical path on the host.
    pub path: PathBuf,
    /// Who may see it: `None` every profile, empty nobody.
    pub profiles: Option<Vec<Selector>>,
    /// Who may not see it, whatever `profiles` says.
    #[serde(default)]
    pub deny: Vec<Selector>,
    /// How it is visible.
    pub access: Access,
    /// Whether it is backed up. `false` needs the explicit act of `backup off`: see
    /// [`crate::protection`].
    pub backup: bool,
    /// How long its snapshots are kept; `None`: as the defaults say.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// How large its vault may get; `None`: as the defaults say.
    #[serde(default)]
    pub limit: Option<Size>,
    /// Where second copies of its vault go; `None`: as the defaults say.
    #[serde(default)]
    pub copy: Option<Vec<CopyTarget>>,
    /// What of it is not backed up.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
    /// What the guard against mass loss does; what is left out, the defaults say.
    #[serde(default)]
    pub guard: GuardWords,
    /// Names that machines do not see or cannot change.
    #[serde(default)]
    pub names: NameRules,
    /// What happens to what the host might run of a session's changes; `None`: what git runs
    /// by itself is held back, the rest is told.
    #[serde(default)]
    pub exit_check: Option<ExitAction>,
    /// The widest network of a machine while this folder is attached to it; `None`: no ceiling.
    #[serde(default)]
    pub network: Option<Network>,
    /// The only hosts reached while this folder is attached, where the ceiling is `allowlist`;
    /// `None`: those of the profile.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// The largest machine that it is attached to.
    #[serde(default)]
    pub limits: LimitWords,
    /// The secrets that sessions in this folder may carry; `None`: all of the profile's.
    #[serde(default)]
    pub secrets: Option<Vec<SecretName>>,
    /// Which reasons against sharing it a person has lifted, in words.
    #[serde(default)]
    pub share_anyway: Vec<Exception>,
}

/// A reason against sharing a directory that a rule may lift by naming it in `share_anyway`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Exception {
    /// It is the home directory, or above it.
    Home,
    /// Private places lie in it, or it lies in one: keys, settings, browser profiles, password stores.
    Private,
    /// It belongs to the operating system.
    System,
}

impl Exception {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Home, Self::Private, Self::System];

    /// The word used in the configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Private => "private",
            Self::System => "system",
        }
    }
}

impl FolderRules {
    /// Whether these rules, on their own, let a profile see the folder.
    #[must_use]
    pub fn admits(&self, profile: &Profile) -> bool {
        let named = |selectors: &[Selector]| selectors.iter().any(|one| one.selects(profile));
        !named(&self.deny) && self.profiles.as_deref().is_none_or(named)
    }

    /// The rules of a folder about which nothing is said.
    #[must_use]
    pub fn unspoken(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            profiles: None,
            deny: Vec::new(),
            access: Access::Rw,
            backup: true,
            keep: None,
            limit: None,
            copy: None,
            exclude: Vec::new(),
            guard: GuardWords::default(),
            names: NameRules::default(),
            exit_check: None,
            network: None,
            allow: None,
            limits: LimitWords::default(),
            secrets: None,
            share_anyway: Vec::new(),
        }
    }
}

/// A registered folder: identity and where its vault is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Names the vault; stays when the folder moves.
    pub id: FolderId,
    /// Canonical path on the host; UTF-8, else it could not be registered.
    pub path: PathBuf,
    /// Device of the root directory at registration.
    pub device: u64,
    /// Inode of the root directory at registration.
    pub inode: u64,
    /// When it was registered.
    pub registered: jiff::Timestamp,
}

/// Directories that hide nothing when a folder appears inside at its host path.
const SAME_PATH_ROOTS: [&str; 7] = ["/home", "/root", "/srv", "/mnt", "/work", "/tmp", "/Users"];

/// Where a folder is mounted inside a machine: the same path as on the host where
/// that lies below a directory in which it hides nothing of the guest's, else
/// `/folders/NAME` (`safety.md`, section Folders).
#[must_use]
pub fn guest_path(host: &Path) -> PathBuf {
    let below_home_of_the_agent = host.starts_with("/home/agent");
    let same = SAME_PATH_ROOTS.iter().any(|root| host.starts_with(root) && host != Path::new(root));
    if same && !below_home_of_the_agent {
        host.to_owned()
    } else {
        let name = host.file_name().unwrap_or_else(|| std::ffi::OsStr::new("folder"));
        Path::new("/folders").join(name)
    }
}

/// Why a path cannot become a folder. Decided from facts that the caller gathered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// Shares the whole machine.
    #[error("/ cannot be a folder: an agent would see the whole computer")]
    Root,
    /// Holds the user's keys and every other project.
    #[error("{0} is your home directory: an agent would see your keys and every project in it")]
    Home(PathBuf),
    /// Above the home directory or one of the private directories.
    #[error("{path} contains {holds}, which no agent may see")]
    Above {
        /// The path that was asked for.
        path: PathBuf,
        /// What it contains.
        holds: PathBuf,
        /// The exception that lifts it; `None`: nothing does.
        lifted_by: Option<Exception>,
    },
    /// Inside a private directory.
    #[error("{path} lies inside {inside}, which no agent may see")]
    Inside {
        /// The path that was asked for.
        path: PathBuf,
        /// What it lies in.
        inside: PathBuf,
        /// The exception that lifts it; `None`: nothing does.
        lifted_by: Option<Exception>,
    },
    /// Part of the operating system.
    #[error("{0} belongs to the operating system, not to a project")]
    System(PathBuf),
    /// A path whose name is not text cannot be given to a machine.
    #[error("{0:?} is not valid UTF-8, so no machine could be told its path")]
    NotUtf8(PathBuf),
    /// A path with a newline or another control character.
    #[error("{0:?} has a control character in its path; rename the directory first")]
    ControlCharacter(PathBuf),
}

/// Directories that belong to the system: neither they nor anything in them is a project.
const SYSTEM: [&str; 14] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
];

/// Directories directly below the root that hold projects but are none themselves.
const CONTAINERS: [&str; 9] =
    ["/home", "/srv", "/mnt", "/media", "/opt", "/tmp", "/usr", "/var", "/Users"];

impl FolderError {
    /// The exception that lifts it, where a rule names it in words; `None`: nothing does.
    #[must_use]
    pub const fn lifted_by(&self) -> Option<Exception> {
        match self {
            Self::Home(_) => Some(Exception::Home),
            Self::Above { lifted_by, .. } | Self::Inside { lifted_by, .. } => *lifted_by,
            Self::System(_) => Some(Exception::System),
            Self::Root | Self::NotUtf8(_) | Self::ControlCharacter(_) => None,
        }
    }
}

/// What must not be shared, and why. All paths are canonical.
#[derive(Debug, Clone, Copy)]
pub struct Guarded<'a> {
    /// The user's home directory.
    pub home: &'a Path,
    /// Where keys, settings, passwords and browser profiles live.
    pub private: &'a [PathBuf],
    /// Ringfence's own directories, and those of second copies: never, whatever a rule says.
    pub own: &'a [PathBuf],
}

/// Decides whether a canonical path may become a folder. `lifted` are the exceptions that the
/// folder's rule names.
///
/// # Errors
/// The reason why not.
pub fn may_be_folder(
    path: &Path,
    guarded: Guarded<'_>,
    lifted: &[Exception],
) -> Result<(), FolderError> {
    let Some(text) = path.to_str() else { return Err(FolderError::NotUtf8(path.to_owned())) };
    if text.chars().any(char::is_control) {
        return Err(FolderError::ControlCharacter(path.to_owned()));
    }
    if path == Path::new("/") {
        return Err(FolderError::Root);
    }
    let Guarded { home, private, own } = guarded;
    let may = |exception: Exception| lifted.contains(&exception);
    if path == home && !may(Exception::Home) {
        return Err(FolderError::Home(path.to_owned()));
    }
    let (home_place, above_home) = ([home.to_owned()], path != home);
    let homes: &[PathBuf] = if above_home { &home_place } else { &[] };
    for (places, lifted_by) in
        [(homes, Some(Exception::Home)), (own, None), (private, Some(Exception::Private))]
    {
        if lifted_by.is_some_and(may) {
            continue;
        }
        for place in places {
            if place.starts_with(path) {
                let (path, holds) = (path.to_owned(), place.clone());
                return Err(FolderError::Above { path, holds, lifted_by });
            }
            // A project lies in the home directory.
            if path.starts_with(place) && lifted_by != Some(Exception::Home) {
                let (path, inside) = (path.to_owned(), place.clone());
                return Err(FolderError::Inside { path, inside, lifted_by });
            }
        }
    }
    if may(Exception::System) {
        return Ok(());
    }
    let system = SYSTEM.iter().any(|place| path.starts_with(place));
    let container = CONTAINERS.iter().any(|place| path == Path::new(place));
    if system || container {
        return Err(FolderError::System(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_projects_become_folders() {
        let home = Path::new("/home/ann");
        let private = [PathBuf::from("/home/ann/.ssh")];
        let own = [PathBuf::from("/home/ann/.local/state/ringfence")];
        let guarded = Guarded { home, private: &private, own: &own };
        let ask = |path: &str| may_be_folder(Path::new(path), guarded, &[]);
        assert_eq!(ask("/home/ann/code/shop"), Ok(()));
        assert_eq!(ask("/tmp/x"), Ok(()));
        assert_eq!(ask("/"), Err(FolderError::Root));
        assert_eq!(ask("/home/ann"), Err(FolderError::Home(home.into())));
        assert!(matches!(ask("/home"), Err(FolderError::Above { .. })));
        assert!(matches!(ask("/home/ann/.ssh/x"), Err(FolderError::Inside { .. })));
        assert!(matches!(ask("/home/ann/.local"), Err(FolderError::Above { .. })));
        assert!(matches!(
            ask("/home/ann/.local/state/ringfence/vaults"),
            Err(FolderError::Inside { .. })
        ));
        assert!(matches!(ask("/etc/nginx"), Err(FolderError::System(_))));
        assert!(matches!(ask("/tmp"), Err(FolderError::System(_))));
        assert!(matches!(ask("/tmp/a\nb"), Err(FolderError::ControlCharacter(_))));
    }

    #[test]
    fn an_exception_in_words_lifts_its_own_reason_and_never_ringfence_s_directories() {
        use Exception::{Home, Private, System};
        let home = Path::new("/home/ann");
        let private = [PathBuf::from("/home/ann/.ssh"), PathBuf::from("/home/ann/.config")];
        let own = [PathBuf::from("/home/ann/.config/ringfence"), PathBuf::from("/var/lib/rf")];
        let guarded = Guarded { home, private: &private, own: &own };
        let ask = |path: &str, lifted: &[Exception]| {
            may_be_folder(Path::new(path), guarded, lifted)
                .map_err(|error| error.lifted_by().map(Exception::as_str))
        };
        for (path, wanted) in [
            ("/home/ann", Home),
            ("/home", Home),
            ("/home/ann/.ssh", Private),
            ("/home/ann/.config/nvim", Private),
            ("/etc/nginx", System),
        ] {
            assert_eq!(ask(path, &[]), Err(Some(wanted.as_str())), "{path}");
            let others: Vec<_> = Exception::ALL.into_iter().filter(|one| *one != wanted).collect();
            assert_eq!(ask(path, &others), Err(Some(wanted.as_str())), "{path}");
        }
        assert_eq!(ask("/home/ann/.ssh", &[Private]), Ok(()));
        assert_eq!(ask("/home/ann/.config/nvim", &[Private]), Ok(()));
        assert_eq!(ask("/etc/nginx", &[System]), Ok(()));
        for never in [
            "/",
            "/home/ann",
            "/home/ann/.config",
            "/home/ann/.config/ringfence",
            "/home/ann/.config/ringfence/x",
            "/var/lib",
            "/var/lib/rf/vaults",
        ] {
            assert_eq!(ask(never, &Exception::ALL), Err(None), "{never}");
        }
        // Where Ringfence lives elsewhere, home can be shared by somebody who says both.
        let own = [PathBuf::from("/data/rf")];
        let guarded = Guarded { own: &own, ..guarded };
        assert!(may_be_folder(home, guarded, &[Home]).is_err());
        assert_eq!(may_be_folder(home, guarded, &[Home, Private]), Ok(()));
    }

    #[test]
    fn paths_inside_are_those_outside_where_they_hide_nothing() {
        assert_eq!(guest_path(Path::new("/home/ann/shop")), Path::new("/home/ann/shop"));
        assert_eq!(guest_path(Path::new("/tmp/shop")), Path::new("/tmp/shop"));
        assert_eq!(guest_path(Path::new("/opt/shop")), Path::new("/folders/shop"));
        assert_eq!(guest_path(Path::new("/tmp")), Path::new("/folders/tmp"));
        assert_eq!(guest_path(Path::new("/home/agent/x")), Path::new("/folders/x"));
    }
}
