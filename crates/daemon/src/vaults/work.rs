//! The restore process: plans and restores away from the daemon, so that neither a panic of
//! the library nor the memory of a large plan is the daemon's. Owns what the two say to each
//! other.
//!
//! Must not: know about anything but vaults and directories.

use std::path::{Path, PathBuf};

use ringfence_model::api::Progress;
use ringfence_model::bytes::{BytePath, visible};
use ringfence_model::error::ApiError;
use ringfence_model::history::PlanView;
use ringfence_vault::{
    Cancel, Guard, RestoreReport, SnapshotId, Vault, VaultError, VaultKey, resume_restore,
};
use serde::{Deserialize, Serialize};

use super::restore::{Restoring, kept_notes, view};
use super::{byte_path, convert, vault_error};
use crate::host::task::Mouth;
use crate::supervisor::report::{Report, Told};

/// Most entries that one note names.
const NAMED: usize = 10;

/// What the process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Tell what a restore would do.
    Plan {
        /// The vault.
        vault: Place,
        /// What would be put back.
        what: Restoring,
        /// Into which directory.
        target: PathBuf,
    },
    /// Put it back.
    Apply {
        /// The vault.
        vault: Place,
        /// What is put back.
        what: Restoring,
        /// Into which directory.
        target: PathBuf,
        /// The snapshot that keeps what goes; without it nothing is taken away.
        before: Option<SnapshotId>,
        /// Where it is prepared.
        staging: PathBuf,
    },
    /// Finish what another one began.
    Resume {
        /// Where that was prepared.
        staging: PathBuf,
    },
}

/// Where a vault and its key lie. The key itself is never said.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// What it is doing.
    Progress(Progress),
    /// A sentence to keep.
    Note(String),
    /// A sentence that nobody may miss.
    Warning(String),
    /// What it will do, before it does it; or the answer, where only that was asked.
    Planned(Box<PlanView>),
    /// All done.
    Done(Outcome),
    /// Whether there was something to finish.
    Resumed(bool),
    /// Why not.
    Failed(ApiError),
}

/// What came of a plan.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Paths that were left alone.
    pub(crate) conflicts: Vec<BytePath>,
    /// Sentences about it.
    pub(crate) notes: Vec<String>,
}

/// The process's work.
pub(crate) fn restore(act: Act, mouth: &Mouth) {
    if let Err(error) = carry_out(act, mouth) {
        mouth.say(&Said::Failed(vault_error(&error)));
    }
}

fn carry_out(act: Act, mouth: &Mouth) -> Result<(), VaultError> {
    match act {
        Act::Plan { vault, what, target } => {
            let (plan, lacking) = what.plan(&open(&vault)?, &target, Guard::Promised)?;
            mouth.say(&Said::Planned(Box::new(view(&plan, &lacking))));
        }
        Act::Apply { vault, what, target, before, staging } => {
            let vault = open(&vault)?;
            let guard = before.map_or(Guard::Nothing, Guard::Snapshot);
            let (mut plan, lacking) = what.plan(&vault, &target, guard)?;
            mouth.say(&Said::Planned(Box::new(view(&plan, &lacking))));
            // Told: not needed any more.
            for list in
                [&mut plan.created, &mut plan.replaced, &mut plan.deleted, &mut plan.metadata_only]
            {
                *list = Vec::new();
            }
            let progress = Some(convert::progress(&telling(mouth), "putting back".into()));
            let report = vault.apply(&plan, &staging, progress, Cancel::default())?;
            mouth.say(&Said::Done(outcome(&report)));
        }
        Act::Resume { staging } => {
            let report = resume_restore(&staging, None)?;
            mouth.say(&Said::Resumed(report.is_some()));
        }
    }
    Ok(())
}

fn open(place: &Place) -> Result<Vault, VaultError> {
    let key = VaultKey::load(&place.key_file)?;
    Vault::open(&place.directory, &key)
}

/// A report whose words are said to the daemon, by a thread of its own.
fn telling(mouth: &Mouth) -> Report {
    let (report, mut told) = Report::channel();
    let mouth = *mouth;
    std::thread::spawn(move || {
        while let Some(told) = told.blocking_recv() {
            mouth.say(&match told {
                Told::Progress(progress) => Said::Progress(progress),
                Told::Note(note) => Said::Note(note),
                Told::Warning(warning) => Said::Warning(warning),
            });
        }
    });
    report
}

fn outcome(report: &RestoreReport) -> Outcome {
    let mut notes = kept_notes(report.kept_conflicts.iter().map(|kept| kept.why));
    notes.extend(
        report
            .imperfect
            .iter()
            .take(NAMED)
            .map(|remark| format!("{}: {}", visible(&remark.path.lossy()), remark.why)),
    );
    if !report.disturbed.is_empty() {
        let named: Vec<String> =
            report.disturbed.iter().take(NAMED).map(|path| visible(&path.lossy())).collect();
        notes.push(format!(
            "somebody else has changed {} of the paths since they were put back: {}",
            report.disturbed.len(),
            named.join(", ")
        ));
    }
    Outcome {
        conflicts: report.kept_conflicts.iter().map(|kept| byte_path(&kept.path)).collect(),
        notes,
    }
}

/// Whether there may be something to finish in a staging directory.
pub(super) fn is_begun(staging: &Path) -> bool {
    std::fs::read_dir(staging).is_ok_and(|mut entries| entries.next().is_some())
}
