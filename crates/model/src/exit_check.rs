//! The exit check: what a session made or changed that the host might run or obey later.
//! Owns the words of it and the decision what is held back; the judging of a path is
//! `judge`'s. No I/O: what changed, and the content of the few files where it decides, is
//! handed in.

mod fold;
mod git;
mod git_config;
mod judge;
mod parts;
mod table;

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::{BytePath, is_within};
use crate::history::PlanView;
use crate::name::SessionId;
use crate::session::Session;

pub use fold::{fold, worth_telling};
pub use git::{GitPlaces, HOOK_NAMES, Pointed, hooks_and_includes, pointed, resolve};
pub use judge::{Content, Evidence, Side, judge, wants_content};

/// Most hazards that are told one by one.
pub const MOST_TOLD: usize = 200;
/// Most paths that are held back one by one; more become the directories that they lie in.
pub const MOST_HELD: usize = 10_000;
/// Most bytes of a file that are judged; a longer one is a hazard itself.
pub const MOST_JUDGED: u64 = 1024 * 1024;

/// What `exit_check` in a folder's rule says.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ExitAction {
    /// Nothing is looked at.
    Off,
    /// Everything that is found is told, and stays.
    Warn,
    /// Everything that is found is held back.
    Hold,
}

impl ExitAction {
    /// The word used in the configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Hold => "hold",
        }
    }
}

impl FromStr for ExitAction {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Off, Self::Warn, Self::Hold]
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of hold, warn, off"))
    }
}

/// How dangerous a hazard is; sorts worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    /// An ordinary command, such as `git status`, runs it by itself.
    RunsByItself,
    /// It runs when its tool is used: a build, a test, an editor, an agent.
    RunsWhenUsed,
    /// Nothing runs it, but a tool obeys it, or it leads elsewhere.
    Obeyed,
}

/// What a hazard is; sorts worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HazardKind {
    /// A program that git runs at some step.
    GitHook,
    /// Git configuration that names a program, a place or another repository.
    GitConfig,
    /// Where git finds a repository, its configuration or its objects.
    GitPlace,
    /// A step of an unfinished git operation that runs a program.
    GitStep,
    /// Set-user-id or set-group-id.
    SetId,
    /// What an agent is told, allowed or made to run.
    Agent,
    /// Tasks and settings of an editor, and containers that it builds.
    Editor,
    /// What a shell, a debugger or an interpreter reads when it starts.
    StartUp,
    /// What a build or test tool runs.
    Build,
    /// What a server runs after a push, with its secrets.
    Ci,
    /// A program that was not there before.
    Executable,
    /// A link that leads out of the folder.
    LinkOutside,
}

impl HazardKind {
    /// The words shown to people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::GitHook => "git hook",
            Self::GitConfig => "git configuration",
            Self::GitPlace => "where git looks",
            Self::GitStep => "git operation",
            Self::SetId => "set-user-id",
            Self::Agent => "agent settings",
            Self::Editor => "editor",
            Self::StartUp => "start-up file",
            Self::Build => "build",
            Self::Ci => "CI",
            Self::Executable => "new program",
            Self::LinkOutside => "link outside",
        }
    }

    const fn is_git(self) -> bool {
        matches!(self, Self::GitHook | Self::GitConfig | Self::GitPlace | Self::GitStep)
    }
}

/// What became of a hazard.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HazardState {
    /// It is to be held back, and is not yet: something stands in the way.
    Waiting,
    /// It should have been held back, but the host has changed it since.
    Kept,
    /// It is not in the folder until somebody approves it.
    Held,
    /// It is told, and is in the folder.
    Told,
    /// It was held back; somebody approved, undid or dropped it.
    Settled,
}

/// One thing that the host might run or obey later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hazard {
    /// Relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// What it is.
    pub kind: HazardKind,
    /// How dangerous.
    pub danger: Danger,
    /// Why, in a few words. Names in it are as they are in the folder: escape them.
    pub why: String,
    /// How many entries it stands for, where `path` is the directory that they lie in.
    #[serde(default = "one")]
    pub entries: u64,
    /// What became of it.
    pub state: HazardState,
}

const fn one() -> u64 {
    1
}

impl Hazard {
    /// Worst first, then by path.
    #[must_use]
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |hazard: &Self| (hazard.danger, hazard.kind);
        key(self).cmp(&key(other)).then_with(|| self.path.cmp(&other.path))
    }
}

/// Whether a hazard is held back. Without a word in the folder's rule: what git runs by
/// itself is, the rest is only told.
#[must_use]
pub fn is_held(action: Option<ExitAction>, kind: HazardKind, danger: Danger) -> bool {
    match action {
        Some(ExitAction::Hold) => true,
        Some(ExitAction::Warn | ExitAction::Off) => false,
        None => kind.is_git() && danger == Danger::RunsByItself,
    }
}

/// What came of the exit check of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ExitCheck {
    /// What was found, worst first, at most [`MOST_TOLD`] of them.
    pub hazards: Vec<Hazard>,
    /// How many more there are.
    #[serde(default)]
    pub more: u64,
    /// What could not be looked at, and the like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A path whose version by a session is kept out of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldPath {
    /// Relative to the folder's root; a directory stands for all that the session changed in it.
    #[serde(flatten)]
    pub path: BytePath,
    /// What it is.
    pub kind: HazardKind,
    /// Why it is held back.
    pub why: String,
    /// The session whose version it is.
    pub session: SessionId,
    /// The snapshot that has the version before.
    pub before: String,
    /// The snapshot that has the session's version.
    pub after: String,
    /// Since when.
    pub since: jiff::Timestamp,
    /// Not yet: what stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

impl HeldPath {
    /// Whether it is this path or stands for it.
    #[must_use]
    pub fn covers(&self, path: &BytePath) -> bool {
        covers(&self.path, path)
    }
}

/// Whether a path lies at or below another one.
#[must_use]
pub fn covers(above: &BytePath, path: &BytePath) -> bool {
    let (Some(above), Some(path)) = (above.to_bytes(), path.to_bytes()) else { return false };
    is_within(&path, &above)
}

/// One session: `GET /v1/sessions/{id}`, and the answer of `session show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// What the host might run or obey of it; absent until it is closed, and where nothing
    /// was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_check: Option<ExitCheck>,
}

/// What a release of held paths does or would do: the answer of `folder approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApproveView {
    /// What is held back.
    pub held: Vec<HeldPath>,
    /// What is done to the folder.
    #[serde(flatten)]
    pub plan: PlanView,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_only_what_git_runs_by_itself_is_held() {
        use Danger::{Obeyed, RunsByItself, RunsWhenUsed};
        use HazardKind::{Agent, Build, Executable, GitConfig, GitHook, GitPlace};
        for (kind, danger, held) in [
            (GitHook, RunsByItself, true),
            (GitConfig, RunsByItself, true),
            (GitPlace, RunsByItself, true),
            (GitConfig, RunsWhenUsed, false),
            (GitPlace, Obeyed, false),
            (Agent, RunsWhenUsed, false),
            (Build, RunsWhenUsed, false),
            (Executable, RunsWhenUsed, false),
        ] {
            assert_eq!(is_held(None, kind, danger), held, "{kind:?} {danger:?}");
            assert!(is_held(Some(ExitAction::Hold), kind, danger));
            assert!(!is_held(Some(ExitAction::Warn), kind, danger));
            assert!(!is_held(Some(ExitAction::Off), kind, danger));
        }
    }

    #[test]
    fn words_come_back() {
        for action in [ExitAction::Off, ExitAction::Warn, ExitAction::Hold] {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("on".parse::<ExitAction>().is_err());
    }
}
