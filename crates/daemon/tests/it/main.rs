//! The daemon in the test's own process, on a directory of its own: everything that needs no
//! machine, with real vaults. What needs machines is in `e2e/`.

mod copies;
mod documents;
mod exit_check;
mod folders;
mod frozen;
mod held;
mod hints;
mod history;
mod moments;
mod moments_property;
mod protect;
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "file systems are mounted by `mount`, or it is said aloud that they are not"
)]
mod restores;
mod retention;
mod service;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use ringfence_model::layout::{Environment, Layout};
use ringfence_testkit::project;
use ringfenced::supervisor::Daemon;

/// A daemon and a project, gone at the end.
pub(crate) struct Lab {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) project: PathBuf,
    pub(crate) directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let home = directory.path().join("home");
        let environment = Environment { ringfence_home: Some(home), ..Environment::default() };
        let layout = Layout::resolve(&environment).expect("layout");
        for place in layout.own() {
            std::fs::create_dir_all(place).expect("made");
        }
        let project = directory.path().join("shop");
        project::make(&project).expect("project");
        Self { daemon: Daemon::new(layout), project, directory }
    }

    /// Another daemon on the same directories, as after a restart.
    pub(crate) fn restarted(self) -> Self {
        Self { daemon: Daemon::new(self.daemon.layout.clone()), ..self }
    }

    /// Writes the configuration, as a person does.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.daemon.config.path(), text).expect("written");
    }

    /// A copy of the project as it is now.
    pub(crate) fn reference(&self, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        project::reference(&self.project, &copy).expect("copied");
        copy
    }
}
