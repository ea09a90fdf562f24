//! What folders say about themselves in `.ringfence.toml`: the version that counts is the one
//! that a person approved, out of a snapshot. The file in the folder, which an agent can write,
//! is only looked at to say that it is another one. What it may say is the model's.

use std::fs;
use std::io::ErrorKind as Io;

use ringfence_model::admit::{Ruled, Said};
use ringfence_model::api::HintRequest;
use ringfence_model::bytes::visible;
use ringfence_model::config::{
    ConfigError, HINT_FILE, Hint, HintStanding, HintStatus, HintView, LiveHint, MOST_HINT,
};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::exit_check::ExitAction;
use ringfence_model::folder::Folder;
use ringfence_model::history::SnapshotKind;
use ringfence_model::profile::Selector;
use ringfence_model::protection::{Actor, Standing};
use ringfence_model::status::{FolderStatus, Problem, Severity};

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed, folders, profiles};
use crate::host::clock;
use crate::host::place::Mounts;
use crate::store::ApprovedHint;
use crate::vaults::{StoredHint, read_live};

impl Daemon {
    /// What a folder says about itself in a snapshot, and, where the request names the snapshot
    /// that the person was shown, its coming into force.
    ///
    /// # Errors
    /// When the file is none or has a mistake, or what follows cannot be written down.
    pub async fn approve_hint(
        &self,
        request: &HintRequest,
        by: Actor,
        report: &Report,
    ) -> Result<HintView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let found = match &request.snapshot {
            Some(snapshot) => self.vaults.hint(&folder, snapshot).await?,
            None => self.present_hint(&folder, report).await?,
        };
        let hint = found.bytes.as_deref().map(|bytes| read(&folder, bytes)).transpose();
        let hint = hint.map_err(|error| ApiError::new(ErrorKind::Config, error.to_string()))?;
        let before = self.store.hint(&folder.id).map_err(failed)?;
        let view = HintView {
            snapshot: found.snapshot.clone(),
            present: hint.is_some(),
            says: hint.as_ref().map(Hint::words).unwrap_or_default(),
            before: before.map(|before| words(&folder, &before)),
            unknown: hint.as_ref().map(|hint| self.unknown(&folder, hint)).unwrap_or_default(),
            applied: request.snapshot.is_some(),
        };
        if request.snapshot.is_some() {
            let text = found.bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let approved = text.map(|text| ApprovedHint {
                snapshot: found.snapshot,
                approved: clock::now(),
                by,
                text,
            });
            self.put_in_force(&folder, approved).await?;
        }
        Ok(view)
    }

    /// The file as a snapshot has it that is no older than the folder.
    async fn present_hint(&self, folder: &Folder, report: &Report) -> Result<StoredHint, ApiError> {
        if self.standing(folder) == Standing::Off {
            let path = folder.path.display();
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!(
                    "the backup of {path} is off, and its {HINT_FILE} is read in snapshots alone"
                ),
            )
            .hint(format!("ringfence backup on {path}")));
        }
        let snapshot = self.snapshot(folder, Want::new(SnapshotKind::Manual, None), report).await?;
        self.vaults.hint(folder, &snapshot.id).await
    }

    async fn put_in_force(
        &self,
        folder: &Folder,
        approved: Option<ApprovedHint>,
    ) -> Result<(), ApiError> {
        {
            let _one_at_a_time = self.admission.lock().await;
            self.store.set_hint(&folder.id, approved).map_err(failed)?;
            // The folder may have been here before under another id: its last word is this one.
            for gone in self.store.folders().map_err(failed)?.removed {
                if gone.path == folder.path {
                    self.store.set_hint(&gone.id, None).map_err(failed)?;
                }
            }
        }
        self.freeze_what_has_more().await
    }

    /// What approved files say, each about its folder.
    ///
    /// # Errors
    /// When a record cannot be read: then nobody is admitted anywhere.
    pub(super) fn hints<'a>(
        &self,
        folders: impl Iterator<Item = &'a Folder>,
        mounts: &Mounts,
    ) -> Result<Vec<Ruled>, ApiError> {
        let mut ruled = Vec::new();
        for folder in folders {
            let Some(approved) = self.store.hint(&folder.id).map_err(failed)? else { continue };
            let rules = match read(folder, approved.text.as_bytes()) {
                Ok(hint) => hint.rules(&folder.path),
                Err(_) => Hint::unreadable(&folder.path),
            };
            ruled.push(Ruled { said: Said::Hint, place: mounts.place(&folder.path), rules });
        }
        Ok(ruled)
    }

    /// What happens to what the host might run of a session's changes: the folder itself can only
    /// ask for more.
    pub(super) fn exit_action(&self, folder: &Folder) -> Result<Option<ExitAction>, ApiError> {
        let approved = self.store.hint(&folder.id).map_err(failed)?;
        let hint = approved.and_then(|approved| read(folder, approved.text.as_bytes()).ok());
        let asked = hint.and_then(|hint| hint.rules(&folder.path).exit_check);
        Ok(asked.or(folders::rules_of(&folder.path, &self.config.last_good()).exit_check))
    }

    /// What the approved file of a folder says, for the record of a decision.
    pub(super) fn hint_words(&self, folder: &Folder) -> Vec<String> {
        let Ok(Some(approved)) = self.store.hint(&folder.id) else { return Vec::new() };
        let from_it = |word| format!("{HINT_FILE}: {word}");
        words(folder, &approved).into_iter().map(from_it).collect()
    }

    /// How a folder's own file stands; `None`: there is none, and none was approved.
    pub(super) fn hint_status(&self, folder: &Folder) -> Option<HintStatus> {
        let approved = match self.store.hint(&folder.id) {
            Ok(approved) => approved,
            Err(error) => {
                tracing::error!(folder = %folder.id, %error, "its approved file cannot be read");
                let error = Some(format!("what you approved of it cannot be read: {error}"));
                let standing = HintStanding::Changed;
                return Some(HintStatus { standing, snapshot: None, says: Vec::new(), error });
            }
        };
        let live = live(folder);
        let standing = HintStanding::of(&live, approved.as_ref().map(|hint| hint.text.as_str()))?;
        let error = match (&live, standing) {
            (LiveHint::Unfit, _) => {
                Some(format!("it is not a regular file of at most {MOST_HINT} bytes"))
            }
            (LiveHint::File(bytes), _) => read(folder, bytes).err().as_ref().map(in_a_line),
            (LiveHint::Absent, _) => None,
        };
        Some(HintStatus {
            standing,
            says: approved.as_ref().map(|hint| words(folder, hint)).unwrap_or_default(),
            snapshot: approved.map(|hint| hint.snapshot),
            error,
        })
    }

    /// Tells whoever starts a session in a folder whose own file waits for a look.
    pub(super) fn tell_of_hint(&self, folder: &Folder, report: &Report) {
        let status = self.hint_status(folder);
        if let Some(sentence) = status.and_then(|status| status.sentence()) {
            let path = folder.path.display();
            report.note(format!("{path}: {sentence}: {}", command(&path)));
        }
    }

    /// Names in a hint that no profile here has, nor a label of one.
    fn unknown(&self, folder: &Folder, hint: &Hint) -> Vec<String> {
        let known = profiles::all(&self.config.last_good());
        let rules = hint.rules(&folder.path);
        let nobody = |selector: &&Selector| !known.iter().any(|one| selector.selects(one));
        let named = rules.profiles.iter().flatten().chain(&rules.deny);
        named.filter(nobody).map(ToString::to_string).collect()
    }
}

fn read(folder: &Folder, bytes: &[u8]) -> Result<Hint, ConfigError> {
    Hint::read(&folder.path.join(HINT_FILE), bytes)
}

fn words(folder: &Folder, approved: &ApprovedHint) -> Vec<String> {
    match read(folder, approved.text.as_bytes()) {
        Ok(hint) => hint.words(),
        Err(error) => {
            vec![format!("profiles: nobody, because it cannot be read: {}", in_a_line(&error))]
        }
    }
}

fn in_a_line(error: &ConfigError) -> String {
    let place = if error.line == 0 { String::new() } else { format!("line {}: ", error.line) };
    visible(&format!("{place}{}", error.message))
}

/// What is under the file's name in the folder now, through no link.
fn live(folder: &Folder) -> LiveHint {
    let gone = |error: &std::io::Error| error.kind() == Io::NotFound;
    if fs::symlink_metadata(folder.path.join(HINT_FILE)).is_err_and(|error| gone(&error)) {
        return LiveHint::Absent;
    }
    read_live(&folder.path, HINT_FILE.as_bytes(), MOST_HINT).map_or(LiveHint::Unfit, LiveHint::File)
}

fn command(path: &impl std::fmt::Display) -> String {
    format!("ringfence folder approve {path} --hint")
}

/// What status says about a folder's own file; nothing where nothing is to be done.
pub(super) fn problem(folder: &FolderStatus) -> Option<Problem> {
    let path = folder.path.display();
    let sentence = folder.hint.as_ref()?.sentence()?;
    Some(Problem {
        severity: Severity::Warning,
        message: format!("{path}: {sentence}"),
        command: Some(command(&path)),
    })
}
