//! The part of `rustic_cdc` 0.3.1 that `rustic_core` uses, with one change: the tables of
//! a rolling hash depend on the repository's polynomial alone and are made once for it.
//! Upstream makes them anew for every file, which takes longer than to store a small one.

mod polynom;
mod rolling_hash;

pub use polynom::{Polynom, Polynom64};
pub use rolling_hash::{Rabin64, RollingHash64};
