//! Where things lie on disk: every name in one place, no I/O.
//!
//! `RINGFENCE_HOME=DIR` moves everything under one directory; else XDG.

use std::path::{Path, PathBuf};

use crate::name::{FolderId, MachineName, SessionId};

/// The four directories under which everything of Ringfence's lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What the user writes.
    pub config: PathBuf,
    /// What must survive: vaults, keys, machines, records.
    pub state: PathBuf,
    /// What can be made again: images.
    pub cache: PathBuf,
    /// Sockets; gone at reboot.
    pub run: PathBuf,
}

/// The environment variables that decide the layout, read once at the edge.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `RINGFENCE_HOME`
    pub ringfence_home: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`
    pub config_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`
    pub state_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`
    pub cache_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`
    pub runtime_dir: Option<PathBuf>,
    /// The effective user id.
    pub uid: u32,
}

/// Neither `RINGFENCE_HOME` nor `HOME` says where to live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither RINGFENCE_HOME nor HOME is an absolute path, so there is no place for Ringfence's files"
)]
pub struct NoHome;

impl Layout {
    /// Decides the layout. Relative values are ignored, as XDG says.
    ///
    /// # Errors
    /// When no absolute home is known.
    pub fn resolve(environment: &Environment) -> Result<Self, NoHome> {
        let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
        if let Some(home) = absolute(&environment.ringfence_home) {
            return Ok(Self {
                config: home.join("config"),
                state: home.join("state"),
                cache: home.join("cache"),
                run: home.join("run"),
            });
        }
        let home = absolute(&environment.home).ok_or(NoHome)?;
        let place = |variable: &Option<PathBuf>, fallback: &str| {
            absolute(variable).unwrap_or_else(|| home.join(fallback)).join("ringfence")
        };
        let state = place(&environment.state_home, ".local/state");
        let run = match absolute(&environment.runtime_dir) {
            Some(directory) => directory.join("ringfence"),
            None if environment.uid == 0 => PathBuf::from("/run/ringfence"),
            None => state.join("run"),
        };
        Ok(Self {
            config: place(&environment.config_home, ".config"),
            cache: place(&environment.cache_home, ".cache"),
            state,
            run,
        })
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The last good configuration, in force while the present one is broken.
    #[must_use]
    pub fn good_config(&self) -> PathBuf {
        self.state.join("good-config.json")
    }

    /// Logins and key files for second copies; 0600, else it is not read.
    #[must_use]
    pub fn copy_secrets(&self) -> PathBuf {
        self.config.join("copy-secrets.toml")
    }

    /// The daemon's socket.
    #[must_use]
    pub fn daemon_socket(&self) -> PathBuf {
        self.run.join("daemon.sock")
    }

    /// Locked by the one daemon.
    #[must_use]
    pub fn daemon_lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// Which process holds that lock.
    #[must_use]
    pub fn daemon_process(&self) -> PathBuf {
        self.state.join("daemon.json")
    }

    /// The daemon's log.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("logs/daemon.log")
    }

    /// The log of the processes that restore.
    #[must_use]
    pub fn restore_log(&self) -> PathBuf {
        self.state.join("logs/restore.log")
    }

    /// All vaults.
    #[must_use]
    pub fn vaults(&self) -> PathBuf {
        self.state.join("vaults")
    }

    /// A folder's vault: a directory that stock restic opens.
    #[must_use]
    pub fn vault(&self, folder: &FolderId) -> PathBuf {
        self.vaults().join(folder)
    }

    /// The password of a folder's vault.
    #[must_use]
    pub fn vault_key(&self, folder: &FolderId) -> PathBuf {
        self.state.join("keys").join(format!("{folder}.key"))
    }

    /// What is known about a folder's second copies.
    #[must_use]
    pub fn copies(&self, folder: &FolderId) -> PathBuf {
        self.state.join("copies").join(folder)
    }

    /// What is fetched of a copy that is only looked into.
    #[must_use]
    pub fn recovering(&self, folder: &FolderId) -> PathBuf {
        self.state.join("recovering").join(folder)
    }

    /// Where a restore prepares entries, when it lies on the folder's file system.
    #[must_use]
    pub fn staging(&self, folder: &FolderId) -> PathBuf {
        self.state.join("staging").join(folder)
    }

    /// What the exit check holds back from a folder.
    #[must_use]
    pub fn held(&self, folder: &FolderId) -> PathBuf {
        self.state.join("held").join(format!("{folder}.json"))
    }

    /// What sessions destroyed in a folder, with their journals: kept where no share shows it.
    #[must_use]
    pub fn kept(&self, folder: &FolderId) -> PathBuf {
        self.state.join("kept").join(folder)
    }

    /// The registered folders.
    #[must_use]
    pub fn folders_file(&self) -> PathBuf {
        self.state.join("folders.json")
    }

    /// All machines.
    #[must_use]
    pub fn machines(&self) -> PathBuf {
        self.state.join("machines")
    }

    /// One machine's disk, keys and record.
    #[must_use]
    pub fn machine(&self, machine: &MachineName) -> PathBuf {
        self.machines().join(machine)
    }

    /// One machine's sockets. Short, because a socket path has at most 107 bytes.
    #[must_use]
    pub fn machine_run(&self, machine: &MachineName) -> PathBuf {
        self.run.join("m").join(machine)
    }

    /// All sessions.
    #[must_use]
    pub fn sessions(&self) -> PathBuf {
        self.state.join("sessions")
    }

    /// One session's record.
    #[must_use]
    pub fn session(&self, session: &SessionId) -> PathBuf {
        self.sessions().join(session)
    }

    /// The socket of one session's process.
    #[must_use]
    pub fn session_socket(&self, session: &SessionId) -> PathBuf {
        self.run.join("s").join(format!("{session}.sock"))
    }

    /// Images and recipe layers.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Ringfence's own directories: never shareable.
    #[must_use]
    pub fn own(&self) -> [&Path; 4] {
        [&self.config, &self.state, &self.cache, &self.run]
    }
}

/// Where systemd puts a user's runtime directory. None for root, who has a directory that is
/// there without a login.
#[must_use]
pub fn usual_runtime_dir(uid: u32) -> Option<PathBuf> {
    (uid != 0).then(|| PathBuf::from(format!("/run/user/{uid}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_or_xdg() {
        let mut environment =
            Environment { home: Some("/home/ann".into()), uid: 1000, ..Environment::default() };
        let layout = Layout::resolve(&environment).expect("resolves");
        assert_eq!(layout.config_file(), Path::new("/home/ann/.config/ringfence/config.toml"));
        assert_eq!(layout.run, Path::new("/home/ann/.local/state/ringfence/run"));
        environment.runtime_dir = Some("/run/user/1000".into());
        environment.cache_home = Some("relative".into());
        let layout = Layout::resolve(&environment).expect("resolves");
        assert_eq!(layout.run, Path::new("/run/user/1000/ringfence"));
        assert_eq!(layout.cache, Path::new("/home/ann/.cache/ringfence"));
        environment.ringfence_home = Some("/demo".into());
        let layout = Layout::resolve(&environment).expect("resolves");
        assert_eq!(layout.daemon_socket(), Path::new("/demo/run/daemon.sock"));
        assert_eq!(Layout::resolve(&Environment::default()), Err(NoHome));
    }
}
