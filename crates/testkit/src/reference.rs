//! A second opinion on who may meet what, as short as it can be: places that lie in one
//! another, and what data may have come where. Tests compare the real decision with it.
//!
//! Owns: the interpreter. Must not: know how the real decision is made. Sets are bits.

use std::collections::{BTreeMap, BTreeSet};

/// What is said about a place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rule {
    /// Profiles that may see it; `None`: all.
    pub allowed: Option<u32>,
    /// Profiles that may not, whatever else is said.
    pub denied: u32,
    /// The widest network, from 0 (none); `None`: any.
    pub network: Option<u8>,
}

/// A session at work.
#[derive(Debug, Clone)]
pub struct Session {
    /// Where it runs.
    pub machine: String,
    /// Which profile.
    pub profile: u32,
    /// The places that are to be seen in its folder.
    pub visible: u32,
    /// Those of them that it may write to.
    pub writable: u32,
    /// Its network.
    pub network: u8,
}

/// Everything that there is.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    /// The place in which each place lies.
    pub inside: Vec<Option<usize>>,
    /// What is said about each place.
    pub rules: Vec<Rule>,
    /// The places whose data may be in each place.
    pub places: Vec<u32>,
    /// The places whose data may be on each machine's disk.
    pub machines: BTreeMap<String, u32>,
    /// The sessions at work.
    pub sessions: BTreeMap<u32, Session>,
}

impl Reference {
    /// Places, each within another one or none; each holds its own data.
    #[must_use]
    pub fn new(inside: &[Option<usize>]) -> Self {
        let places = (0..inside.len()).map(|place| 1 << place).collect();
        let rules = vec![Rule::default(); inside.len()];
        Self { inside: inside.to_vec(), rules, places, ..Self::default() }
    }

    /// The rules of a place and of all around it.
    fn chain(&self, place: usize) -> impl Iterator<Item = &Rule> {
        std::iter::successors(Some(place), |at| self.inside[*at]).map(|at| &self.rules[at])
    }

    /// Whether a profile may see a place's data.
    #[must_use]
    pub fn may_see(&self, place: usize, profile: u32) -> bool {
        let me = 1 << profile;
        self.chain(place)
            .all(|rule| rule.allowed.is_none_or(|all| all & me != 0) && rule.denied & me == 0)
    }

    /// Everybody copies whatever they can to wherever they can, until nothing new comes of it.
    pub fn settle(&mut self) {
        loop {
            let before = (self.places.clone(), self.machines.clone());
            for session in self.sessions.values() {
                let disk = self.machines.entry(session.machine.clone()).or_default();
                for place in (0..self.places.len()).filter(|at| session.visible & 1 << at != 0) {
                    *disk |= self.places[place];
                }
                for place in (0..self.places.len()).filter(|at| session.writable & 1 << at != 0) {
                    self.places[place] |= *disk;
                }
            }
            if before == (self.places.clone(), self.machines.clone()) {
                return;
            }
        }
    }

    /// What sessions but these meet that they may not, in words; none: all is well.
    #[must_use]
    pub fn violations(&self, but: &BTreeSet<u32>) -> Vec<String> {
        let mut found = Vec::new();
        for (id, session) in self.sessions.iter().filter(|(id, _)| !but.contains(id)) {
            let disk = self.machines[&session.machine];
            for place in (0..self.places.len()).filter(|at| disk & 1 << at != 0) {
                if !self.may_see(place, session.profile) {
                    found.push(format!("session {id} meets place {place}: {session:?}"));
                }
                if self
                    .chain(place)
                    .any(|rule| rule.network.is_some_and(|most| session.network > most))
                {
                    found.push(format!("session {id} could send place {place}: {session:?}"));
                }
            }
        }
        found
    }
}
