use super::*;
use clap::Parser as _;

use crate::args::{Cli, Command};

fn plan(line: &str) -> Result<Plan> {
    let words = std::iter::once("ringfence").chain(line.split_whitespace());
    match Cli::try_parse_from(words).expect("clap takes it").command {
        Command::Run(args) => Plan::from_args(args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_profile_gets_arguments_and_a_command_gets_a_profile() {
    let agent = plan("run claude --network offline -- --continue -x").expect("a plan");
    assert_eq!(agent.profile.as_ref().map(ProfileName::as_str), Some("claude"));
    assert!(!agent.is_command);
    assert_eq!(agent.arguments, ["--continue", "-x"]);
    assert_eq!(agent.network, Some(Network::Offline));
    assert_eq!(agent.who(), "claude");

    let command = plan("run --profile claude -- /usr/bin/npm test").expect("a plan");
    assert_eq!(command.profile.as_ref().map(ProfileName::as_str), Some("claude"));
    assert!(command.is_command);
    assert_eq!(command.who(), "npm");

    let plain = plan("run -- sh -c true").expect("a plan");
    assert_eq!((plain.profile, plain.is_command), (None, true));
}

#[test]
fn contradictions_are_usage_errors() {
    for line in ["run claude --profile codex -- x", "run", "run --profile claude", "run --yes"] {
        let error = plan(line).expect_err(line);
        assert_eq!(error.kind, ErrorKind::Usage, "{line}");
        assert!(!error.hints.is_empty(), "{line}");
    }
}
