//! The guarded virtiofs server for one folder. The daemon's binary, started as
//! `ringfenced share`, calls [`run`] from a single-threaded `main` and does nothing
//! else; the process confines itself before it serves one byte.
//!
//! Stdin carries a [`ShareSpec`]; stdout one line, [`Started`]; the control
//! socket takes one [`Command`] a line. Must not contain the daemon, and must
//! not know of vaults, sessions or other folders.

mod beneath;
pub mod confine;
mod control;
mod gate;
mod guarded;
pub mod journal;
mod keep;
pub mod keeper;
mod mass_loss;
pub mod ops;
#[cfg(any(test, feature = "raw"))]
pub mod raw;
pub mod rules;
mod run;
pub mod spec;
mod wire;

pub use confine::ConfineError;
pub use gate::{SetError, Status};
pub use keep::SnapshotStart;
pub use mass_loss::{Alarm, Reaction, Watch};
pub use ops::{Access, Mode};
pub use run::{RunError, run};
pub use spec::{
    Chown, Command, Confinement, Failure, Landlock, Protection, Ready, ShareSpec, Started,
};
