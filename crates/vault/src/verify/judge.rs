//! Judges packs: which are bad, what is lost with them, and whom that touches. Owns
//! the way from a pack to the problem that names it.

use std::collections::{BTreeMap, HashMap, HashSet};

use rustic_core::{FileType, Id};

use super::examine::{TRIES, error, short};
use super::inventory::{Inventory, Kind};
use super::packs::{BadPack, Depth, PackReader};
use super::walk::{Cause, Forest, Walk};
use crate::catalog::Snapshot;
use crate::check::{CheckRequest, Problem, Severity};
use crate::error::Result;
use crate::seal::Seal;
use crate::storage::Storage;
use crate::watch::Watch;

/// The packs, as they come to be known.
pub(super) struct Packs<'a> {
    storage: &'a Storage,
    seal: &'a Seal,
    request: &'a CheckRequest,
    watch: &'a Watch,
    pub(super) bad: BTreeMap<usize, BadPack>,
    pub(super) bytes_read: u64,
}

impl<'a> Packs<'a> {
    pub(super) fn new(
        (storage, seal): (&'a Storage, &'a Seal),
        request: &'a CheckRequest,
        watch: &'a Watch,
    ) -> Self {
        Self { storage, seal, request, watch, bad: BTreeMap::new(), bytes_read: 0 }
    }

    fn reader(&self) -> PackReader<'_> {
        PackReader {
            storage: self.storage,
            seal: self.seal,
            watch: self.watch,
            threads: self.request.threads(),
        }
    }

    /// Finds packs that are gone or have another length than the index says.
    pub(super) fn compare(
        &mut self,
        inventory: &Inventory,
        found: &HashMap<Id, u32>,
    ) -> Result<()> {
        let mut odd = Vec::new();
        for (number, pack) in inventory.packs.iter().enumerate() {
            match found.get(&*pack.id) {
                Some(size) if *size == pack.pack_size() => {}
                Some(_) => odd.push(number),
                None => {
                    let (why, lost) = ("it is gone".to_owned(), pack.blobs.clone());
                    let sound = Vec::new();
                    self.bad.insert(number, BadPack { number, why, gone: true, lost, sound });
                }
            }
        }
        self.read(inventory, &odd)
    }

    /// Reads the packs that are to be read and are not known to be bad.
    pub(super) fn read_wanted(&mut self, inventory: &Inventory) -> Result<()> {
        let named: HashSet<Id> =
            self.request.packs.iter().filter_map(|name| name.parse().ok()).collect();
        let wanted = |id: &Id| self.request.read_data || named.contains(id);
        let which: Vec<_> = inventory
            .packs
            .iter()
            .enumerate()
            .filter(|(number, pack)| wanted(&pack.id) && !self.bad.contains_key(number))
            .map(|(number, _)| number)
            .collect();
        self.read(inventory, &which)
    }

    fn read(&mut self, inventory: &Inventory, which: &[usize]) -> Result<()> {
        let read = self.reader().read(&inventory.packs, which, Depth::Blobs)?;
        self.bytes_read += read.bytes;
        self.bad.extend(read.bad.into_iter().map(|bad| (bad.number, bad)));
        Ok(())
    }

    /// Follows the snapshots and turns what is bad into problems.
    pub(super) fn judge(
        &mut self,
        inventory: &mut Inventory,
        snapshots: &[Snapshot],
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let gone: HashSet<_> = self
                .bad
                .values()
                .flat_map(|bad| bad.lost.iter().map(|blob| (bad.number, *blob.id)))
                .collect();
            inventory.arrange(|number, blob| !gone.contains(&(number, *blob.id)));
            let lost = self.lost(inventory);
            let walk = Walk {
                storage: self.storage,
                seal: self.seal,
                inventory,
                lost: &lost,
                unnamed: self.bad.len(),
                watch: self.watch,
                threads: self.request.threads(),
            };
            let forest = walk.follow(snapshots)?;
            // A directory in a pack that was thought good: that pack is looked into.
            let stumbled: Vec<_> = forest
                .stumbled
                .iter()
                .copied()
                .filter(|number| !self.bad.contains_key(number))
                .collect();
            if !stumbled.is_empty() && tries < TRIES {
                self.read(inventory, &stumbled)?;
                continue;
            }
            problems.extend(self.name(&walk, &forest, snapshots));
            return Ok(());
        }
    }

    /// Blobs that no pack gives any more, and the first bad pack that should have.
    fn lost(&self, inventory: &Inventory) -> HashMap<(Kind, Id), Cause> {
        let mut lost = HashMap::new();
        for (cause, bad) in self.bad.values().enumerate() {
            for blob in &bad.lost {
                let kind = blob.tpe.into();
                if !inventory.has(kind, &blob.id) {
                    lost.entry((kind, *blob.id)).or_insert(cause);
                }
            }
        }
        lost
    }

    fn name(&self, walk: &Walk<'_>, forest: &Forest, snapshots: &[Snapshot]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (cause, (number, bad)) in self.bad.iter().enumerate() {
            let Some(pack) = walk.inventory.packs.get(*number) else { continue };
            let name = if bad.gone { "pack-missing" } else { "pack-damaged" };
            let blobs = pack.blobs.len();
            let what = match bad.lost.len() {
                0 => format!("pack {}: {}", short(&pack.id), bad.why),
                lost => format!(
                    "pack {}: {}; {lost} of its {blobs} pieces of content are lost",
                    short(&pack.id),
                    bad.why
                ),
            };
            let mut problem = error(name, what, FileType::Pack, &pack.id);
            problem.snapshots = walk.touched(forest, snapshots, cause);
            problems.push(problem);
        }
        let unnamed = walk.touched(forest, snapshots, walk.unnamed);
        if !unnamed.is_empty() {
            let what = "snapshots need content that no readable index names".to_owned();
            let mut problem = Problem::new(Severity::Error, "content-missing", what, None);
            problem.snapshots = unnamed;
            problems.push(problem);
        }
        problems
    }
}
