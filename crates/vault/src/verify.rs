//! Reading a vault by its files alone, trusting neither a loaded index nor another
//! part's memory. This file owns nothing itself; the parts:
//!
//! - `keys`: what opens the vault.
//! - `inventory`: what the index files say is there.
//! - `header`: what a pack itself says is in it.
//! - `packs`: whole packs, read and hashed.
//! - `walk`: every directory of every snapshot, and who needs what is lost.
//! - `judge`: from a bad pack to the problem that names it.
//! - `examine`: the order of a check.

pub(crate) mod examine;
pub(crate) mod header;
pub(crate) mod inventory;
mod judge;
pub(crate) mod keys;
pub(crate) mod packs;
pub(crate) mod walk;
