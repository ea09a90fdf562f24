//! The vault against real files, real restic and real crashes.
#![expect(
    clippy::disallowed_methods,
    reason = "tests compare with rsync and restic, and play parts in processes of their own"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers fail and skip aloud, as tests do"
)]

mod basics;
mod changes;
mod copies;
mod damage;
mod faults;
mod growth;
mod history;
mod hostile;
mod lab;
mod links;
mod mounted;
mod place;
mod property;
mod prune;
mod rehearse;
mod repair;
mod restore;
mod restore_faults;
mod servers;
mod stock_restic;
mod whole;
