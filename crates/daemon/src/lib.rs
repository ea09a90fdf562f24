//! The daemon's library: everything that touches the machine.

pub mod engine;
pub mod guest;
pub mod host;
pub mod image;
pub mod workshop;
