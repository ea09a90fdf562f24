//! The vault against real files, real restic and real crashes.
#![expect(
    clippy::disallowed_methods,
    reason = "tests compare with rsync and restic, and time themselves"
)]

mod basics;
mod faults;
mod hostile;
mod lab;
mod property;
mod restore;
mod stock_restic;
