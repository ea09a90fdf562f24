//! What was decided about runs: the record that `ringfence log --decisions` shows. Owns its words;
//! the daemon writes and keeps it.

use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::folder::{Access, FolderRules};
use crate::name::{MachineName, ProfileName, SecretName, SessionId};
use crate::profile::Network;
use crate::protection::Actor;

/// How a request came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It may run.
    Admitted,
    /// It may not.
    Refused,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
        }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// When.
    pub time: Timestamp,
    /// Who asked.
    pub by: Actor,
    /// What was decided.
    pub outcome: Outcome,
    /// The profile that was to run.
    pub profile: ProfileName,
    /// The folder that it was to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// How it sees the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The machine: the chosen one, or, where refused, the one that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineName>,
    /// What the machine may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The session that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Under which rules; where refused, why.
    pub reasons: Vec<String>,
}

/// The answer of `GET /v1/decisions` and `log --decisions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decisions {
    /// The decisions, the oldest first.
    pub decisions: Vec<Decision>,
    /// Records that cannot be read: cut off when the power went, or changed by somebody.
    pub damaged: u64,
}

/// Which decisions are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionsRequest {
    /// Not older than this.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Of this profile.
    #[serde(default)]
    pub profile: Option<ProfileName>,
    /// About this folder.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

impl DecisionsRequest {
    /// Whether a decision is among those that are asked for.
    #[must_use]
    pub fn wants(&self, decision: &Decision) -> bool {
        self.since.is_none_or(|since| decision.time >= since)
            && self.profile.as_ref().is_none_or(|profile| *profile == decision.profile)
            && self.folder.as_ref().is_none_or(|folder| decision.folder.as_ref() == Some(folder))
    }
}

/// The rules by which a run was admitted, in words: those of its folder, and what it carries.
#[must_use]
pub fn rules_in_words(rules: Option<&FolderRules>, secrets: &[SecretName]) -> Vec<String> {
    let mut words = rules.map_or_else(|| vec!["no folder".into()], of_folder);
    if !secrets.is_empty() {
        let names: Vec<&str> = secrets.iter().map(|name| name.as_str()).collect();
        words.push(format!("carries the secrets {}", names.join(", ")));
    }
    words
}

fn of_folder(rules: &FolderRules) -> Vec<String> {
    let mut words = Vec::new();
    let list = |items: Vec<String>| items.join(", ");
    if let Some(profiles) = &rules.profiles {
        words.push(format!(
            "profiles: {}",
            list(profiles.iter().map(ToString::to_string).collect())
        ));
    }
    if !rules.deny.is_empty() {
        words.push(format!("deny: {}", list(rules.deny.iter().map(ToString::to_string).collect())));
    }
    if rules.access == Access::Ro {
        words.push("access: ro".into());
    }
    if let Some(network) = rules.network {
        words.push(format!("network: {}", network.as_str()));
    }
    if words.is_empty() {
        words.push("the folder's rule narrows nothing".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::profile::Selector;

    #[test]
    fn the_rules_are_told_in_words() {
        let mut rules = FolderRules::unspoken(Path::new("/a"));
        assert_eq!(rules_in_words(Some(&rules), &[]), ["the folder's rule narrows nothing"]);
        let npm = SecretName::new("npm").expect("name");
        assert_eq!(rules_in_words(None, &[npm]), ["no folder", "carries the secrets npm"]);
        rules.profiles = Some(vec![Selector::Label("self-hosted".into())]);
        rules.deny = vec![Selector::Name(ProfileName::new("claude").expect("name"))];
        (rules.access, rules.network) = (Access::Ro, Some(Network::Offline));
        assert_eq!(
            rules_in_words(Some(&rules), &[]),
            ["profiles: label:self-hosted", "deny: claude", "access: ro", "network: offline"]
        );
    }

    #[test]
    fn a_request_picks_by_time_profile_and_folder() {
        let name = |name: &str| ProfileName::new(name).expect("name");
        let decision = Decision {
            time: "2026-11-23T14:00:00Z".parse().expect("time"),
            by: Actor::default(),
            outcome: Outcome::Refused,
            profile: name("claude"),
            folder: Some("/a".into()),
            access: None,
            machine: None,
            network: None,
            session: None,
            reasons: vec!["its rule".into()],
        };
        let all = DecisionsRequest::default();
        assert!(all.wants(&decision));
        let at = |time: &str| DecisionsRequest { since: time.parse().ok(), ..all.clone() };
        assert!(at("2026-11-23T14:00:00Z").wants(&decision));
        assert!(!at("2026-11-23T14:00:01Z").wants(&decision));
        assert!(!DecisionsRequest { profile: Some(name("codex")), ..all.clone() }.wants(&decision));
        assert!(!DecisionsRequest { folder: Some("/b".into()), ..all }.wants(&decision));
    }
}
