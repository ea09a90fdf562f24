//! The one status, made from what is measured now.

use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::health::{FolderHealth, NotCovered};
use ringfence_model::machine::MachineState;
use ringfence_model::protection::Standing;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::{
    EngineStatus, FolderStatus, ForwardStatus, LastSnapshot, MachineStatus, Problem, Protection,
    STATUS_SCHEMA, Severity, Status,
};

use super::{
    Daemon, copies, exit_check, failed, folders, growth, hints, losses, protect, standing, stricter,
};
use crate::host::{clock, facts};

/// Sessions that are over and still shown.
const RECENT: usize = 10;

impl Daemon {
    /// Everything that is to be seen.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn status(&self) -> Result<Status, ApiError> {
        let registered = self.store.folders().map_err(failed)?.folders;
        let folders = registered
            .iter()
            .map(|folder| self.folder_status(folder))
            .collect::<Result<Vec<_>, _>>()?;
        let machines = self.machines.statuses(&registered).await?;
        let sessions = shown(self.sessions()?);
        let forwards = machines
            .iter()
            .filter(|machine| machine.state == MachineState::Running)
            .filter_map(|machine| {
                let (purpose, host_port) = ("ssh".to_owned(), machine.ssh_port?);
                Some(ForwardStatus {
                    machine: machine.name.clone(),
                    purpose,
                    host_port,
                    guest_port: 22,
                })
            })
            .collect();
        let engine = self.machines.engine_status().await;
        let mut problems = self.problems(&engine, &machines, &folders, &sessions);
        problems.extend(registered.iter().filter_map(|folder| {
            let (standing, acts) = self.standing_and_acts(folder);
            standing::problem(folder, standing, &acts)
        }));
        problems.extend(registered.iter().filter_map(|folder| self.lost_pins(folder)));
        problems.extend(folders.iter().filter_map(growth::problem));
        problems.extend(folders.iter().flat_map(exit_check::problems));
        problems.extend(folders.iter().filter_map(hints::problem));
        problems.sort();
        Ok(Status {
            schema: STATUS_SCHEMA,
            engine,
            machines,
            folders,
            sessions,
            forwards,
            problems,
        })
    }

    /// One folder's protection.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn folder_status(&self, folder: &Folder) -> Result<FolderStatus, ApiError> {
        let config = self.config.last_good();
        let rules = folders::rules_of(&folder.path, &config);
        let record = self.store.protection(&folder.id).map_err(failed)?;
        let watch = self.watch_status(folder, &record);
        let vault = self.layout.vault(&folder.id);
        let every = self.config.last_good().defaults.check.duration();
        let health = self.vaults.health(folder, every);
        // Never "protected" by memory alone: the vault must be there.
        let last_snapshot = match (record.snapshot, record.until) {
            (Some(id), Some(time)) if vault.join("snapshots").join(&id).exists() => {
                Some(LastSnapshot {
                    verified: health.verified.as_ref().is_some_and(|verified| verified.id == id),
                    id,
                    time,
                    age_seconds: clock::now().duration_since(time).as_secs(),
                })
            }
            _ => None,
        };
        let (standing, acts) = self.standing_and_acts(folder);
        let error = self.why_lost(folder).or(record.error);
        let protection = match (&error, &last_snapshot) {
            _ if standing == Standing::Off => Protection::Off,
            (Some(_), _) => Protection::Failing,
            _ if !health.findings.is_empty() => Protection::Damaged,
            _ if matches!(standing, Standing::Paused { .. }) => Protection::Paused,
            (None, Some(_)) => Protection::Protected,
            (None, None) => Protection::NotYet,
        };
        let mut status = FolderStatus {
            id: folder.id.clone(),
            path: folder.path.clone(),
            vault,
            protection,
            last_snapshot,
            error,
            health: Some(health),
            profiles: rules.profiles.map(|list| list.iter().map(ToString::to_string).collect()),
            access: rules.access,
            size: self.vault_size(folder, &self.config.last_good()),
            opt_out: acts.opt_out.filter(|_| standing == Standing::Off),
            paused_until: match standing {
                Standing::Paused { left } => {
                    let left = jiff::SignedDuration::from_secs(left.cast_signed());
                    clock::now().checked_add(left).ok()
                }
                _ => None,
            },
            copies: self.copy_statuses(folder, &config)?,
            watch,
            exit_check: rules.exit_check,
            held: Vec::new(),
            held_count: 0,
            hint: self.hint_status(folder),
        };
        self.held_status(folder, &mut status);
        Ok(status)
    }

    fn problems(
        &self,
        engine: &EngineStatus,
        machines: &[MachineStatus],
        folders: &[FolderStatus],
        sessions: &[Session],
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.config.current() {
            let message = format!("{}; the last good configuration stays in force", error.message);
            problems.push(problem(Severity::Error, message, Some("ringfence config check".into())));
        }
        for folder in folders {
            let path = folder.path.display();
            let backup_now = format!("ringfence backup now {path}");
            // A vault may be damaged as well as failing: both are said.
            problems.extend(folder.health.iter().flat_map(|health| &health.findings).map(|f| {
                problem(
                    Severity::Error,
                    format!("{path}: its vault is damaged: {}", f.sentence()),
                    Some(format!("ringfence backup check --repair {path}")),
                )
            }));
            problems.extend(folder.health.as_ref().and_then(|health| gaps(&path, health)));
            problems.extend(match folder.protection {
                // Said by its standing, below, or by what is damaged, above.
                Protection::Protected
                | Protection::Off
                | Protection::Paused
                | Protection::Damaged => None,
                Protection::NotYet => Some(problem(
                    Severity::Warning,
                    format!("{path} has no snapshot yet"),
                    Some(backup_now),
                )),
                Protection::Failing => {
                    let why = folder.error.as_deref().unwrap_or("its last snapshot failed");
                    Some(problem(Severity::Error, format!("{path}: {why}"), Some(backup_now)))
                }
            });
        }
        problems.extend(folders.iter().flat_map(copies::problems));
        if !folders.is_empty() && !facts::is_supervised() {
            let message = "folders are protected only while this daemon runs, and it does not \
                           start with the computer: the next ringfence command starts it";
            let command = Some("ringfence doctor".into());
            problems.push(problem(Severity::Warning, message.into(), command));
        }
        for folder in folders {
            problems.extend(
                folder.watch.iter().flat_map(|watch| protect::problems(&folder.path, watch)),
            );
        }
        for machine in machines {
            let (reason, command) = match &machine.state {
                MachineState::Failed { reason } => {
                    (reason, format!("ringfence machine start {}", machine.name))
                }
                MachineState::Held { reason } => (reason, "ringfence doctor".to_owned()),
                _ => continue,
            };
            let message = format!("machine {}: {reason}", machine.name);
            problems.push(problem(Severity::Error, message, Some(command)));
        }
        problems.extend(sessions.iter().filter_map(losses::problem));
        problems.extend(sessions.iter().filter_map(stricter::problem));
        for session in sessions {
            let failed_after_running = session.exit.is_some() && session.closing_snapshot.is_none();
            if let (SessionState::Failed { reason }, true) = (&session.state, failed_after_running)
            {
                let folder = session.folder_path.as_deref().map(|path| path.display().to_string());
                let command = folder.map(|folder| format!("ringfence backup now {folder}"));
                problems.push(problem(
                    Severity::Error,
                    format!("session {}: {reason}", session.id),
                    command,
                ));
            }
        }
        if engine.version.is_none() {
            let message = "QEMU is not installed, so no machine can start".to_owned();
            problems.push(problem(Severity::Error, message, Some("ringfence doctor".into())));
        }
        if engine.accelerator.as_deref() == Some("tcg") {
            let message =
                "machines run under software emulation, about ten times slower than with KVM"
                    .to_owned();
            problems.push(problem(Severity::Warning, message, Some("ringfence doctor".into())));
        }
        problems.sort();
        problems
    }
}

/// What of a folder its newest snapshot does not hold.
fn gaps(path: &impl std::fmt::Display, health: &FolderHealth) -> Option<Problem> {
    let NotCovered { unreadable, torn, first, .. } = &health.not_covered;
    if *unreadable + *torn == 0 {
        return None;
    }
    let message = format!(
        "{path}: {unreadable} entries could not be read and {torn} may be torn: {}",
        first.join(", ")
    );
    Some(problem(Severity::Warning, message, Some(format!("ringfence backup now {path}"))))
}

fn problem(severity: Severity, message: String, command: Option<String>) -> Problem {
    Problem { severity, message, command }
}

/// Every session that is not over, then the last ones that are.
fn shown(sessions: Vec<Session>) -> Vec<Session> {
    let (over, running): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|session| session.state.is_final());
    running.into_iter().chain(over.into_iter().take(RECENT)).collect()
}
