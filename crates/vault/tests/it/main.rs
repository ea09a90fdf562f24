//! The vault against real files, real restic and real crashes.
#![expect(
    clippy::disallowed_methods,
    reason = "tests compare with rsync and restic, and play parts in processes of their own"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers fail, skip aloud and talk to one another, as tests do"
)]

mod basics;
mod broken_disk;
mod changes;
mod children;
mod copies;
mod damage;
mod edits;
mod faults;
mod faulty;
mod growth;
mod history;
mod hostile;
mod kept;
mod kills;
mod lab;
mod links;
mod lying_disk;
mod model;
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
mod swap;
mod whole;
