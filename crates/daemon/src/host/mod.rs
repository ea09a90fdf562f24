//! The real world: clock, files, processes and facts of the host.
//!
//! Owns every side effect that is not an outside program's business. Must not: decide
//! anything; know what a machine, a folder or a session is.

pub mod child;
pub mod clock;
pub mod command;
pub mod control;
pub mod facts;
pub mod files;
pub mod place;
pub mod process;
pub mod service;
pub mod task;
pub mod thread;
