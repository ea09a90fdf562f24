//! A world to decide about, for tests: folders in one another, three profiles, machines.

use super::*;
use crate::folder::FolderRules;
use crate::machine::LimitWords;
use crate::name::{ProfileName, SecretName, SessionId};
use crate::profile::Selector;
use crate::size::Size;
use std::path::Path;

pub(super) const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The folders: their ids, paths, and paths in the file system. The last is the second by
/// another name (a bind mount).
pub(super) const FOLDERS: [(&str, &str, &str); 5] = [
    ("a", "/w/a", "/w/a"),
    ("c", "/w/a/c", "/w/a/c"),
    ("d", "/w/a/c/x/d", "/w/a/c/x/d"),
    ("b", "/w/b", "/w/b"),
    ("alias", "/srv/alias", "/w/a/c"),
];

pub(super) struct Lab {
    pub(super) rules: Vec<Ruled>,
    pub(super) folders: Vec<Known>,
    pub(super) profiles: Vec<Profile>,
    pub(super) machines: Vec<Machine>,
    pub(super) carried: Vec<Carrier>,
    pub(super) open: Vec<Open>,
    pub(super) network: Option<Network>,
    pub(super) made: usize,
}

pub(super) fn folder_id(index: usize) -> FolderId {
    FolderId::new(FOLDERS[index].0).expect("id")
}

pub(super) fn place(index: usize) -> Place {
    let (_, path, inside) = FOLDERS[index];
    let volume = Volume { device: "8:1".into(), path: inside.into() };
    Place { path: path.into(), volume: Some(volume) }
}

pub(super) fn selectors(profiles: &[usize]) -> Vec<Selector> {
    let name = |index: &usize| Selector::Name(ProfileName::new(NAMES[*index]).expect("name"));
    profiles.iter().map(name).collect()
}

pub(super) fn limits(cpus: u32, memory: u64) -> Limits {
    Limits { cpus, memory: Size::gib(memory), disk: Size::gib(40) }
}

impl Lab {
    pub(super) fn new() -> Self {
        let profile = |name: &&str| Profile {
            name: ProfileName::new(*name).expect("name"),
            recipe: None,
            labels: Vec::new(),
            args: Vec::new(),
            env: Default::default(),
            network: None,
            allow: Vec::new(),
            secrets: Vec::new(),
            limits: LimitWords::default(),
        };
        let known = |index| Known { id: folder_id(index), place: place(index) };
        Self {
            rules: Vec::new(),
            folders: (0..FOLDERS.len()).map(known).collect(),
            profiles: NAMES.iter().map(profile).collect(),
            machines: Vec::new(),
            carried: Vec::new(),
            open: Vec::new(),
            network: None,
            made: 0,
        }
    }

    /// The rule of a folder, to be written to.
    pub(super) fn rule(&mut self, index: usize) -> &mut FolderRules {
        self.rule_by(index, Said::Person)
    }

    /// What somebody says about it, to be written to.
    pub(super) fn rule_by(&mut self, index: usize, said: Said) -> &mut FolderRules {
        let place = place(index);
        let own = |ruled: &Ruled| ruled.place == place && ruled.said == said;
        let at = self.rules.iter().position(own).unwrap_or_else(|| {
            let rules = FolderRules::unspoken(&place.path);
            self.rules.push(Ruled { said, place, rules });
            self.rules.len() - 1
        });
        &mut self.rules[at].rules
    }

    pub(super) fn only(&mut self, index: usize, profiles: &[usize]) {
        self.rule(index).profiles = Some(selectors(profiles));
    }

    pub(super) fn secret(name: &str) -> SecretName {
        SecretName::new(name).expect("name")
    }

    pub(super) fn world(&self) -> World<'_> {
        World {
            rules: Rules(&self.rules),
            folders: &self.folders,
            profiles: &self.profiles,
            machines: &self.machines,
            carried: &self.carried,
            open: &self.open,
            network: self.network,
            limits: limits(4, 8),
        }
    }

    pub(super) fn ask(
        &self,
        folder: usize,
        profile: usize,
        machine: Option<&str>,
    ) -> Result<Admitted, Refused> {
        self.ask_with(folder, profile, machine, None, None)
    }

    pub(super) fn ask_with(
        &self,
        folder: usize,
        profile: usize,
        machine: Option<&str>,
        network: Option<Network>,
        directory: Option<&Path>,
    ) -> Result<Admitted, Refused> {
        let machine = machine.map(|name| MachineName::new(name).expect("name"));
        let new_machine = machine
            .clone()
            .unwrap_or_else(|| MachineName::new(format!("m{}", self.made)).expect("name"));
        let directory = directory.map(Place::at);
        admit(
            &self.world(),
            &Request {
                folder: Some(&folder_id(folder)),
                directory: directory.as_ref(),
                profile: &self.profiles[profile],
                machine: machine.as_ref(),
                new_machine: &new_machine,
                network,
            },
        )
    }

    /// What whoever asks does with a yes: writes down what it says. The machine's name.
    pub(super) fn carry_out(&mut self, folder: usize, profile: usize, yes: &Admitted) -> String {
        self.made += 1;
        let name = yes.machine.clone().unwrap_or_else(|| {
            let known = |name: &&MachineName| !self.machines.iter().any(|m| m.name == **name);
            yes.held.machines.keys().find(known).cloned().expect("a new one")
        });
        if yes.machine.is_none() {
            self.machines.push(Machine {
                name: name.clone(),
                limits: yes.limits,
                image: "x".into(),
                recipe: None,
                slot: 0,
                folder: Some(folder_id(folder)),
                seen: Traces::default(),
                because: None,
                created: jiff::Timestamp::UNIX_EPOCH,
            });
        }
        for machine in &mut self.machines {
            machine.seen = yes.held.machines[&machine.name].clone();
        }
        self.carried = yes.held.carried.clone();
        self.open.push(Open {
            session: Some(SessionId::new(format!("s{}", self.made)).expect("id")),
            machine: name.clone(),
            profile: self.profiles[profile].name.clone(),
            folder: Some(folder_id(folder)),
            granted: yes.granted.clone(),
        });
        name.to_string()
    }

    /// A session from its beginning to its end; its machine.
    pub(super) fn run(&mut self, folder: usize, profile: usize, machine: Option<&str>) -> String {
        let yes = self.ask(folder, profile, machine).expect("admitted");
        let name = self.carry_out(folder, profile, &yes);
        self.open.pop();
        name
    }
}
