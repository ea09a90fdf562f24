//! What was decided about runs, as a table. Pure.

use jiff::tz::TimeZone;
use ringfence_model::audit::{Decision, Outcome};

use super::style::{Paint, Style};
use super::table::{maybe, painted, text};

/// The decisions, the oldest first.
#[must_use]
pub fn table(decisions: &[Decision], zone: &TimeZone, style: &Style) -> String {
    let row = |one: &Decision| {
        let local = one.time.to_zoned(zone.clone());
        let paint = match one.outcome {
            Outcome::Admitted => Paint::Good,
            Outcome::Refused => Paint::Bad,
        };
        let folder = one.folder.as_ref().map(|folder| style.path(folder));
        vec![
            text(local.strftime("%Y-%m-%d %H:%M:%S").to_string()),
            painted(paint, one.outcome.word()),
            text(one.profile.as_str()),
            maybe(folder),
            maybe(one.machine.as_ref().map(|machine| machine.as_str())),
            maybe(one.network.map(|network| network.as_str())),
            text(one.by.to_string()),
            text(one.reasons.join("; ")),
        ]
    };
    let header = ["TIME", "DECISION", "PROFILE", "FOLDER", "MACHINE", "NETWORK", "BY", "RULE"];
    super::table::table(style, &header, decisions.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use ringfence_model::name::ProfileName;
    use ringfence_model::profile::Network;
    use ringfence_model::protection::Actor;

    use super::*;

    #[test]
    fn decisions_are_told_in_lines_and_hostile_names_stay_text() {
        let refused = Decision {
            time: "2026-11-23T14:00:00Z".parse().expect("time"),
            by: Actor {
                uid: Some(1000),
                user: Some("ann".into()),
                terminal: Some("/dev/pts/3".into()),
            },
            outcome: Outcome::Refused,
            profile: ProfileName::new("claude").expect("name"),
            folder: Some("/work/a\u{1b}[2Jb".into()),
            access: None,
            machine: None,
            network: None,
            session: None,
            reasons: vec!["profile claude may not see it".into(), "line\nbreak".into()],
        };
        let admitted = Decision {
            by: Actor::default(),
            outcome: Outcome::Admitted,
            folder: None,
            machine: "shop".parse().ok(),
            network: Some(Network::Offline),
            reasons: vec!["no folder".into()],
            ..refused.clone()
        };
        let shown = table(&[refused, admitted], &TimeZone::UTC, &Style::plain());
        assert!(!shown.contains('\u{1b}') && shown.lines().count() == 3, "{shown}");
        let row = |number: usize| {
            shown.lines().nth(number).unwrap_or_default().split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(row(0)[..4], ["TIME", "DECISION", "PROFILE", "FOLDER"]);
        assert_eq!(row(1)[..4], ["2026-11-23", "14:00:00", "refused", "claude"]);
        assert!(shown.contains("ann (uid 1000) at /dev/pts/3"), "{shown}");
        assert!(shown.contains(r"profile claude may not see it; line\nbreak"), "{shown}");
        assert_eq!(row(2)[2..7], ["admitted", "claude", "-", "shop", "offline"]);
    }
}
