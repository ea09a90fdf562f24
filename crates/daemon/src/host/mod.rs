//! The host itself: outside programs, and facts about this computer.
//!
//! Owns: how programs are started. Must not: know machines, folders or sessions.

pub mod command;
