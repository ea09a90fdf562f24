//! What one session changed: its journal, operation by operation, and what came of it.
//!
//! Must not: change anything.

use std::collections::BTreeSet;

use ringfence_model::api::SessionDiffRequest;
use ringfence_model::bytes::{BytePath, directories_above};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::kept::{Act, OperationView, SessionDiffView};
use ringfence_model::name::SessionId;
use ringfence_share::journal::{Operation, Record};

use super::Daemon;
use crate::keepers;
use crate::vaults::{self, Comparison, is_covered};

impl Daemon {
    /// What a session changed, also while it is under way.
    ///
    /// # Errors
    /// When there is no such session, it has no journal, or the vault cannot be read.
    pub async fn session_diff(
        &self,
        id: &SessionId,
        request: SessionDiffRequest,
    ) -> Result<SessionDiffView, ApiError> {
        let session = self.session(id)?;
        let missing = |what: &str| {
            ApiError::new(ErrorKind::Failed, format!("session {id} {what}"))
                .hint("between two states: ringfence diff FROM TO")
        };
        let folder = self.folder_by_id(session.folder.as_ref())?;
        let folder = folder.ok_or_else(|| missing("worked in no folder that is registered"))?;
        let journal = self.journal_of(&folder, id).await?;
        let journal = journal.ok_or_else(|| missing("has no journal: it could not write"))?;
        let opening = session.opening_snapshot.as_deref();
        let opening = opening.ok_or_else(|| missing("began without a snapshot"))?;
        let from = self.vaults.find(&folder, opening).await?.id;
        let to = match &session.closing_snapshot {
            Some(closing) => Some(self.vaults.find(&folder, closing).await?.id),
            None => None,
        };
        let wanted = vaults::exact(&request.paths)?;
        let operations: Vec<OperationView> = journal
            .records
            .iter()
            .zip(1..)
            .filter(|(record, _)| {
                is_covered(&wanted, &record.path)
                    || record.second_path().is_some_and(|path| is_covered(&wanted, path))
            })
            .filter_map(|(record, number)| operation(record, number))
            .collect();
        let touched: BTreeSet<Vec<u8>> = operations
            .iter()
            .flat_map(|one| [Some(&one.path), one.other.as_ref()])
            .flatten()
            .filter_map(BytePath::to_bytes)
            .collect();
        let mut diff = if touched.is_empty() {
            ringfence_model::history::DiffView::default()
        } else {
            let paths = outermost(touched);
            self.vaults.compare(&folder, Comparison { from, to, text: request.text, paths }).await?
        };
        if !journal.complete && session.state.is_final() {
            diff.notes.push("the journal has no end: what was changed last may be missing".into());
        }
        Ok(SessionDiffView { session: journal.first, complete: journal.complete, operations, diff })
    }
}

/// Paths without those that lie below another one.
fn outermost(paths: BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut left: Vec<Vec<u8>> = Vec::new();
    for path in &paths {
        if !directories_above(path).any(|above| paths.contains(above)) {
            left.push(path.clone());
        }
    }
    left
}

fn operation(record: &Record, number: u64) -> Option<OperationView> {
    let act = act(record.operation)?;
    let before = !matches!(
        act,
        Act::Created | Act::MadeDirectory | Act::MadeLink | Act::MadeNode | Act::Written
    );
    Some(OperationView {
        number,
        time: keepers::timestamp(record.time),
        process: record.pid,
        user: record.uid,
        act,
        path: BytePath::from_bytes(&record.path),
        other: record.second_path().map(BytePath::from_bytes),
        size_before: (before && record.mode & 0o170_000 == 0o100_000).then_some(record.size_before),
        size_after: (act == Act::Written).then_some(record.size_after),
    })
}

const fn act(operation: Operation) -> Option<Act> {
    Some(match operation {
        Operation::Begin | Operation::End | Operation::With => return None,
        Operation::Create => Act::Created,
        Operation::MakeDirectory => Act::MadeDirectory,
        Operation::MakeLink => Act::MadeLink,
        Operation::MakeNode => Act::MadeNode,
        Operation::Link => Act::Linked,
        Operation::Overwrite => Act::Overwritten,
        Operation::Append => Act::Extended,
        Operation::Close => Act::Written,
        Operation::Remove => Act::Removed,
        Operation::RemoveDirectory => Act::RemovedDirectory,
        Operation::Rename => Act::Renamed,
        Operation::Exchange => Act::Exchanged,
        Operation::Replace => Act::Replaced,
        Operation::Attributes => Act::Attributes,
        Operation::ExtendedAttribute => Act::ExtendedAttribute,
        Operation::Undone => Act::Refused,
    })
}
