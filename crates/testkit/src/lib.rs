//! What tests of several crates share. Dev only: nothing that ships depends on it.
//!
//! Owns: projects to destroy, and the comparison by a tool that is not ours. Must not: stand
//! in for a part that can run for real.

pub mod project;
