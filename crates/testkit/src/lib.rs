//! What tests of several crates share. Dev only: nothing that ships depends on it.
//!
//! Owns: projects to destroy, the comparison by a tool that is not ours, numbers that a
//! seed repeats, a second opinion on who may meet what, and the check of a JSON document
//! against its schema. Must not: stand
//! in for a part that can run for real.

pub mod project;
pub mod random;
pub mod reference;
pub mod schema;
