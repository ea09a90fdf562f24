//! The JSON documents that commands print with `--json`, and their schemas: a contract that
//! scripts rely on. `cargo xtask schema` writes the schemas into `docs/reference/schema`.
//!
//! A field may be added at any time. When one goes, or changes its meaning, [`SCHEMA`] rises.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::audit::Decisions;
use crate::config::{ConfigView, HintView};
use crate::exit_check::{ApproveView, SessionView};
use crate::health::{CheckView, RepairView};
use crate::history::{DiffView, HistoryView, PlanView, ShowView, SnapshotView};
use crate::kept::{KeptView, SessionDiffView};
use crate::prune::PruneView;
use crate::status::{FolderStatus, Status};

/// Version of the documents.
pub const SCHEMA: u32 = 1;

/// What a command prints: its answer, and beside its fields the number of its schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document<T> {
    /// Version of this document's schema.
    pub schema: u32,
    /// The answer.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Document<T> {
    /// A document of the present version.
    #[must_use]
    pub const fn new(body: T) -> Self {
        Self { schema: SCHEMA, body }
    }
}

/// The answer of `backup status` and `folder list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Folders {
    /// Every registered folder.
    pub folders: Vec<FolderStatus>,
}

/// The answer of `session kept`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The versions that a session destroyed and that can be had back.
    pub versions: Vec<KeptView>,
}

/// Each document's name (its file is `NAME.json`), the commands that print it, and its schema.
#[must_use]
pub fn schemas() -> Vec<(&'static str, &'static str, Schema)> {
    vec![
        ("history", "ringfence history --json", schema::<Document<HistoryView>>()),
        ("diff", "ringfence diff --json", schema::<Document<DiffView>>()),
        ("show", "ringfence show --json", schema::<Document<ShowView>>()),
        (
            "plan",
            "ringfence restore --json, ringfence undo --json, ringfence undelete --json",
            schema::<Document<PlanView>>(),
        ),
        ("status", "ringfence status --json", schema::<Status>()),
        (
            "folders",
            "ringfence backup status --json, ringfence folder list --json",
            schema::<Document<Folders>>(),
        ),
        (
            "snapshot",
            "ringfence history --pin --json, ringfence history --unpin --json",
            schema::<Document<SnapshotView>>(),
        ),
        ("check", "ringfence backup check --json", schema::<Document<CheckView>>()),
        ("repair", "ringfence backup check --repair --json", schema::<Document<RepairView>>()),
        ("prune", "ringfence backup prune --json", schema::<Document<PruneView>>()),
        ("versions", "ringfence session kept --json", schema::<Document<Versions>>()),
        ("session", "ringfence session show --json", schema::<Document<SessionView>>()),
        ("decisions", "ringfence log --decisions --json", schema::<Document<Decisions>>()),
        ("approve", "ringfence folder approve --json", schema::<Document<ApproveView>>()),
        ("hint", "ringfence folder approve --hint --json", schema::<Document<HintView>>()),
        (
            "session-diff",
            "ringfence diff --session ID --json",
            schema::<Document<SessionDiffView>>(),
        ),
        ("config", "ringfence config show --json", schema::<Document<ConfigView>>()),
        ("configuration", "ringfence config schema", crate::config::schema()),
    ]
}

/// What is written, which may have fewer optional fields than what is read.
fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}
