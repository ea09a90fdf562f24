//! Puts the parts in order: folder, decision, machine, snapshot, share, session.
//!
//! Owns the sequence of every act and the recovery after a crash. Must not: talk to an
//! outside program or parse anything itself; that is the feature modules' business, which
//! in turn do not know each other.

mod approve;
mod audit;
mod backup;
mod close;
mod copies;
mod doctor;
mod exit_check;
mod folders;
mod goals;
mod growth;
mod hints;
mod history;
mod housekeeping;
mod images;
mod journals;
mod losses;
mod machine_acts;
mod machines;
mod moments;
mod mount;
mod profiles;
mod protect;
mod pulse;
mod recover;
pub mod report;
mod restore;
mod retention;
mod run;
mod secrets;
mod session_diff;
pub mod standing;
mod status;
mod stricter;
mod verify;
mod world;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_model::api::RunSummary;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::layout::Layout;
use ringfence_model::name::{FolderId, MachineName, SessionId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config_file::ConfigFile;
use crate::host::facts;
use crate::host::service::Service;
use crate::image::store::Store as Images;
use crate::store::Store;
use crate::vaults::Vaults;
use machines::Machines;
use protect::Protect;

/// How a session's close came out, once it did.
type Closed = Option<Result<RunSummary, ApiError>>;

/// Everything the daemon is, shared by all requests.
pub struct Daemon {
    /// Where everything lies.
    pub layout: Layout,
    /// The user's configuration.
    pub config: ConfigFile,
    pub(crate) store: Store,
    vaults: Vaults,
    protect: Protect,
    machines: Arc<Machines>,
    images: Images,
    /// Held while the file of registered folders is read, changed and written.
    folder_file: Mutex<()>,
    /// Held while a folder's acts are read, changed and written.
    acts_file: Mutex<()>,
    /// Held while what is held of a folder is read, changed and written.
    held_file: Mutex<()>,
    /// Held from a decision until what it promised is on disk.
    admission: tokio::sync::Mutex<()>,
    /// Held while a decision is added to the record.
    decisions_file: Mutex<()>,
    /// Sessions that are watched, and how their close came out.
    watched: Mutex<HashMap<SessionId, watch::Receiver<Closed>>>,
    /// Sessions that were ended because something failed under them, and what.
    broken: Mutex<HashMap<SessionId, String>>,
    /// The losses of shares, heard by the housekeeping.
    lost_shares: Mutex<Option<mpsc::UnboundedReceiver<(MachineName, FolderId)>>>,
    /// Whose turn it is to make a copy.
    copy_turns: copies::Turns,
    /// Told of each round of the loops that must not stand still.
    pulse: pulse::Pulse,
    shutdown: CancellationToken,
}

impl Daemon {
    /// A daemon on these directories. Starts nothing.
    #[must_use]
    pub fn new(layout: Layout) -> Arc<Self> {
        Self::under(layout, None)
    }

    /// A daemon that a service manager started, and that tells it that it goes round.
    #[must_use]
    pub fn under(layout: Layout, service: Option<Arc<Service>>) -> Arc<Self> {
        let watchdog = service.as_ref().and_then(|service| service.watchdog());
        let pulse = pulse::Pulse::new(watchdog, move || {
            if let Some(service) = &service {
                service.alive();
            }
        });
        let home = facts::environment().home.unwrap_or_else(|| PathBuf::from("/"));
        let store = Store::new(layout.clone());
        let images = Images::new(layout.images());
        let (lost, lost_shares) = mpsc::unbounded_channel();
        Arc::new(Self {
            config: ConfigFile::open(layout.config_file(), layout.good_config(), home),
            vaults: Vaults::new(layout.clone(), store.clone()),
            protect: Protect::new(),
            machines: Arc::new(Machines::new(layout.clone(), store.clone(), lost)),
            images,
            store,
            folder_file: Mutex::new(()),
            acts_file: Mutex::new(()),
            held_file: Mutex::new(()),
            admission: tokio::sync::Mutex::new(()),
            decisions_file: Mutex::new(()),
            watched: Mutex::new(HashMap::new()),
            broken: Mutex::default(),
            lost_shares: Mutex::new(Some(lost_shares)),
            copy_turns: copies::Turns::default(),
            pulse,
            shutdown: CancellationToken::new(),
            layout,
        })
    }

    /// Asks the daemon to end. Machines, shares and sessions go on.
    pub fn request_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Resolves when the daemon was asked to end.
    pub async fn shutdown_requested(self: Arc<Self>) {
        self.shutdown.cancelled().await;
    }

    fn watched_session(&self, id: &SessionId) -> Option<watch::Receiver<Closed>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// An error of a part, as a person is told: its own sentence first, its causes below.
fn failed<E: std::error::Error + 'static>(error: E) -> ApiError {
    of_kind(ErrorKind::Failed, error)
}

fn of_kind<E: std::error::Error + 'static>(kind: ErrorKind, error: E) -> ApiError {
    let mut api = ApiError::new(kind, error.to_string());
    if let Some(source) = error.source() {
        api.causes = ApiError::from_source(kind, "", source).causes;
    }
    api
}
