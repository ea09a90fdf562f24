//! The facts that an admission decision looks at, gathered from state, configuration and host;
//! and what it says about traces, written down. Must not: decide.

use std::path::{Path, PathBuf};

use ringfence_model::admit::{
    Carrier, Granted, Held, Known, Open, Reach, Ruled, Rules, Said, ShownNames, World,
};
use ringfence_model::config::Config;
use ringfence_model::error::ApiError;
use ringfence_model::folder::Access;
use ringfence_model::machine::{Limits, Machine};
use ringfence_model::name::FolderId;
use ringfence_model::profile::{Network, Profile};
use ringfence_model::session::Session;

use super::{Daemon, failed, profiles};
use crate::host::place::Mounts;

/// The facts of one moment.
pub(super) struct Facts {
    pub(super) mounts: Mounts,
    pub(super) rules: Vec<Ruled>,
    pub(super) folders: Vec<Known>,
    pub(super) profiles: Vec<Profile>,
    pub(super) machines: Vec<Machine>,
    pub(super) carried: Vec<Carrier>,
    pub(super) open: Vec<Open>,
    network: Option<Network>,
    limits: Limits,
}

impl Facts {
    pub(super) fn world(&self) -> World<'_> {
        World {
            rules: Rules(&self.rules),
            folders: &self.folders,
            profiles: &self.profiles,
            machines: &self.machines,
            carried: &self.carried,
            open: &self.open,
            network: self.network,
            limits: self.limits,
        }
    }
}

impl Daemon {
    /// The facts as they are now.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn facts(&self, config: &Config) -> Result<Facts, ApiError> {
        let mounts = Mounts::now();
        let file = self.store.folders().map_err(failed)?;
        // What was removed may have left something: its place, and so its rules, still count.
        let folders = || file.folders.iter().chain(&file.removed);
        let mut rules = rules(config, &mounts);
        rules.extend(self.hints(folders(), &mounts)?);
        let mut facts = Facts {
            rules,
            folders: folders()
                .map(|folder| Known { id: folder.id.clone(), place: mounts.place(&folder.path) })
                .collect(),
            profiles: profiles::all(config),
            machines: self.store.machines().map_err(failed)?,
            carried: file.carried,
            open: Vec::new(),
            network: config.defaults.network,
            limits: self.default_limits(config),
            mounts,
        };
        for session in self.store.sessions().map_err(failed)? {
            if !session.state.is_final() {
                let granted = self.granted(&session, &facts)?;
                facts.open.push(Open {
                    session: Some(session.id),
                    machine: session.machine,
                    profile: session.profile,
                    folder: session.folder,
                    granted,
                });
            }
        }
        Ok(facts)
    }

    /// What a session was given. One of an earlier version has it from the rules as they are.
    fn granted(&self, session: &Session, facts: &Facts) -> Result<Granted, ApiError> {
        if let Some(granted) = self.store.granted(&session.id).map_err(failed)? {
            return Ok(granted);
        }
        let known = |id: &FolderId| facts.folders.iter().find(|known| known.id == *id);
        let folder = session.folder.as_ref().and_then(known);
        let rules = Rules(&facts.rules);
        let runtime = self.store.runtime(&session.machine).map_err(failed)?;
        Ok(Granted {
            access: folder.map_or(Access::Ro, |folder| rules.access(&folder.place)),
            names: folder.map_or_else(ShownNames::default, |folder| rules.names(&folder.place)),
            reach: Reach::new(runtime.network.unwrap_or_default(), &runtime.allow),
            secrets: Vec::new(),
            agreed: std::collections::BTreeSet::new(),
        })
    }

    /// How a session's folder was given to it.
    pub(super) fn granted_access(&self, session: &Session) -> Access {
        match self.store.granted(&session.id) {
            Ok(Some(granted)) => granted.access,
            // Unknown is writable: then it is looked after as one that writes.
            _ => Access::Rw,
        }
    }

    /// Writes down what may lie where, before anything can be seen. The machine that is made
    /// for it is written by whoever makes it.
    ///
    /// # Errors
    /// When the state cannot be written: then nothing may be shown.
    pub(super) fn write_held(&self, facts: &Facts, held: &Held) -> Result<(), ApiError> {
        for machine in &facts.machines {
            if let Some(seen) = held.machines.get(&machine.name).filter(|s| **s != machine.seen) {
                let grown = Machine { seen: seen.clone(), ..machine.clone() };
                self.store.set_machine(&grown).map_err(failed)?;
            }
        }
        if held.carried == facts.carried {
            return Ok(());
        }
        let _guard = self.folder_file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = self.store.folders().map_err(failed)?;
        file.carried.clone_from(&held.carried);
        self.store.set_folders(&file).map_err(failed)
    }

    /// The deepest folder that a rule makes of a directory's path within a registered folder:
    /// the innermost counts, also where nobody has registered it yet.
    pub(super) fn ruled_within(&self, folder: &Path, directory: &Path) -> Option<PathBuf> {
        let ruled = rules(&self.config.last_good(), &Mounts::now());
        ruled
            .into_iter()
            .map(|ruled| ruled.place.path)
            .filter(|path| {
                path != folder && path.starts_with(folder) && directory.starts_with(path)
            })
            .max_by_key(|path| path.as_os_str().len())
    }

    /// The widest network of a machine that runs for nobody in particular.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn network_of(&self, machine: &Machine, wanted: &Reach) -> Result<Reach, ApiError> {
        let facts = self.facts(&self.config.last_good())?;
        Ok(wanted.and(&facts.world().ceiling(&machine.seen)))
    }
}

/// Every rule of the configuration, with its place.
fn rules(config: &Config, mounts: &Mounts) -> Vec<Ruled> {
    let ruled = |rules: &ringfence_model::folder::FolderRules| Ruled {
        said: Said::Person,
        place: mounts.place(&rules.path),
        rules: rules.clone(),
    };
    config.folders.iter().map(ruled).collect()
}
