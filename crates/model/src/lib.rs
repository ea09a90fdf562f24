//! The vocabulary of Ringfence and its pure decisions.
//!
//! Owns: names, configuration, rules and the admission decision, states, the
//! bodies of the API, the one status. Must not: do I/O, read a clock or the
//! environment, start anything, know tokio. Everything here can be tested
//! without a machine.

pub mod admit;
pub mod api;
pub mod attach;
pub mod audit;
pub mod bytes;
pub mod config;
pub mod copy;
pub mod document;
pub mod error;
pub mod exit_check;
pub mod folder;
pub mod growth;
pub mod health;
pub mod history;
pub mod kept;
pub mod layout;
pub mod machine;
pub mod mass_loss;
pub mod name;
pub mod pattern;
pub mod profile;
pub mod protection;
pub mod prune;
pub mod retention;
pub mod secret;
pub mod service;
pub mod session;
pub mod size;
pub mod status;
