//! The smaller tables: images, recipes, profiles, findings. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ringfence_model::api::{Finding, ImageView, RecipeView, Verdict};
use ringfence_model::bytes::visible;
use ringfence_model::health::{FolderHealth, LeftOut};
use ringfence_model::kept::{KeptView, OperationView};
use ringfence_model::secret::SecretView;
use ringfence_model::status::{FolderStatus, ProfileView};

use super::style::{Paint, Style};
use super::table::{maybe, painted, table, text};
use super::words;

/// What a session destroyed, in the order of the losses.
#[must_use]
pub fn kept(kept: &[KeptView], zone: &TimeZone, style: &Style) -> String {
    let rows = kept
        .iter()
        .map(|version| {
            let local = version.time.to_zoned(zone.clone());
            vec![
                text(version.number.to_string()),
                text(local.strftime("%Y-%m-%d %H:%M:%S").to_string()),
                text(version.loss.word()),
                text(words::size(version.bytes)),
                text(&version.path.path),
            ]
        })
        .collect();
    table(style, &["NUMBER", "LOST", "HOW", "SIZE", "PATH"], rows)
}

/// The secrets that a profile's sessions carry: where each is read, never what it is.
#[must_use]
pub fn secrets(secrets: &[SecretView], style: &Style) -> String {
    if secrets.is_empty() {
        return "Its sessions carry no secret.\n".into();
    }
    let row = |secret: &SecretView| {
        vec![text(secret.name.as_str()), text(&secret.source), text(&secret.variable)]
    };
    table(style, &["SECRET", "READ FROM", "INSIDE AS"], secrets.iter().map(row).collect())
}

/// What a session did, operation by operation.
#[must_use]
pub fn operations(operations: &[OperationView], zone: &TimeZone, style: &Style) -> String {
    let rows = operations
        .iter()
        .map(|one| {
            let local = one.time.to_zoned(zone.clone());
            let size = one.size_after.or(one.size_before).map(words::size).unwrap_or_default();
            let path = match &one.other {
                Some(other) => format!("{} → {}", one.path.path, other.path),
                None => one.path.path.clone(),
            };
            vec![
                text(one.number.to_string()),
                text(local.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()),
                text(one.act.word()),
                text(who(one)),
                text(size),
                text(path),
            ]
        })
        .collect();
    table(style, &["NUMBER", "TIME", "WHAT", "PROCESS", "SIZE", "PATH"], rows)
}

/// The process, and its user where the guest tells one: some requests come without.
fn who(one: &OperationView) -> String {
    if one.user == u32::MAX {
        one.process.to_string()
    } else {
        format!("{} (user {})", one.process, one.user)
    }
}

/// Images and recipe layers.
#[must_use]
pub fn images(images: &[ImageView], now: Timestamp, style: &Style) -> String {
    let rows = images
        .iter()
        .map(|image| {
            let users: Vec<&str> = image.used_by.iter().map(|machine| machine.as_str()).collect();
            vec![
                text(words::short(&image.hash)),
                text(&image.description),
                if image.current {
                    painted(Paint::Good, "current")
                } else {
                    painted(Paint::Faint, "old")
                },
                text(words::size(image.bytes)),
                text(words::ago(image.built, now)),
                maybe((!users.is_empty()).then(|| users.join(", "))),
            ]
        })
        .collect();
    table(style, &["IMAGE", "WHAT", "STATE", "SIZE", "BUILT", "USED BY"], rows)
}

/// Recipes.
#[must_use]
pub fn recipes(recipes: &[RecipeView], style: &Style) -> String {
    let rows = recipes
        .iter()
        .map(|recipe| {
            vec![
                text(recipe.name.as_str()),
                text(recipe.profile.as_str()),
                text(recipe.command.join(" ")),
                text(&recipe.description),
            ]
        })
        .collect();
    table(style, &["RECIPE", "PROFILE", "COMMAND", "WHAT"], rows)
}

/// Profiles.
#[must_use]
pub fn profiles(profiles: &[ProfileView], style: &Style) -> String {
    let rows = profiles
        .iter()
        .map(|profile| {
            vec![
                text(profile.name.as_str()),
                maybe(profile.recipe.as_ref()),
                maybe((!profile.labels.is_empty()).then(|| profile.labels.join(", "))),
                text(if profile.built_in { "built in" } else { "configuration" }),
            ]
        })
        .collect();
    table(style, &["PROFILE", "RECIPE", "LABELS", "FROM"], rows)
}

/// One profile with all that it says.
#[must_use]
pub fn profile(profile: &ProfileView) -> String {
    let mut out = format!("{}\n", profile.name);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<9} {value}\n"));
        }
    };
    line("recipe", profile.recipe.clone().unwrap_or_else(|| "none: any command".into()));
    line("labels", profile.labels.join(", "));
    line("arguments", profile.args.iter().map(|one| visible(one)).collect::<Vec<_>>().join(" "));
    let env = profile.env.iter().map(|(name, value)| format!("{name}={}", visible(value)));
    line("env", env.collect::<Vec<_>>().join(" "));
    line("network", profile.network.as_str().to_owned());
    line("allow", profile.allow.join(", "));
    line("secrets", profile.secrets.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", "));
    let limits = profile.limits;
    let sizes = [
        limits.cpus.map(|cpus| format!("{cpus} processors")),
        limits.memory.map(|size| format!("{size} memory")),
        limits.disk.map(|size| format!("{size} disk")),
    ];
    line("machine", sizes.into_iter().flatten().collect::<Vec<_>>().join(", "));
    line("from", (if profile.built_in { "built in" } else { "configuration" }).to_owned());
    out
}

/// What `doctor` found, the worst first, each with its cure.
#[must_use]
pub fn findings(findings: &[Finding], style: &Style) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| match finding.verdict {
        Verdict::Bad => 0,
        Verdict::Weak => 1,
        Verdict::Skipped => 2,
        Verdict::Good => 3,
    });
    let mut out = String::new();
    for finding in sorted {
        let (paint, word) = match finding.verdict {
            Verdict::Good => (Paint::Good, "good   "),
            Verdict::Weak => (Paint::Weak, "weak   "),
            Verdict::Bad => (Paint::Bad, "bad    "),
            Verdict::Skipped => (Paint::Weak, "skipped"),
        };
        let (check, message) = (visible(&finding.check), visible(&finding.message));
        out.push_str(&format!("{}  {check}: {message}\n", style.paint(paint, word)));
        if let Some(cure) = &finding.cure {
            out.push_str(&format!("         next: {}\n", visible(cure)));
        }
    }
    out
}

/// One folder in full.
#[must_use]
pub fn folder(folder: &FolderStatus, now: Timestamp, style: &Style) -> String {
    let mut out =
        super::status::folders(std::slice::from_ref(folder), now, style).unwrap_or_default();
    out.push_str(&format!("\nvault: {}\n", style.path(&folder.vault)));
    if let Some(error) = &folder.error {
        out.push_str(&format!("last error: {}\n", visible(error)));
    }
    if let Some(health) = &folder.health {
        out.push_str(&health_lines(health, now));
    }
    if let Some(action) = folder.exit_check {
        out.push_str(&format!("exit check: {}\n", action.as_str()));
    }
    if let Some(hint) = &folder.hint {
        out.push_str(&super::hint::status(hint, &folder.path, style));
    }
    if folder.held_count > 0 {
        let count = words::count(folder.held_count, "path");
        let let_in = format!("ringfence folder approve {}", style.argument(&folder.path));
        out.push_str(&format!("held back: {count}; let in: {let_in}\n"));
        out.push_str(&super::exit_check::held(&folder.held));
    }
    out
}

fn health_lines(health: &FolderHealth, now: Timestamp) -> String {
    let mut out = String::new();
    let ago = |time: Option<Timestamp>| time.map_or("never".to_owned(), |t| words::ago(t, now));
    out.push_str(&format!(
        "checked: {}, files restored on trial: {}, {:.0} % of the data read back\n",
        ago(health.last_check),
        ago(health.last_rehearsal),
        health.read_back * 100.0
    ));
    for finding in &health.findings {
        out.push_str(&format!("damage: {}\n", visible(&finding.sentence())));
    }
    for entry in &health.not_covered.first {
        out.push_str(&format!("not covered: {}\n", visible(entry)));
    }
    for LeftOut { pattern, entries, bytes } in &health.not_covered.excluded {
        let (entries, bytes) = (words::count(*entries, "path"), words::size(*bytes));
        out.push_str(&format!("left out by rule: {}  {entries}, {bytes}\n", visible(pattern)));
    }
    out
}

/// What could be left out of a folder's backup, and how; empty where nothing is worth it.
#[must_use]
pub fn worth_leaving_out(large: &[LeftOut]) -> String {
    let mut out = String::new();
    for LeftOut { pattern, entries, bytes } in large {
        let (entries, bytes) = (words::count(*entries, "path"), words::size(*bytes));
        out.push_str(&format!(
            "large, and made again by its tools: {pattern}  {entries}, {bytes}\n"
        ));
    }
    if !large.is_empty() {
        let patterns: Vec<String> = large.iter().map(|one| format!("{:?}", one.pattern)).collect();
        out.push_str(&format!(
            "to leave that out, in the configuration: [folder.backup] exclude = [{}]\n",
            patterns.join(", ")
        ));
    }
    out
}

/// Where each folder's vault is.
#[must_use]
pub fn vaults(folders: &[FolderStatus], now: Timestamp, style: &Style) -> String {
    let rows = folders
        .iter()
        .map(|folder| {
            vec![
                text(style.path(&folder.path)),
                super::status::protection(folder, now, style),
                maybe(folder.last_snapshot.as_ref().map(|last| words::ago(last.time, now))),
                maybe(folder.size.map(|size| {
                    format!("{} of {}", words::size(size.bytes), words::size(size.limit))
                })),
                super::status::verified(folder, now),
                text(style.path(&folder.vault)),
            ]
        })
        .collect();
    table(style, &["FOLDER", "PROTECTION", "LAST SNAPSHOT", "SIZE", "VERIFIED", "VAULT"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;
    use ringfence_model::kept::Act;
    use ringfence_model::name::{MachineName, ProfileName, RecipeName};

    fn now() -> Timestamp {
        "2026-11-23T14:00:00Z".parse().expect("a time")
    }

    #[test]
    fn tables() {
        let style = Style::plain();
        let image = ImageView {
            hash: "fedcba9876543210".into(),
            description: "Debian 13".into(),
            bytes: 700 << 20,
            built: "2026-11-20T13:48:00Z".parse().expect("time"),
            used_by: vec![MachineName::new("shop").expect("name")],
            current: true,
        };
        let recipe = RecipeView {
            name: RecipeName::new("claude-code").expect("name"),
            description: "Claude Code".into(),
            profile: ProfileName::new("claude").expect("name"),
            command: vec!["claude".into()],
        };
        let profile = ProfileView {
            name: ProfileName::new("local-qwen").expect("name"),
            recipe: Some("qwen-code".into()),
            labels: vec!["self-hosted".into()],
            args: vec!["--yolo".into()],
            env: [("A".to_owned(), "b c".to_owned())].into(),
            network: ringfence_model::profile::Network::Offline,
            allow: Vec::new(),
            secrets: vec!["key".parse().expect("name")],
            limits: ringfence_model::machine::LimitWords { cpus: Some(2), ..Default::default() },
            built_in: false,
        };
        insta::assert_snapshot!("profile", super::profile(&profile));
        let all = [
            images(&[image], now(), &style),
            recipes(&[recipe], &style),
            profiles(&[profile], &style),
        ];
        insta::assert_snapshot!("lists", all.join("\n"));
    }

    #[test]
    fn a_user_that_a_guest_does_not_tell_is_not_shown() {
        let told = OperationView {
            number: 1,
            time: now(),
            process: 41,
            user: 1000,
            act: Act::Written,
            path: BytePath::from_bytes(b"notes"),
            other: None,
            size_before: None,
            size_after: None,
        };
        let untold = OperationView { user: u32::MAX, ..told.clone() };
        assert_eq!(who(&told), "41 (user 1000)");
        assert_eq!(who(&untold), "41");
    }

    #[test]
    fn findings_worst_first() {
        let finding = |check: &str, verdict, cure: Option<&str>| Finding {
            check: check.into(),
            verdict,
            message: "what was found".into(),
            cure: cure.map(Into::into),
        };
        let all = [
            finding("qemu", Verdict::Good, None),
            finding("kvm", Verdict::Weak, Some("modprobe kvm")),
            finding("vault", Verdict::Bad, Some("ringfence backup check")),
            finding("network", Verdict::Skipped, None),
        ];
        insta::assert_snapshot!("findings", findings(&all, &Style::plain()));
    }
}
