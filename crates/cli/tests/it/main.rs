//! The command line from outside: its words, its exit codes, its talk with a daemon.

mod approve;
mod client;
mod help;
mod plans;
mod runs;
mod schemas;
mod start;
mod support;
mod tables;
mod terminal;
mod usage;
