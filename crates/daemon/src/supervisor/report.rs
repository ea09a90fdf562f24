//! How a long act tells what it is doing, without knowing who listens.

use ringfence_model::api::{Item, Progress};
use tokio::sync::mpsc;

/// Something worth telling while an act goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// What is being done now.
    Progress(Progress),
    /// A sentence that stays.
    Note(String),
    /// A sentence that nobody may miss.
    Warning(String),
}

impl<T> From<Told> for Item<T> {
    fn from(told: Told) -> Self {
        match told {
            Told::Progress(progress) => Self::Progress(progress),
            Told::Note(note) => Self::Note(note),
            Told::Warning(warning) => Self::Warning(warning),
        }
    }
}

/// Tells whoever asked; cheap to clone, never blocks, and works when nobody listens.
#[derive(Debug, Clone)]
pub struct Report(Option<mpsc::UnboundedSender<Told>>);

impl Report {
    /// A report and the end at which it is read.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Told>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// A report that nobody reads.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(None)
    }

    /// What is being done now.
    pub fn progress(&self, what: impl Into<String>, fraction: Option<f32>) {
        self.tell(Told::Progress(Progress { what: what.into(), fraction }));
    }

    /// A sentence that stays.
    pub fn note(&self, note: impl Into<String>) {
        self.tell(Told::Note(note.into()));
    }

    /// A sentence that nobody may miss: something is not protected.
    pub fn warning(&self, warning: impl Into<String>) {
        self.tell(Told::Warning(warning.into()));
    }

    /// Whether somebody still waits for the outcome.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.0.as_ref().is_some_and(|sender| !sender.is_closed())
    }

    fn tell(&self, told: Told) {
        if let Some(sender) = &self.0 {
            // Nobody listens any more: the act goes on all the same.
            let _ = sender.send(told);
        }
    }
}
