//! The record of decisions: each is written down where it was made, before anything follows.

use std::sync::PoisonError;

use ringfence_model::audit::{Decision, Decisions, DecisionsRequest};
use ringfence_model::error::ApiError;

use super::report::Report;
use super::{Daemon, failed};

impl Daemon {
    /// Writes a decision down. Where that fails (a full disk) the run goes on, and it is said aloud.
    pub(super) fn record_decision(&self, decision: &Decision, report: &Report) {
        let _one_at_a_time = self.decisions_file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.store.add_decision(decision) {
            let cause = failed(error).causes.join(": ");
            let outcome = decision.outcome.word();
            tracing::error!(%cause, outcome, "a decision could not be recorded");
            report.warning(format!("that this was {outcome} could not be recorded: {cause}"));
        }
    }

    /// What was decided.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn decisions(&self, request: &DecisionsRequest) -> Result<Decisions, ApiError> {
        self.store.decisions(request).map_err(failed)
    }
}
