//! Whether a folder is backed up, and the acts of people that change it: off, on, pause,
//! resume. Owns when such an act counts; the decision itself is in the model.
//!
//! Whatever is unclear (a record that cannot be read, a configuration that cannot) leaves
//! the folder backed up.

use std::sync::PoisonError;

use ringfence_model::api::{BackupSetRequest, PauseRequest};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::SnapshotKind;
use ringfence_model::protection::{self, Actor, OptOut, Pause, Standing};
use ringfence_model::status::{FolderStatus, Problem, Severity};

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed, folders};
use crate::config_file::FolderEdit;
use crate::host::{clock, facts};
use crate::store::FolderActs;

/// No terminal has a longer name.
const LONGEST_TERMINAL: usize = 64;

/// Who asks: the user as the socket says, the terminal as the command line says.
#[must_use]
pub fn actor(uid: Option<u32>, terminal: Option<&str>) -> Actor {
    Actor {
        uid,
        user: uid.and_then(facts::user_name),
        terminal: terminal.map(|name| name.chars().take(LONGEST_TERMINAL).collect()),
    }
}

impl Daemon {
    /// Whether a folder is backed up at this moment.
    #[must_use]
    pub fn standing(&self, folder: &Folder) -> Standing {
        self.standing_and_acts(folder).0
    }

    pub(super) fn standing_and_acts(&self, folder: &Folder) -> (Standing, FolderActs) {
        let enabled = folders::rules_of(&folder.path, &self.config.last_good()).backup;
        let acts = self.acts(folder);
        if protection::is_void(enabled, acts.opt_out.as_ref()) {
            // Best effort: it has no effect while the configuration says `true`.
            let forgotten = self.change_acts(folder, |acts| acts.opt_out = None);
            if let Err(error) = forgotten {
                tracing::error!(folder = %folder.id, %error, "an opt-out could not be forgotten");
            }
        }
        let pause = acts.pause.as_ref();
        let standing = protection::decide(enabled, acts.opt_out.as_ref(), pause, &clock::moment());
        (standing, acts)
    }

    fn acts(&self, folder: &Folder) -> FolderActs {
        self.store.acts(&folder.id).unwrap_or_else(|error| {
            tracing::error!(folder = %folder.id, %error, "taken for a folder that is backed up");
            FolderActs::default()
        })
    }

    /// Reads, changes and writes a folder's acts, alone.
    pub(super) fn change_acts(
        &self,
        folder: &Folder,
        change: impl FnOnce(&mut FolderActs),
    ) -> Result<(), ApiError> {
        let _alone = self.acts_file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut acts = self.acts(folder);
        change(&mut acts);
        self.store.set_acts(&folder.id, &acts).map_err(failed)
    }

    /// Turns a folder's backup off, which takes its name, or on.
    ///
    /// # Errors
    /// When the name is not the folder's, or the act cannot be written down.
    pub async fn backup_set(
        &self,
        request: &BackupSetRequest,
        by: Actor,
    ) -> Result<FolderStatus, ApiError> {
        let folder = self.registered(&request.folder)?;
        let path = folder.path.display();
        let name = folder.path.file_name().unwrap_or_default().to_string_lossy();
        if !request.enabled && request.name.as_deref() != Some(&*name) {
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!("{path} stays protected: turning its backup off takes its name, `{name}`"),
            )
            .hint(format!("ringfence backup off {path} --i-understand {name}")));
        }
        tracing::warn!(folder = %path, enabled = request.enabled, %by, "backup set by a person");
        if request.enabled {
            self.config.edit_folder(&folder.path, &[FolderEdit::Backup(true)])?;
            self.change_acts(&folder, |acts| {
                acts.opt_out = None;
                acts.pause = None;
            })?;
            self.snapshot(&folder, Want::whole(SnapshotKind::Manual), &Report::nobody()).await?;
        } else {
            // The file first: the act without it is void.
            self.config.edit_folder(&folder.path, &[FolderEdit::Backup(false)])?;
            let act = OptOut { by, at: clock::now() };
            self.change_acts(&folder, |acts| acts.opt_out = Some(act))?;
        }
        self.protect.tell();
        self.folder_status(&folder)
    }

    /// Pauses what happens by itself; it goes on by itself.
    ///
    /// # Errors
    /// When the folder is unknown or the act cannot be written down.
    pub fn backup_pause(
        &self,
        request: &PauseRequest,
        by: Actor,
    ) -> Result<FolderStatus, ApiError> {
        let folder = self.registered(&request.folder)?;
        tracing::warn!(folder = %folder.path.display(), length = %request.seconds, %by, "backup paused");
        let pause = Pause { by, since: clock::moment(), seconds: request.seconds.seconds() };
        self.change_acts(&folder, |acts| acts.pause = Some(pause))?;
        self.protect.tell();
        self.folder_status(&folder)
    }

    /// Ends a pause early; without one nothing changes.
    ///
    /// # Errors
    /// When the folder is unknown or the act cannot be written down.
    pub fn backup_resume(&self, directory: &std::path::Path) -> Result<FolderStatus, ApiError> {
        let folder = self.registered(directory)?;
        self.change_acts(&folder, |acts| acts.pause = None)?;
        self.protect.tell();
        self.folder_status(&folder)
    }

    /// Says before a session what it lacks.
    pub(super) fn warn_of_standing(&self, folder: &Folder, report: &Report) {
        let (standing, acts) = self.standing_and_acts(folder);
        if let Standing::Paused { left } = standing {
            report.note(format!(
                "automatic snapshots of {} pause for {} min more; this session has its own",
                folder.path.display(),
                left.div_ceil(60)
            ));
        }
        if let Some(problem) = problem(folder, standing, &acts)
            && !matches!(standing, Standing::Paused { .. })
        {
            let next = problem.command.map(|command| format!(" · next: {command}"));
            report.warning(problem.message + &next.unwrap_or_default());
        }
    }
}

/// What status says about a folder's standing; nothing where it is as it should be.
pub(super) fn problem(folder: &Folder, standing: Standing, acts: &FolderActs) -> Option<Problem> {
    let path = folder.path.display();
    let (severity, message, command) = match standing {
        Standing::On => return None,
        Standing::Off => {
            let act = acts.opt_out.as_ref();
            let who = act.map(|act| format!(" by {} on {}", act.by, act.at.strftime("%F %R UTC")));
            (
                Severity::Error,
                format!("{path} is NOT backed up: turned off{}", who.unwrap_or_default()),
                format!("ringfence backup on {path}"),
            )
        }
        Standing::OnUnconfirmed => (
            Severity::Warning,
            format!(
                "the configuration says `enabled = false` for {path}, but nobody confirmed it: \
                 it is still backed up"
            ),
            format!("ringfence backup off {path} (or ringfence backup on {path})"),
        ),
        Standing::Paused { left } => (
            Severity::Warning,
            format!("automatic snapshots of {path} pause for {} min more", left.div_ceil(60)),
            format!("ringfence backup resume {path}"),
        ),
    };
    Some(Problem { severity, message, command: Some(command) })
}
